"""All samples, checked and decoded once, then read from the cache as memory-mapped arrays."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from tqdm import tqdm

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.cache import cache_folder, cannot_write
from seg_scse.data.cards import resolve_card
from seg_scse.data.entries import Entry, decoding_of, entry_key, entry_paths, load_entry, make_entry, read_array
from seg_scse.data.names import some
from seg_scse.data.reading import Pixels
from seg_scse.data.samples import Manifest, Sample
from seg_scse.errors import DataError, numbered

_MOST_PROBLEMS = 200
_ENOUGH_TO_SEE = 5  # where every sample is refused, the declaration is wrong, not the files
_MOST_THREADS = 8


@dataclass(frozen=True)
class Statistics:
    """Statistics of some samples.

    Attributes:
        mean: of each channel, in [0, 1], over all pixels.
        std: of each channel, in [0, 1]; at least 1/255, so that constant images can be standardised.
        class_pixels: pixels of each class, in index order.
        ignored: pixels marked as ignored.
        sizes: `(H, W)` of each image.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_pixels: tuple[int, ...]
    ignored: int
    sizes: tuple[tuple[int, int], ...]


def _prepare_one(sample: Sample, config: DataConfig, folder: Path, key: str) -> Entry | str:
    """Return the cached or new entry, or what is wrong with the sample."""
    try:
        return load_entry(folder, key) or make_entry(sample, config, folder, key)
    except DataError as error:
        return str(error)


def _prepare_all(
    manifest: Manifest, config: DataConfig, folder: Path, keys: list[str], progress: bool
) -> list[Entry | str]:
    """Prepare every sample in threads: Pillow and NumPy release the interpreter while they decode."""
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        jobs = [pool.submit(_prepare_one, s, config, folder, k) for s, k in zip(manifest.samples, keys, strict=True)]
        return [job.result() for job in tqdm(jobs, "reading data", unit="image", disable=not progress, leave=False)]
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _fact_notes(entries: Sequence[Entry]) -> list[str]:
    facts = Counter(fact for entry in entries for fact in entry.facts)
    return [f"{count} of {len(entries)} images {fact}" for fact, count in sorted(facts.items())]


def _leak_notes(samples: Sequence[Sample], entries: Sequence[Entry]) -> list[str]:
    """Name images with equal pixels in different splits."""
    by_digest: dict[str, list[Sample]] = {}
    for sample, entry in zip(samples, entries, strict=True):
        by_digest.setdefault(entry.image_digest, []).append(sample)
    leaks = [
        " = ".join(f"{sample.id} ({sample.split})" for sample in same)
        for same in by_digest.values()
        if len({sample.split for sample in same}) > 1
    ]
    return [f"leak: {len(leaks)} images are in more than one split: {some(leaks)}"] if leaks else []


class Store:
    """Decoded samples by their position in the manifest. Holds no open file; pickles small.

    Attributes:
        digest: SHA-256 over all ids and decoded images and masks: what data a run saw.
        notes: what was done to images, and images that are in two splits.
    """

    def __init__(
        self, manifest: Manifest, entries: Sequence[Entry], folder: Path, keys: Sequence[str], classes: int
    ) -> None:
        self._samples = manifest.samples
        self._entries = tuple(entries)
        self._folder = folder
        self._keys = tuple(keys)
        self._classes = classes
        pairs = zip(self._samples, self._entries, strict=True)
        lines = "\n".join(f"{sample.id}\0{entry.image_digest}\0{entry.mask_digest}" for sample, entry in pairs)
        self.digest = hashlib.sha256(lines.encode()).hexdigest()
        self.notes = (*_fact_notes(self._entries), *_leak_notes(self._samples, self._entries))

    @classmethod
    def prepare(cls, manifest: Manifest, config: DataConfig, progress: bool = False) -> Self:
        """Read, check and decode every sample in one pass, or take it from the cache if its files did not change.

        Args:
            manifest: the samples.
            config: the `data` section; a card named in it is resolved first.
            progress: draw a progress bar on stderr.

        Raises:
            DataError: any sample cannot be used as declared; all of them are listed.
            WriteError: the cache cannot be written.
        """
        config = resolve_card(config)
        folder = cache_folder(config) / "samples"
        real_folders: dict[Path, str] = {}
        decoding = decoding_of(config)
        keys = [entry_key(sample, decoding, real_folders) for sample in manifest.samples]
        found = _prepare_all(manifest, config, folder, keys, progress)
        problems = [result for result in found if isinstance(result, str)]
        if problems:
            most = _MOST_PROBLEMS if len(problems) < len(found) else _ENOUGH_TO_SEE
            raise DataError(
                f"{len(problems)} of {len(found)} samples cannot be used:\n{numbered(problems, most)}\n"
                f"Correct them, or leave samples out with data.exclude."
            )
        entries = [result for result in found if isinstance(result, Entry)]
        return cls(manifest, entries, folder, keys, len(config.classes))

    def __len__(self) -> int:
        return len(self._entries)

    def image(self, index: int) -> Pixels:
        """Image, uint8 `(H, W, C)`, read-only.

        Raises:
            DataError: the cached copy was removed or damaged meanwhile.
        """
        path = entry_paths(self._folder, self._keys[index])[1]
        return read_array(path, self._entries[index].shape, self._samples[index])

    def mask(self, index: int) -> Pixels:
        """Class indices or 255 for ignored pixels, uint8 `(H, W)`, read-only.

        Raises:
            DataError: the cached copy was removed or damaged meanwhile.
        """
        path = entry_paths(self._folder, self._keys[index])[2]
        return read_array(path, self._entries[index].shape[:2], self._samples[index])

    def statistics(self, indices: Sequence[int]) -> Statistics:
        """Statistics over the pixels of some samples, usually the training split.

        Args:
            indices: positions in the manifest; at least one.
        """
        entries = [self._entries[index] for index in indices]
        pixels = sum(entry.shape[0] * entry.shape[1] for entry in entries)
        mean = np.sum([entry.sums for entry in entries], axis=0) / pixels
        variance = np.sum([entry.squares for entry in entries], axis=0) / pixels - mean**2
        std = np.maximum(np.sqrt(np.maximum(variance, 0)), 1)  # in grey levels
        counts: Counter[int] = Counter()
        for entry in entries:
            counts.update(entry.class_pixels)
        return Statistics(
            mean=tuple((mean / 255).tolist()),
            std=tuple((std / 255).tolist()),
            class_pixels=tuple(counts[index] for index in range(self._classes)),
            ignored=counts[IGNORE_INDEX],
            sizes=tuple((entry.shape[0], entry.shape[1]) for entry in entries),
        )
