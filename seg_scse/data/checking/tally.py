"""What a data set holds, counted from the facts of its samples: classes, bands, sizes and places. No file is opened."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Place
from seg_scse.data.samples import SPLITS, Sample

Pair = tuple[Sample, Entry]

UNKNOWN = "unknown"
"""Unit of a pixel size where the file states none."""


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        name: its name.
        pixels: split -> pixels of the class.
        images: split -> images that hold the class.
    """

    name: str
    pixels: Mapping[str, int]
    images: Mapping[str, int]


@dataclass(frozen=True)
class SplitRow:
    """One split.

    Attributes:
        images: number of images.
        pixels: number of pixels, ignored ones included.
        ignored: pixels that are in no loss and no score.
        empty: images without any class but the first.
    """

    images: int
    pixels: int
    ignored: int
    empty: int


@dataclass(frozen=True)
class BandRow:
    """One band, over the valid pixels of all images, in the numbers of the files."""

    name: str
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """A data set in numbers.

    Attributes:
        splits: split -> its row, in the order train, val, test; samples not divided yet are under "undivided".
        classes: one row per class.
        bands: one row per band.
        sizes: `(H, W)` -> images.
        dtypes: type of the pixels in the files -> images.
        places: `(CRS, pixel height, pixel width, unit)` -> images; the CRS is "none" where there is no georeference.
        unplaced: images without georeference and without pixel size.
    """

    splits: Mapping[str, SplitRow]
    classes: tuple[ClassRow, ...]
    bands: tuple[BandRow, ...]
    sizes: Mapping[tuple[int, int], int]
    dtypes: Mapping[str, int]
    places: Mapping[tuple[str, float, float, str], int]
    unplaced: int

    @property
    def size_range(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None:
        """Smallest, median and largest `(H, W)` by area; None without images."""
        sizes = sorted((size for size, count in self.sizes.items() for _ in range(count)), key=lambda s: s[0] * s[1])
        return (sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]) if sizes else None


def present_classes(entry: Entry, first: int = 0) -> frozenset[int]:
    """Class indices that a sample's mask holds, from `first` on."""
    return frozenset(k for k, count in entry.class_pixels.items() if count and first <= k != IGNORE_INDEX)


def split_of(sample: Sample) -> str:
    """The split of a sample, or "undivided"."""
    return sample.split or "undivided"


def count_everything(pairs: Sequence[Pair], config: DataConfig) -> Tally:
    """Count classes, bands, sizes and places.

    Args:
        pairs: samples that can be read, with their facts.
        config: names of classes and bands.
    """
    found = {split_of(sample) for sample, _ in pairs}
    names = [split for split in (*SPLITS, "undivided") if split in found]
    by_split = {name: [entry for sample, entry in pairs if split_of(sample) == name] for name in names}
    entries = [entry for _, entry in pairs]
    places = [entry.place for entry in entries if entry.place is not None]
    return Tally(
        splits={name: _split_row(mine) for name, mine in by_split.items()},
        classes=tuple(_class_row(index, name, by_split) for index, name in enumerate(config.classes)),
        bands=tuple(_band_rows(entries, config)),
        sizes=Counter((entry.shape[0], entry.shape[1]) for entry in entries),
        dtypes=Counter(entry.dtype for entry in entries),
        places=Counter(_described(place) for place in places),
        unplaced=len(entries) - len(places),
    )


def _described(place: Place) -> tuple[str, float, float, str]:
    """Six digits of the pixel size: files of one survey differ beyond them."""
    height, width = (float(f"{side:.6g}") for side in place.spacing)
    return place.crs or "none", height, width, place.unit


def _split_row(entries: Sequence[Entry]) -> SplitRow:
    return SplitRow(
        images=len(entries),
        pixels=sum(entry.shape[0] * entry.shape[1] for entry in entries),
        ignored=sum(entry.class_pixels.get(IGNORE_INDEX, 0) for entry in entries),
        empty=sum(not present_classes(entry, 1) for entry in entries),
    )


def _class_row(index: int, name: str, by_split: Mapping[str, Sequence[Entry]]) -> ClassRow:
    counts = {split: [entry.class_pixels.get(index, 0) for entry in entries] for split, entries in by_split.items()}
    return ClassRow(
        name,
        {split: sum(pixels) for split, pixels in counts.items()},
        {split: sum(map(bool, pixels)) for split, pixels in counts.items()},
    )


def _band_rows(entries: Sequence[Entry], config: DataConfig) -> Iterator[BandRow]:
    measured = [entry for entry in entries if entry.valid]
    if not measured:
        return
    pixels = sum(entry.valid for entry in measured)
    for band, name in enumerate(config.band_names):
        mean = sum(float(entry.sums[band]) for entry in measured) / pixels
        square = sum(float(entry.squares[band]) for entry in measured) / pixels
        yield BandRow(
            name,
            mean,
            float(np.sqrt(max(0.0, square - mean**2))),
            min(float(entry.minima[band]) for entry in measured),
            max(float(entry.maxima[band]) for entry in measured),
        )
