"""Imitations of the public medical data sets."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .fake_files import Fake, black_white, picture, save, save_volume, touch


def _isic(root: Path, images: str, masks: str, end: str, counts: dict[str, int], sizes: tuple[int, int, int]) -> Fake:
    fake = Fake(sizes)
    for number, split in enumerate(counts):
        folder = root / images.format(split)
        for index in range(counts[split]):
            id_ = f"ISIC_{number}{index:06}"
            save(folder / f"{id_}.jpg", picture(id_))
            save(root / masks.format(split) / f"{id_}{end}.png", black_white(fake.add(id_, 2) == 1))
            if "2017" in images:
                save(folder / f"{id_}_superpixels.png", picture(f"superpixels {id_}"))
        touch(folder / "ATTRIBUTION.txt", folder / "LICENSE.txt")
    return fake


_ISIC = {
    "isic2016": partial(
        _isic,
        images="ISBI2016_ISIC_Part1_{}_Data",
        masks="ISBI2016_ISIC_Part1_{}_GroundTruth",
        end="_Segmentation",
        counts={"Training": 10, "Test": 2},
        sizes=(9, 1, 2),
    ),
    "isic2017": partial(
        _isic,
        images="ISIC-2017_{}_Data",
        masks="ISIC-2017_{}_Part1_GroundTruth",
        end="_segmentation",
        counts={"Training": 3, "Validation": 1, "Test_v2": 2},
        sizes=(3, 1, 2),
    ),
    "isic2018": partial(
        _isic,
        images="ISIC2018_Task1-2_{}_Input",
        masks="ISIC2018_Task1_{}_GroundTruth",
        end="_segmentation",
        counts={"Training": 4, "Validation": 1, "Test": 2},
        sizes=(4, 1, 2),
    ),
}


def _kvasir_seg(root: Path) -> Fake:
    fake = Fake((8, 1, 1))
    for index in range(10):
        id_ = f"cju0qkwl35piu0993l0dewei{index}"
        save(root / "images" / f"{id_}.jpg", picture(id_))
        mask = black_white(fake.add(id_, 2) == 1)
        save(root / "masks" / f"{id_}.jpg", np.dstack([mask] * 3), quality=90)  # noise at every edge
    touch(root / "kavsir_bboxes.json", text="{}")
    return fake


def _cvc_clinicdb(root: Path) -> Fake:
    fake = Fake((490, 60, 62))
    for number in range(1, 613):
        save(root / "Original" / f"{number}.tif", fake.image(str(number), picture(str(number), shape=(8, 12))))
        labels = fake.add(str(number), 2, shape=(8, 12))
        save(root / "Ground Truth" / f"{number}.tif", black_white(labels == 1))
    return fake


def _drive(root: Path) -> Fake:
    fake = Fake((12, 3, 5))
    for number in range(21, 41):
        vessels = fake.add(str(number), 2) == 1
        save(root / "training" / "images" / f"{number}_training.tif", fake.image(str(number), picture(str(number))))
        save(root / "training" / "1st_manual" / f"{number}_manual1.gif", black_white(vessels))
        save(root / "training" / "mask" / f"{number}_training_mask.gif", black_white(vessels | True))
    save(root / "test" / "images" / "01_test.tif", picture("01"))
    return fake


def _chase_db1(root: Path) -> Fake:
    fake = Fake((16, 4, 8))
    for child in range(1, 15):
        for eye in "LR":
            name = f"Image_{child:02}{eye}"
            vessels = fake.add(f"{child:02}/{eye}", 2) == 1
            save(root / f"{name}.jpg", picture(name))
            save(root / f"{name}_1stHO.png", vessels)
            save(root / f"{name}_2ndHO.png", ~vessels)
    return fake


def _stare(root: Path) -> Fake:
    fake = Fake((6, 1, 3))
    for number in range(1, 11):
        id_ = f"im{number:04}"
        save(root / "stare-images" / f"{id_}.ppm", fake.image(id_, picture(id_)))
        mask = black_white(fake.add(id_, 2) == 1)
        save(root / "labels-ah" / f"{id_}.ah.ppm", np.dstack([mask] * 3))
    return fake


def _hrf(root: Path) -> Fake:
    fake = Fake((12, 3, 30))
    for number in range(1, 16):
        for kind, suffix in (("h", "jpg"), ("dr", "JPG"), ("g", "jpg")):
            id_ = f"{number:02}_{kind}"
            save(root / "images" / f"{id_}.{suffix}", picture(id_), format="JPEG")
            save(root / "manual1" / f"{id_}.tif", black_white(fake.add(id_, 2) == 1))
            save(root / "mask" / f"{id_}_mask.tif", picture(f"mask {id_}"))
    return fake


def _busi(root: Path) -> Fake:
    fake = Fake((7, 1, 2))
    names = [
        f"{kind}/{kind} ({i})" for kind, count in (("benign", 4), ("malignant", 4), ("normal", 2)) for i in range(count)
    ]
    for id_ in names:
        tumour = fake.add(id_, 1 if id_.startswith("normal") else 2) == 1
        save(root / f"{id_}.png", fake.image(id_, np.dstack([picture(id_, 1)] * 3)))
        if id_ == "benign/benign (1)":  # two tumours, which touch
            left = np.arange(tumour.shape[1]) < 13
            save(root / f"{id_}_mask.png", tumour & left)
            save(root / f"{id_}_mask_1.png", tumour & ~left)
        elif id_.startswith("malignant"):
            save(root / f"{id_}_mask.png", np.dstack([black_white(tumour)] * 3))
        else:
            save(root / f"{id_}_mask.png", tumour)
    return fake


def _lgg_mri(root: Path) -> Fake:
    fake = Fake((16, 2, 2))
    for patient in range(10):
        case = f"TCGA_CS_49{patient}1_199{patient}0909"
        for number in (1, 2):
            id_ = f"{case}/{number}"
            mask = black_white(fake.add(id_, number) == 1)  # the first slice of each patient is empty
            for folder in ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m"):
                save(root / folder / case / f"{case}_{number}.tif", fake.image(id_, picture(id_)))
                save(root / folder / case / f"{case}_{number}_mask.tif", mask)
    touch(root / "kaggle_3m" / "data.csv", root / "kaggle_3m" / "README.md")
    return fake


def _msd(root: Path, name: str, classes: int, bands: int = 1, flipped: bool = False) -> Fake:
    fake = Fake((15, 3, 3), bands=bands)
    for number in range(7):
        case = f"{name}_{number:03}"
        labels = [fake.add(f"{case}/{k:03}", classes) for k in range(3)]
        images = [picture(f"{case} {k}", bands, top=2000).astype(np.int16) - 1000 for k in range(3)]
        for k, pixels in enumerate(images):
            fake.image(f"{case}/{k:03}", pixels)
        save_volume(root / "imagesTr" / f"{case}.nii.gz", images, flipped)
        save_volume(root / "labelsTr" / f"{case}.nii.gz", labels, flipped)
        touch(root / "imagesTr" / f"._{case}.nii.gz", root / "labelsTr" / f"._{case}.nii.gz")
    save_volume(root / "imagesTs" / f"{name}_900.nii.gz", images)
    touch(root / "dataset.json", text="{}")
    return fake


def _montgomery(root: Path) -> Fake:
    fake = Fake((7, 1, 2), bands=1)
    for number in range(10):
        id_ = f"MCUCXR_{number:04}_0"
        labels = fake.add(id_, 3)
        save(root / "CXR_png" / f"{id_}.png", fake.image(id_, picture(id_, 1)))
        for index, side in ((1, "left"), (2, "right")):
            save(root / "ManualMask" / f"{side}Mask" / f"{id_}.png", black_white(labels == index))
    touch(root / "ClinicalReadings" / "MCUCXR_0000_0.txt", root / "NLM-MontgomeryCXRSet-ReadMe.pdf")
    return fake


def _glas(root: Path) -> Fake:
    fake = Fake((17, 3, 4))
    names = [f"train_{i}" for i in range(1, 21)] + ["testA_1", "testA_2", "testA_3", "testB_1"]
    for id_ in names:
        glands = fake.add(id_, 2)
        numbers = np.cumsum(np.ones_like(glands), axis=1, dtype=np.uint8)  # every gland has a number of its own
        save(root / f"{id_}.bmp", fake.image(id_, picture(id_)))
        save(root / f"{id_}_anno.bmp", np.where(glands == 1, numbers, 0).astype(np.uint8))
    touch(root / "Grade.csv")
    return fake


MEDICAL: dict[str, Callable[[Path], Fake]] = {
    **_ISIC,
    "busi": _busi,
    "chase_db1": _chase_db1,
    "cvc_clinicdb": _cvc_clinicdb,
    "drive": _drive,
    "glas": _glas,
    "hrf": _hrf,
    "kvasir_seg": _kvasir_seg,
    "lgg_mri": _lgg_mri,
    "montgomery": _montgomery,
    "msd_brain_tumour": partial(_msd, name="BRATS", classes=4, bands=4),
    "msd_heart": partial(_msd, name="la", classes=2),
    "msd_hippocampus": partial(_msd, name="hippocampus", classes=3),
    "msd_spleen": partial(_msd, name="spleen", classes=2, flipped=True),
    "stare": _stare,
}
