"""Imitations of the public data sets of aerial and satellite images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .fake_files import Fake, black_white, coloured, listed_ids, picture, save, save_bands, touch

_ISPRS = dict(enumerate(("#ff0000", "#ffffff", "#0000ff", "#00ffff", "#00ff00", "#ffff00")))
_DUBAI = dict(enumerate(("#9b9b9b", "#8429f6", "#3c1098", "#6ec1e4", "#fedd3a", "#e2a929")))
_DEEPGLOBE = dict(enumerate(("#00ffff", "#ffff00", "#ff00ff", "#00ff00", "#0000ff", "#ffffff"))) | {255: "#000000"}


def _massachusetts(root: Path, red: bool) -> Fake:
    fake = Fake((3, 1, 2))
    for number, (split, count) in enumerate((("train", 3), ("valid", 1), ("test", 2))):
        for index in range(count):
            id_ = f"2267{number}915_{index}5"
            mask = fake.add(id_, 2) == 1
            save(root / split / "sat" / f"{id_}.tiff", fake.image(id_, picture(id_)))
            pixels = coloured(mask.astype(np.uint8), {1: "#ff0000"}) if red else black_white(mask)
            save(root / split / "map" / f"{id_}.tif", pixels)
    return fake


def _inria(root: Path) -> Fake:
    fake = Fake((9, 1, 5))
    for city in ("austin", "chicago", "kitsap", "tyrol-w", "vienna"):
        for number in (1, 6, 17):
            id_ = f"{city}{number}"
            save_bands(root / "train" / "images" / f"{id_}.tif", fake.image(id_, picture(id_)), left=5e5)
            save_bands(root / "train" / "gt" / f"{id_}.tif", black_white(fake.add(id_, 2) == 1), left=5e5)
    save_bands(root / "test" / "images" / "sfo1.tif", picture("sfo1"))
    return fake


def _landcover_ai(root: Path) -> Fake:
    fake = Fake((3, 1, 2), leaks=True)
    sheet = "M-33-20-D-c-4-2"
    for split, numbers in (("train", (0, 1, 10)), ("val", (2,)), ("test", (3, 4))):
        for number in numbers:
            id_ = f"{sheet}_{number}"
            save(root / "output" / f"{id_}.jpg", picture(id_))
            save(root / "output" / f"{id_}_m.png", fake.add(id_, 5))
        touch(root / f"{split}.txt", text="".join(f"{sheet}_{number}\n" for number in numbers))
    save(root / "images" / f"{sheet}.tif", picture(sheet))
    save(root / "masks" / f"{sheet}.tif", picture(sheet, 1))
    touch(root / "split.py")
    return fake


def _loveda(root: Path) -> Fake:
    fake = Fake((9, 1, 3))
    for split, numbers in (("Train", range(10)), ("Val", range(2522, 2525))):
        for number in numbers:
            scene = "Rural" if number % 2 else "Urban"
            labels = fake.add(f"{scene}/{number}", 7, ignore=True)
            save(
                root / split / scene / "images_png" / f"{number}.png",
                fake.image(f"{scene}/{number}", picture(str(number))),
            )
            stored = np.where(labels == 255, 0, labels + 1).astype(np.uint8)
            save(root / split / scene / "masks_png" / f"{number}.png", stored)
    save(root / "Test" / "Rural" / "images_png" / "4191.png", picture("4191"))
    return fake


def _potsdam(root: Path) -> Fake:
    fake = Fake((20, 4, 14), bands=4)
    for id_ in listed_ids("potsdam"):
        save_bands(root / "4_Ortho_RGBIR" / f"{id_}_RGBIR.tif", fake.image(id_, picture(id_, 4)), alpha=True)
        touch(root / "4_Ortho_RGBIR" / f"{id_}_RGBIR.tfw")
        save(root / f"{id_}_label.tif", coloured(fake.add(id_, 6), _ISPRS))
    return fake


def _vaihingen(root: Path) -> Fake:
    fake = Fake((13, 3, 17))
    for id_ in listed_ids("vaihingen"):
        save(root / "top" / f"{id_}.tif", fake.image(id_, picture(id_)))
        save(root / f"{id_}.tif", coloured(fake.add(id_, 6), _ISPRS))
    return fake


def _mangrove(root: Path) -> Fake:
    fake = Fake((3, 1, 2), bands=4)
    for folder, numbers in (("Training", (1, 2, 3, 5)), ("Validation", (33, 34))):
        for number in numbers:
            id_ = f"MAHAKAM_{number:05}"
            pixels = fake.image(id_, picture(id_, 4))
            save_bands(root / folder / "images" / f"{id_}.tif", pixels, left=number * 5120.0, alpha=True)
            save(root / folder / "masks" / f"{id_}.png", fake.add(id_, 2))
    save_bands(root / "Test" / "MAHAKAM_00032.tif", picture("32", 4), alpha=True)
    return fake


def _cloud38(root: Path) -> Fake:
    fake = Fake((14, 4, 2), bands=4)
    for scene in range(10):
        for number in (1, 2):
            id_ = f"patch_{number}_1_by_{number}_LC08_L1TP_00205{scene}_20160520_20170324_01_T1"
            labels = fake.add(id_, 2)
            margin = np.arange(labels.shape[1]) < 3
            pixels = fake.image(id_, np.where(margin[:, None], 0, picture(id_, 4, top=30_000)).astype(np.uint16))
            for index, band in enumerate(("red", "green", "blue", "nir")):
                save_bands(root / f"train_{band}" / f"{band}_{id_}.TIF", pixels[..., index])
            save_bands(root / "train_gt" / f"gt_{id_}.TIF", black_white(labels == 1))
    touch(root / "training_patches_38-Cloud.csv")
    save(root / "Natural_False_Color" / "nfc_1.PNG", picture("nfc"))
    return fake


def _deepglobe(root: Path, roads: bool) -> Fake:
    fake = Fake((7, 1, 2))
    for number in range(10):
        id_ = str(100694 + number)
        labels = fake.add(id_, 2 if roads else 6, ignore=not roads)
        save(root / "train" / f"{id_}_sat.jpg", picture(id_))
        mask = (
            np.dstack([np.where(labels == 1, 254, 1)] * 3).astype(np.uint8) if roads else coloured(labels, _DEEPGLOBE)
        )
        save(root / "train" / f"{id_}_mask.png", mask)
    save(root / "valid" / "1_sat.jpg", picture("valid"))
    touch(root / "class_dict.csv", root / "metadata.csv")
    return fake


def _dubai(root: Path) -> Fake:
    fake = Fake((10, 4, 2))
    for tile in range(1, 9):
        for part in (1, 2):
            name = f"image_part_{part:03}"
            labels = fake.add(f"Tile {tile}/{name}", 6)
            save(root / f"Tile {tile}" / "images" / f"{name}.jpg", picture(f"{tile} {name}"))
            save(root / f"Tile {tile}" / "masks" / f"{name}.png", coloured(labels, _DUBAI))
    touch(root / "classes.json", text="{}")
    return fake


AERIAL: dict[str, Callable[[Path], Fake]] = {
    "cloud38": _cloud38,
    "deepglobe_land": partial(_deepglobe, roads=False),
    "deepglobe_roads": partial(_deepglobe, roads=True),
    "dubai": _dubai,
    "inria": _inria,
    "landcover_ai": _landcover_ai,
    "loveda": _loveda,
    "mangrove": _mangrove,
    "massachusetts_buildings": partial(_massachusetts, red=True),
    "massachusetts_roads": partial(_massachusetts, red=False),
    "potsdam": _potsdam,
    "vaihingen": _vaihingen,
}
