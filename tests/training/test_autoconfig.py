from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.data.manifest import build_manifest
from seg_scse.errors import DataError
from seg_scse.training.autoconfig import choose_config


def folders(root: Path, count: int, size: tuple[int, int]) -> tuple[Path, Path]:
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 255
    for name, pixels in (("images", mask // 2), ("masks", mask)):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root / "images", root / "masks"


@pytest.mark.parametrize(("size", "crop"), [((20, 300), 32), ((100, 120), 96), ((256, 256), 256), ((700, 900), 256)])
def test_crop_fits_the_images_and_an_epoch_has_steps(tmp_path: Path, size: tuple[int, int], crop: int) -> None:
    config, reasons = choose_config(*folders(tmp_path / "my scans", 6, size), [])
    assert config.trainer.crop == crop
    per_epoch = 4 * config.trainer.repeats // config.trainer.batch_size
    assert 8 <= per_epoch <= 100
    assert config.trainer.max_steps == 600
    assert per_epoch * (config.trainer.max_epochs - 1) < 600 <= per_epoch * config.trainer.max_epochs
    assert config.name == "my_scans"
    assert config.data.mask.encoding == "binary"
    assert config.data.channels == "gray"
    assert reasons.keys() >= {"data.mask", "data.split", "trainer.crop", "trainer.max_steps", "loss.terms"}


@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_sets_are_divided_without_an_empty_part(tmp_path: Path, count: int) -> None:
    config, _ = choose_config(*folders(tmp_path, count, (64, 64)), [])
    manifest = build_manifest(config.data)
    assert all(manifest.indices(split) for split in ("train", "val", "test"))


def test_two_pairs_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 pairs of image and mask"):
        choose_config(*folders(tmp_path, 2, (64, 64)), [])


def test_the_budget_does_not_grow_with_many_or_large_images(tmp_path: Path) -> None:
    config, _ = choose_config(*folders(tmp_path, 3, (2000, 2000)), [])
    assert config.trainer.repeats <= 60 * config.trainer.batch_size
    assert config.trainer.max_steps == 600
    assert config.trainer.max_epochs >= 10


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        images, masks = folders(tmp_path / split, 2, (64, 64))
        for name, folder in (("images", images), ("masks", masks)):
            (tmp_path / name).mkdir(exist_ok=True)
            folder.rename(tmp_path / name / split)
    config, _ = choose_config(tmp_path / "images", tmp_path / "masks", [])
    assert config.data.images.endswith("images/{split}")
    assert config.data.mask.encoding == "binary"
    assert len(build_manifest(config.data).indices("test")) == 2


def test_overrides_win_over_choices(tmp_path: Path) -> None:
    config, reasons = choose_config(*folders(tmp_path, 3, (64, 64)), ["trainer.crop=32", "data.channels=rgb"])
    assert "trainer.crop" not in reasons, "a reason for what was not chosen would mislead"
    assert (config.trainer.crop, config.data.channels) == (32, "rgb")
