"""The list of samples: which files belong together, and in which split they are."""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        id: unique name: the path below the image folder without its extension and declared suffix, on one line.
        image: the image file.
        masks: the mask file; several (or none) for one file per object.
        split: `train`, `val`, `test`, or None before the samples are divided.
        group: patient or scene that must stay in one split; the id itself where no group is declared.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]
    split: str | None
    group: str


@dataclass(frozen=True)
class Manifest:
    """All samples, sorted by id, and notes on what was left out or decided."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def indices(self, split: str) -> list[int]:
        """Positions of the samples of one split, in the order of their ids."""
        return [index for index, sample in enumerate(self.samples) if sample.split == split]
