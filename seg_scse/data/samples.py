"""The list of samples: which files belong together, and in which split they are."""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        id: unique name: the path below the image folder without its extension and declared suffix, on one line.
        image: the image file; of one file per band, the first.
        masks: the mask file; several (or none) for one file per object, one per class for one file per class; for
            polygons and run lengths the annotation file.
        split: `train`, `val`, `test`, or None before the samples are divided.
        group: patient or scene that must stay in one split; the id itself where no group is declared.
        bands: the other files of one file per band, in the order of `data.bands`.
        plane: number of the slice in a volume, from 0; None for a file that is one image.
        label: name of the image in an annotation file; None elsewhere.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]
    split: str | None
    group: str
    bands: tuple[Path, ...] = ()
    plane: int | None = None
    label: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the sample."""
        return (self.image, *self.bands, *self.masks)


@dataclass(frozen=True)
class Manifest:
    """All samples, sorted by id, and notes on what was left out or decided."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def indices(self, split: str) -> list[int]:
        """Positions of the samples of one split, in the order of their ids."""
        return [index for index, sample in enumerate(self.samples) if sample.split == split]
