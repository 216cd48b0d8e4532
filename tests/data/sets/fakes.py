"""Imitations of public data sets: exactly their folders, names, encodings and junk files, with a few tiny samples."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.data.sets.synthetic import draw_dataset

from .fake_files import Fake, black_white, draw_labels, listed_ids, picture, save, save_palette, touch
from .fakes_aerial import AERIAL
from .fakes_medical import MEDICAL

Draw = Callable[[Path], Fake]


def _dsb2018(root: Path) -> Fake:
    fake = Fake((478, 53, 133))
    for id_ in listed_ids("dsb2018"):
        labels = fake.add(id_, 2, shape=(8, 12))
        opaque = np.full((8, 12, 1), 255, np.uint8)
        save(root / id_ / "images" / f"{id_}.png", np.dstack([fake.image(id_, picture(id_, shape=(8, 12))), opaque]))
        left = np.arange(12) < 7  # the two objects share a column
        for number, part in enumerate((left, ~left | (np.arange(12) == 6))):
            save(root / id_ / "masks" / f"{number}.png", black_white((labels == 1) & part))
    return fake


def _amazon_forest(root: Path) -> Fake:
    fake = Fake((4, 1, 2))
    names = {"training": ["Amazon_5.tiff_50", *(f"Amazon_1.tiff_{i}" for i in range(4))]}
    names["validation"] = ["Amazon_9.tiff_1", "Amazon_9.tiff_2"]
    white_black = [0, 0, 0, 255, 255, 255, 0, 0, 0]
    for folder, ids in names.items():
        for id_ in ids:
            forest = fake.add(id_, 2)
            save(root / folder / "images" / f"{id_}.tiff", fake.image(id_, picture(id_) // 4))
            save_palette(root / folder / "masks" / f"{id_}.png", (2 - forest).astype(np.uint8), white_black)
    odd = "Amazon_181.tiff_34"
    save(root / "training" / "images" / f"{odd}.tiff", picture(odd))
    save_palette(root / "training" / "masks" / f"{odd}.png", draw_labels(odd, [1, 2], (24, 36)), white_black)
    save(root / "test" / "0.tiff", picture("test"))
    return fake


def _synthetic_cells(root: Path) -> Fake:
    draw_dataset(root)
    fake = Fake((60, 12, 20))
    fake.truth = {path.stem: np.asarray(Image.open(path)) for path in (root / "masks").iterdir()}
    return fake


def _camvid(root: Path) -> Fake:
    names = {"train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"], "val": ["0016E5_07959"]}
    names["test"] = ["0001TP_008550", "Seq05VD_f00000"]
    fake = Fake((3, 1, 2), leaks=True)
    for split, ids in names.items():
        lines = []
        for id_ in ids:
            labels = fake.add(f"{split}/{id_}", 11, ignore=True)
            save(root / split / f"{id_}.png", fake.image(f"{split}/{id_}", picture(id_)))
            save(root / f"{split}annot" / f"{id_}.png", np.where(labels == 255, 11, labels).astype(np.uint8))
            lines.append(f"/SegNet/CamVid/{split}/{id_}.png /SegNet/CamVid/{split}annot/{id_}.png\n")
        touch(root / f"{split}.txt", text="".join(lines))
    return fake


FAKES: dict[str, Draw] = {
    "amazon_forest": _amazon_forest,
    "camvid": _camvid,
    "dsb2018": _dsb2018,
    "synthetic_cells": _synthetic_cells,
    **AERIAL,
    **MEDICAL,
}
"""Name of a card -> drawing of its data set into an empty folder."""
