"""Two folders of masks, scored without a network and without images."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_scse.config.data import DataConfig
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Array
from seg_scse.data.files.reading import read_raster
from seg_scse.data.files.signatures import is_image
from seg_scse.data.listing.claims import stem_below
from seg_scse.data.listing.folders import contents, require_folder
from seg_scse.data.listing.patterns import rules_of
from seg_scse.data.listing.splits import assign_groups
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.data.samples import Manifest, Sample
from seg_scse.data.scaling import Scales
from seg_scse.data.store import Store
from seg_scse.errors import ConfigError, DataError, numbered

SPLIT = "all"
"""Name of the one split of two folders of masks."""

IN_ONE_FILE = ("index", "palette", "binary", "colours", "bands")
"""Mask encodings with one file for each image, which alone can be paired without images."""


def read_truth(folder: Path, config: DataConfig) -> PreparedData:
    """List, read and check a folder of masks.

    Args:
        folder: one file per image; sub-folders are part of the id.
        config: what the masks mean; `mask_suffix` and `mask_pattern` say which part of a name is the id, `split.group`
            which part of that is the independent unit.

    Returns:
        samples of one split (`SPLIT`), whose image is the mask file itself and is never read.

    Raises:
        ConfigError: an encoding with other than one file for each image, or an unusable `split.group`.
        DataError: the folder has no masks, or some cannot be read as declared; all of them are listed.
    """
    if config.mask.encoding not in IN_ONE_FILE:
        raise ConfigError(
            f"data.mask.encoding={config.mask.encoding}: --masks-only reads one mask file for each image "
            f"({', '.join(IN_ONE_FILE)}). Score such data with their images: --data FILE."
        )
    samples = _samples(folder, config)
    return PreparedData(config, Manifest(samples), MaskStore(samples, config))


def _samples(folder: Path, config: DataConfig) -> tuple[Sample, ...]:
    rule = rules_of(config, "mask")[0]
    found: dict[str, list[Path]] = {}
    for path in contents(require_folder(folder, "--masks-only")).files:
        id_ = rule.id_of(stem_below(path, folder)) if is_image(path) else None
        if id_ is not None and id_ not in config.exclude:
            found.setdefault(id_, []).append(path)
    problems = [
        f"{id_}: {' and '.join(shown(path.name) for path in paths)}"
        for id_, paths in sorted(found.items())
        if len(paths) > 1
    ]
    if problems:
        raise DataError(f"{shown(folder)}: names that belong to more than one file:\n{numbered(problems)}")
    if not found:
        raise DataError(f"{shown(folder)}: no mask file{rule.condition}. Correct the folder or data.mask_suffix.")
    samples = [Sample(id_, paths[0], (paths[0],), SPLIT, id_) for id_, paths in sorted(found.items())]
    return tuple(assign_groups(samples, config.split.group))


class MaskStore(Store):
    """Masks without images, each read from its file when it is asked for.

    Args:
        samples: each with one mask file.
        config: what the masks mean.

    Raises:
        DataError: masks cannot be read as declared; all of them are listed.
    """

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self._samples, self._config = tuple(samples), config
        self.scales, self.notes = Scales((None,) * len(self._samples)), ()
        self.entries = self._entries()
        digests = "\n".join(f"{s.id}\0{e.mask_digest}" for s, e in zip(self._samples, self.entries, strict=True))
        self.digest = hashlib.sha256(digests.encode()).hexdigest()

    def _entries(self) -> tuple[Entry, ...]:
        entries, problems = [], []
        for sample in self._samples:
            try:
                entries.append(self._entry(sample))
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError(f"{len(problems)} of {len(self._samples)} masks cannot be used:\n{numbered(problems)}")
        return tuple(entries)

    def _entry(self, sample: Sample) -> Entry:
        raster = read_raster(sample.image, self._config.max_pixels)
        height, width = raster.pixels.shape[:2]
        mask = read_mask(sample, (height, width), raster.place, self._config)
        labels, pixels = np.unique(mask, return_counts=True)
        return Entry(
            shape=(height, width, 1),
            dtype="uint8",
            image_digest="",
            mask_digest=hashlib.sha256(f"{mask.shape}".encode() + mask.tobytes()).hexdigest(),
            valid=mask.size,
            sums=(0,),
            squares=(0,),
            minima=(0,),
            maxima=(0,),
            fill=(0,),
            class_pixels=dict(zip(labels.tolist(), pixels.tolist(), strict=True)),
            facts=(),
            place=raster.place,
            stored=False,
        )

    def mask(self, index: int) -> Array:
        """Class indices or 255 for ignored pixels, uint8 `(H, W)`."""
        entry = self.entries[index]
        return read_mask(self._samples[index], entry.shape[:2], entry.place, self._config)

    def image(self, index: int) -> Array:
        """Nothing: there are no images.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self._samples[index].id}: has no image, only masks.")
