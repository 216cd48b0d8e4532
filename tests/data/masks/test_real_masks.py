"""Real mask files, each against the pixels that Pillow gives."""

import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError

from .masked import mask_of

FOLDER = Path(os.environ.get("SEG_SCSE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def unpacked(name: str, folder: Path) -> Path:
    if not (FOLDER / name).is_file():
        pytest.skip(f"{name} is not there: set SEG_SCSE_REAL_DATA to the folder of the archives")
    with tarfile.open(FOLDER / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return unpacked("real_samples.tar.gz", tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    return unpacked("amazon_forest_rgb.tar.gz", tmp_path_factory.mktemp("forest"))


def mask_files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    assert len(found) > 10
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nuclei", {"encoding": "binary"}),
        ("nuclei", {"values": {0: 0, 255: 1}}),
        ("nuclei", {"encoding": "colours", "colours": {"#000000": 0, "#ffffff": 1}}),
        ("nuclei", {"encoding": "objects"}),
        ("water", {"encoding": "binary"}),
    ],
)
def test_black_and_white_masks_are_the_bright_pixels(crops, name, options):
    for path in mask_files(crops, f"{name}/*/masks/*"):
        expected = np.asarray(Image.open(path).convert("L")) > 127
        assert np.array_equal(mask_of(path, expected.shape, **options), expected)


def test_palette_masks_are_the_indices_and_their_colours_say_the_same(crops):
    seen = np.zeros(3, np.int64)
    for path in mask_files(crops, "axons/*/masks/*"):
        image = Image.open(path)
        expected, palette = np.asarray(image), np.array(image.getpalette("RGB")).reshape(-1, 3)
        options = {"shape": expected.shape, "classes": ("background", "myelin", "axon")}
        assert np.array_equal(mask_of(path, encoding="palette", **options), expected)
        colours = {"#{:02x}{:02x}{:02x}".format(*palette[index]): index for index in range(3)}
        assert np.array_equal(mask_of(path, encoding="colours", colours=colours, **options), expected)
        seen += np.bincount(expected.ravel(), minlength=3)
    assert (seen > 0).all()


def test_palette_masks_without_the_index_zero_are_mapped(forest):
    for path in mask_files(forest, "t*/masks/*.png"):
        indices = np.asarray(Image.open(path))
        found = mask_of(path, indices.shape, encoding="palette", values={1: 1, 2: 0})
        assert np.array_equal(found, indices == 1)
        with pytest.raises(DataError, match=r"undeclared mask value 2; found .*`data\.mask\.values: \{.*\}`"):
            mask_of(path, indices.shape, encoding="palette")


def test_a_mask_of_another_size_than_its_image_is_refused(forest):
    (path,) = forest.rglob("Amazon_181.tiff_34.png")
    with pytest.raises(DataError, match=r"the mask is 515 x 512 pixels, but its image image\.png is 512 x 512"):
        mask_of(path, (512, 512), encoding="palette", values={1: 1, 2: 0})


def test_the_files_of_many_nuclei_are_united(tmp_path):
    if not (FOLDER / "stage1_train.zip").is_file():
        pytest.skip("stage1_train.zip is not there: set SEG_SCSE_REAL_DATA to the folder of the archives")
    with zipfile.ZipFile(FOLDER / "stage1_train.zip") as archive:
        names = [name for name in archive.namelist() if "/masks/" in name and name.endswith(".png")]
        folders = sorted({name.rpartition("/")[0] for name in names})[:5]
        for folder in folders:
            paths = [Path(archive.extract(name, tmp_path)) for name in names if name.rpartition("/")[0] == folder]
            layers = [np.asarray(Image.open(path)) for path in paths]
            union = np.max(layers, axis=0) > 127
            assert len(paths) > 1
            assert np.array_equal(mask_of(paths, union.shape, encoding="objects"), union)
