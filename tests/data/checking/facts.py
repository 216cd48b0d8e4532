"""Samples and their facts without any file, for rules that look at facts only."""

from pathlib import Path
from typing import Any

from seg_scse.data.entries import Entry
from seg_scse.data.samples import Sample

Pair = tuple[Sample, Entry]


def pair(
    id_: str, split: str | None = "train", group: str | None = None, plane: int | None = None, **facts: Any
) -> Pair:
    """A sample of 4 x 5 RGB pixels from 0 to 255; half of its mask is class 1. Its image is unlike any other's."""
    image = Path("volume.nii" if plane is not None else f"{split}/{id_}.png")
    sample = Sample(id_, image, (Path(f"m/{id_}.png"),), split, group or id_, plane=plane)
    given = {
        "shape": (4, 5, 3),
        "dtype": "uint8",
        "image_digest": f"image of {id_} in {split}",
        "mask_digest": f"mask of {id_} in {split}",
        "valid": 20,
        "sums": (2000, 2000, 2000),
        "squares": (300_000, 300_000, 300_000),
        "minima": (0, 0, 0),
        "maxima": (255, 255, 255),
        "fill": (100, 100, 100),
        "class_pixels": {0: 10, 1: 10},
        "facts": (),
        "place": None,
        "stored": True,
    }
    return sample, Entry(**(given | facts))


def several(*splits: str, **facts: Any) -> list[Pair]:
    """One pair for each split named, with ids that look like nothing."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [pair(f"{letters[index]}x", split, **facts) for index, split in enumerate(splits)]
