from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    assert per_epoch >= 8
    assert 400 < per_epoch * config.trainer.max_epochs < 1500
    assert config.name == "my_scans"
    assert config.data.mask.encoding == "binary"
    assert config.data.channels == "gray"
    assert reasons.keys() >= {"data.mask", "data.split", "trainer.crop", "trainer.max_epochs", "loss.terms"}


def test_overrides_win_over_choices(tmp_path: Path) -> None:
    config, _ = choose_config(*folders(tmp_path, 3, (64, 64)), ["trainer.crop=32", "data.channels=rgb"])
    assert (config.trainer.crop, config.data.channels) == (32, "rgb")
