from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.errors import DataError
from seg_scse.training.autoconfig import choose_config

from ..data.checking.unlabelled import draw_bands, draw_volumes


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


def test_bands_and_scale_of_satellite_tiles_are_chosen_with_reasons(tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint16", 5, 4000)
    config, reasons = choose_config(root / "images", root / "masks", [])
    assert config.data.bands == ("band1", "band2", "band3", "band4", "band5")
    assert config.data.scale.method == "percentile"
    assert reasons["data.scale"].startswith("uint16 with values from")
    assert "named by number" in reasons["data.bands"]


def test_volumes_are_divided_by_volume(tmp_path: Path) -> None:
    root = draw_volumes(tmp_path, 0, 900)
    config, reasons = choose_config(root / "images", root / "masks", [])
    manifest = build_manifest(config.data)
    assert [len(manifest.indices(split)) for split in ("train", "val", "test")] == [4, 4, 4]
    assert (config.data.mask.encoding, len(config.data.classes)) == ("index", 3)
    assert "by volume" in reasons["data.split"]


def test_two_volumes_are_too_few(tmp_path: Path) -> None:
    root = draw_volumes(tmp_path, 0, 900)
    for folder in ("images", "masks"):
        (root / folder / "case2.nii.gz").unlink()
    with pytest.raises(DataError, match="2 volumes: training, validation and test need at least one each"):
        choose_config(root / "images", root / "masks", [])


def test_colour_masks_become_classes(tmp_path: Path) -> None:
    images, masks = folders(tmp_path, 3, (64, 64))
    for path in masks.iterdir():
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:20, :, 0] = 255
        Image.fromarray(pixels).save(path)
    config, reasons = choose_config(images, masks, [])
    assert config.data.mask.colours == {"#000000": 0, "#ff0000": 1}
    assert config.data.classes == ("background", "colour_ff0000")
    assert "named by colour" in reasons["data.classes"]


def test_series_of_names_are_a_comment_and_no_choice(tmp_path: Path) -> None:
    images, masks = folders(tmp_path, 9, (64, 64))
    for folder in (images, masks):
        for index, path in enumerate(sorted(folder.iterdir())):
            path.rename(path.with_name(f"lung{'abc'[index // 3]}x_{index % 3}.png"))
    config, reasons = choose_config(images, masks, [])
    assert config.data.split.group is None
    assert r"look like 3 series: group: '^(.+)[_-]\d+$'" in reasons["data.split"]


@pytest.mark.parametrize("kind", ["bands", "volumes", "colours"])
def test_what_is_chosen_survives_being_written_and_read(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data"
    if kind == "bands":
        draw_bands(root, "float32", 3, 7.5)
    elif kind == "volumes":
        draw_volumes(root, -1024, 2000)
    else:
        for path in folders(root, 3, (64, 64))[1].iterdir():
            Image.fromarray(np.eye(64, dtype=np.uint8)[..., None] * np.array([255, 0, 9], np.uint8)).save(path)
    config, reasons = choose_config(root / "images", root / "masks", [])
    (tmp_path / "written.yaml").write_text(to_yaml(config, reasons))
    assert load_config(tmp_path / "written.yaml", []) == config


def test_folders_of_labels_that_overlap_need_only_their_task(tmp_path: Path) -> None:
    images, masks = folders(tmp_path, 6, (64, 64))
    for name in ("lung", "heart"):
        (masks / name).mkdir()
        for file in masks.glob("*.png"):
            Image.open(file).save(masks / name / file.name)
    for file in masks.glob("*.png"):
        file.unlink()
    names = "data.classes=[none, lung, heart]"
    config, reasons = choose_config(images, masks, ["data.task=multilabel", names])
    assert (config.data.task, config.data.mask.encoding) == ("multilabel", "files")
    assert config.data.classes == ("none", "lung", "heart")
    assert config.data.masks.endswith("masks/{class}")
    assert reasons["loss.terms"].startswith("binary cross-entropy of each label")
