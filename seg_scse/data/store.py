"""All samples, checked and decoded once, then read from the cache as memory-mapped arrays."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.cache import cache_folder, cannot_write
from seg_scse.data.checking.findings import training_notes
from seg_scse.data.entries import Entry, entry_paths, read_array
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike, FileImage, FileMask, Window, Windowed
from seg_scse.data.measuring import entry_keys, measure, require_entries
from seg_scse.data.places import Places, remembered_places
from seg_scse.data.samples import Manifest
from seg_scse.data.scale_choice import choose_scales
from seg_scse.data.scale_measuring import Measurable, Tally, tallies
from seg_scse.data.scaling import Scaled, Scales, declared_range
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import DataError

__all__ = ["Statistics", "Store", "measure"]

_FLOAT_STD = 1e-3  # least standard deviation of scaled values; of 8-bit values it is one grey level


@dataclass(frozen=True)
class Statistics:
    """Statistics of some samples.

    Attributes:
        mean: of each channel, in [0, 1] after the declared scale, over all pixels that hold data.
        std: of each channel, in [0, 1]; at least 1/255 for 8-bit images, 1/1000 for others, so that constant images
            can be standardised.
        class_pixels: pixels of each class, in index order.
        ignored: pixels marked as ignored.
        sizes: `(H, W)` of each image.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_pixels: tuple[int, ...]
    ignored: int
    sizes: tuple[tuple[int, int], ...]


class Store:
    """Decoded samples by their position in the manifest. Holds no open file; pickles small.

    Made by `prepare`.

    Attributes:
        digest: SHA-256 over all ids and decoded images and masks: what data a run saw.
        notes: what was done to images, how they are scaled, and images that are in two splits.
        scales: how their values become numbers in [0, 1].
        entries: what is known about each sample.
    """

    def __init__(self, manifest: Manifest, entries: Sequence[Entry], config: DataConfig, progress: bool) -> None:
        self.entries = tuple(entries)
        self.scales = Scales((None,) * len(self.entries))
        self._samples, self._config, self._progress = manifest.samples, config, progress
        self._cache = cache_folder(config)
        self._keys = entry_keys(manifest.samples, config)
        self._tallies: dict[int, Tally] = {}
        pairs = zip(self._samples, self.entries, strict=True)
        lines = "\n".join(f"{sample.id}\0{entry.image_digest}\0{entry.mask_digest}" for sample, entry in pairs)
        self.digest = hashlib.sha256(lines.encode()).hexdigest()
        self.notes = training_notes(self._samples, self.entries, config)

    @classmethod
    def prepare(
        cls,
        manifest: Manifest,
        config: DataConfig,
        progress: bool = False,
        scale: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read, check and decode every sample in one pass, or take it from the cache if its files did not change.

        Args:
            manifest: the samples.
            config: the `data` section; a card named in it is resolved first.
            progress: draw progress bars on stderr.
            scale: scaling that a checkpoint keeps, as `Scales.as_state` returned it; None measures it over the
                training split where the configuration says so.

        Raises:
            ConfigError: `data.scale` does not fit the bands.
            DataError: any sample cannot be used as declared; all of them are listed.
            WriteError: the cache cannot be written.
        """
        config = resolve_card(config)
        declared_range(config)  # refused before an hour of decoding
        store = cls(
            manifest, require_entries(measure(manifest.samples, config, progress), manifest.samples), config, progress
        )
        store._choose_scales(manifest.indices("train"), scale)
        return store

    def _choose_scales(self, train: Sequence[int], state: Mapping[str, Any] | None) -> None:
        try:
            self.scales = choose_scales(self._config, self._measurable(), train, state)
            new = state is None and any(scaling is not None for scaling in self.scales.each)
            clipped = self._clipping(train) if new else []
        except OSError as error:
            raise cannot_write(self._cache, error) from error
        self.notes = (*self.notes, *self.scales.notes, *clipped)

    def _clipping(self, train: Sequence[int]) -> list[str]:
        self._add_up(train)
        clipped = sum(sum(self._tallies[index].clipped) for index in train)
        values = sum(self.entries[index].valid * self.entries[index].shape[2] for index in train)
        if not clipped:
            return []
        return [f"scale: {clipped / values:.2%} of the values of the training images are beyond, and clipped"]

    def _measurable(self) -> Measurable:
        return Measurable(self._samples, self.entries, self._native, self.mask, self._cache / "scales", self._progress)

    def _add_up(self, indices: Sequence[int]) -> None:
        missing = [index for index in indices if index not in self._tallies]
        self._tallies |= tallies(self._measurable(), missing, self.scales.each)

    def __len__(self) -> int:
        return len(self.entries)

    def _file(self, index: int) -> FileImage:
        return FileImage(self._samples[index], self._config, self.entries[index], self._keys[index])

    def _native(self, index: int) -> ArrayLike:
        """Image in its file's units."""
        entry = self.entries[index]
        if not entry.stored:
            return self._file(index)
        path = entry_paths(self._cache / "samples", self._keys[index])[1]
        return read_array(path, entry.shape, entry.dtype, self._samples[index])

    def image(self, index: int) -> ArrayLike:
        """Image `(H, W, C)`, read-only: uint8, or after the declared scale float32 in [0, 1].

        A plain array for 8-bit images in the cache, else what stands in for one (see `lazy`): a window is read by
        `image[rows, columns]`, the whole by `np.asarray(image)`.

        Raises:
            DataError: the cached copy was removed or damaged meanwhile, or the file cannot be read any more.
        """
        native, scaling = self._native(index), self.scales.each[index]
        return native if scaling is None else Scaled(native, scaling)

    def mask(self, index: int) -> ArrayLike:
        """Class indices or 255 for ignored pixels, uint8 `(H, W)`, read-only; an array, or what stands in for one.

        Of a multilabel task bit k - 1 of a pixel is set where class k is.

        Raises:
            DataError: the cached copy was removed or damaged meanwhile, or the file cannot be read any more.
        """
        entry = self.entries[index]
        if not entry.stored:
            return FileMask(self._file(index))
        path = entry_paths(self._cache / "samples", self._keys[index])[2]
        return read_array(path, entry.shape[:2], "uint8", self._samples[index])

    def places(self, index: int) -> Places:
        """Some pixels of each class of a mask; found when first asked for, then kept beside the entry.

        Of a multilabel task class 0 has the pixels without a label, and a pixel with two labels is one of each.

        Raises:
            DataError: the mask cannot be read any more.
            WriteError: the cache cannot be written.
        """
        facts = entry_paths(self._cache / "samples", self._keys[index])[0]
        mask, counts = self.mask(index), self.entries[index].class_pixels
        try:
            if self._config.task == "multilabel":
                return _places_of_labels(facts, mask, counts)
            return remembered_places(facts.with_suffix(".places"), mask, counts)
        except OSError as error:
            raise cannot_write(self._cache, error) from error

    def statistics(self, indices: Sequence[int]) -> Statistics:
        """Statistics over the pixels of some samples, usually the training split.

        Args:
            indices: positions in the manifest; at least one.

        Raises:
            DataError: no pixel holds data.
            WriteError: the cache cannot be written.
        """
        entries = [self.entries[index] for index in indices]
        counts: Counter[int] = Counter()
        for entry in entries:
            counts.update(entry.class_pixels)
        mean, std = self._moments(indices)
        return Statistics(
            mean=mean,
            std=std,
            class_pixels=tuple(counts[index] for index in range(len(self._config.classes))),
            ignored=counts[IGNORE_INDEX],
            sizes=tuple((entry.shape[0], entry.shape[1]) for entry in entries),
        )

    def _moments(self, indices: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        entries = [self.entries[index] for index in indices]
        pixels = sum(entry.valid for entry in entries)
        if pixels == 0:
            raise DataError(f"no pixel of {len(entries)} images holds data: check data.nodata and the files.")
        scaled = self.scales.each[indices[0]] is not None
        try:
            self._add_up(indices)
        except OSError as error:
            raise cannot_write(self._cache, error) from error
        parts: Sequence[Entry | Tally] = [self._tallies[index] for index in indices] if scaled else entries
        mean = np.sum([part.sums for part in parts], axis=0) / pixels
        variance = np.sum([part.squares for part in parts], axis=0) / pixels - mean**2
        least, unit = (_FLOAT_STD, 1) if scaled else (1, 255)  # 8-bit sums are in grey levels
        std = np.maximum(np.sqrt(np.maximum(variance, 0)), least)
        return tuple((mean / unit).tolist()), tuple((std / unit).tolist())


@dataclass(frozen=True)
class _OneLabel(Windowed):
    """One class of a multilabel mask: its index where it is, ignored elsewhere; 0 where no bit is set."""

    bits: ArrayLike
    label: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def __getitem__(self, window: Window, /) -> Array:
        bits = np.asarray(self.bits[window])
        there = (bits >> (self.label - 1) & 1) == 1 if self.label else bits == 0
        return np.where(there & (bits != IGNORE_INDEX), self.label, IGNORE_INDEX).astype(np.uint8)


def _places_of_labels(facts: Path, bits: ArrayLike, counts: Mapping[int, int]) -> Places:
    """Places of each class of a multilabel mask, in a file each beside the facts of its sample."""
    found = Places({}, {})
    for label in sorted(counts.keys() - {IGNORE_INDEX}):
        file = facts.with_suffix(f".places{label}")
        one = remembered_places(file, _OneLabel(bits, label), {label: counts[label]})
        found.pixels.update(one.pixels)
        found.counts.update(one.counts)
    return found
