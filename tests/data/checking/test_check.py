import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking import check as module
from seg_scse.data.checking.check import CheckResult, check_data
from seg_scse.data.checking.finding import Finding
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import ConfigError, DataError

from .unlabelled import draw_bands, draw_pictures, draw_volumes, write_tiff

SPLITS = ("train", "val", "test")
FOLDERS = {"images": "{split}/images", "masks": "{split}/masks", "mask": {"encoding": "binary"}}


def check(root: Path, crop: int | None = None, **data: Any) -> CheckResult:
    config = DataConfig.model_validate({"root": str(root), "mask": {"encoding": "binary"}, **data})
    return check_data(config, crop=crop)


def kinds(result: CheckResult, level: str) -> list[str]:
    return [finding.kind for finding in result.findings if finding.level == level]


def find(result: CheckResult, kind: str) -> Finding:
    (finding,) = (finding for finding in result.findings if finding.kind == kind)
    return finding


def test_sound_data_give_notes_only(tmp_path: Path) -> None:
    result = check(draw_pictures(tmp_path, 30))
    assert {finding.level for finding in result.findings} == {"note"}
    assert result.exit_code == 0
    assert result.divided
    assert result.summary == "30 of 30 samples can be used (21 train, 5 val, 4 test): 2 notes"
    assert len(result.views) == 30
    assert result.problem_views == ()


def test_everything_wrong_is_listed_at_once_and_the_rest_is_judged(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30)
    (root / "images" / "p00.png").write_bytes(b"")
    Image.new("L", (41, 32), 255).save(root / "masks" / "p01.png")
    (root / "images" / "orphan.png").write_bytes((root / "images" / "p02.png").read_bytes())
    (root / "images" / "p03.jpg").write_bytes((root / "images" / "p03.png").read_bytes())
    (root / "images" / "p04.png").write_bytes((root / "images" / "p05.png").read_bytes())
    (root / "images" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    result = check(root, exclude={"p99": "blurred"})
    text = "\n".join(finding.text for finding in result.findings if finding.level == "error")
    assert result.exit_code == 3
    for name in ("p00.png", "p01.png", "orphan", "p03", "gone", "p99"):
        assert name in text
    assert {"listing", "unreadable", "size-mismatch"} <= set(kinds(result, "error"))
    assert {"p04", "p05"} == set(next(f for f in result.findings if f.kind in ("duplicate", "leak-content")).ids)
    assert "class-balance" in kinds(result, "note")
    assert len(result.problem_views) == 1, "p01 can be shown, p00 cannot"


def test_findings_come_errors_first(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30)
    (root / "images" / "p00.png").write_bytes(b"")
    Image.new("RGB", (40, 32)).save(root / "images" / "p01.png")
    levels = [finding.level for finding in check(root).findings]
    assert levels == sorted(levels, key=("error", "warning", "note").index)
    assert set(levels) == {"error", "warning", "note"}


def test_one_image_in_two_split_folders_is_a_leak_and_no_error(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30, splits=SPLITS)
    for kind in ("images", "masks"):
        (root / "test" / kind / "copy.png").write_bytes((root / "train" / kind / "p00.png").read_bytes())
    result = check(root, **FOLDERS)
    leak = find(result, "leak-content")
    assert set(leak.ids) == {"p00", "copy"}
    assert leak.text.startswith("leak: ")
    assert (leak.level, result.exit_code) == ("warning", 0)


def test_one_name_in_two_split_folders_is_a_possible_leak(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30, splits=SPLITS)
    for kind in ("images", "masks"):
        (root / "train" / kind / "p00.png").rename(root / "train" / kind / "p02.png")
    assert find(check(root, **FOLDERS), "leak-name").ids == ("test/p02", "train/p02")


def test_a_split_that_would_be_empty_is_an_error_and_the_rest_is_still_measured(tmp_path: Path) -> None:
    result = check(draw_pictures(tmp_path, 2))
    assert "empty" in find(result, "split").text
    assert find(result, "split").level == "error"
    assert not result.divided
    assert list(result.tally.splits) == ["undivided"]


def test_a_missing_folder_is_an_error_with_a_cure(tmp_path: Path) -> None:
    result = check(tmp_path, images="pictures")
    assert result.exit_code == 3
    assert any("pictures" in finding.text for finding in result.findings)
    assert result.summary.startswith("0 of 0 samples can be used")


def test_a_wrong_expression_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a regular expression"):
        check(draw_pictures(tmp_path, 4), split={"group": "("})


def test_a_scale_for_another_number_of_bands_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="low has 2 numbers and high 2, but there are 3 bands: red, green, blue"):
        check(draw_pictures(tmp_path, 4), scale={"method": "range", "low": [0, 0], "high": [255, 255]})


def test_stratified_splits_are_divided_by_what_the_masks_hold(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 40)
    for index in range(32):
        Image.new("L", (40, 32)).save(root / "masks" / f"p{index:02}.png")
    result = check(root, split={"stratify": True})
    assert result.tally.classes[1].images == {"train": 6, "val": 1, "test": 1}


def test_images_below_the_crop_are_noted(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 8)
    assert len(find(check(root, crop=64), "small-image").ids) == 8


def test_bands_at_the_highest_value_are_noted(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 8)
    for path in (root / "images").iterdir():
        pixels = np.asarray(Image.open(path)).copy()
        pixels[:8, :, 1] = 255
        Image.fromarray(pixels).save(path)
    text = find(check(root), "saturated-band").text
    assert text.startswith("band green: 25.0% of the pixels of 8 samples are at 255")


def test_volumes_and_bands_are_checked_as_declared(tmp_path: Path) -> None:
    scans = draw_volumes(tmp_path / "v", -1024, 900)
    classes = {"classes": ["background", "a", "b"], "mask": {"encoding": "index"}}
    scale = {"method": "range", "low": -1000, "high": 1000}
    split = {"train": 0.4, "val": 0.3, "test": 0.3}
    result = check(scans, channels="gray", scale=scale, split=split, **classes)
    assert kinds(result, "error") == []
    assert len(result.samples) == 12
    tiles = draw_bands(tmp_path / "b", "uint16", 5, 4000)
    result = check(tiles, bands=["a", "b", "c", "d", "e"])
    assert "narrow-range" in kinds(result, "warning")
    assert [band.name for band in result.tally.bands] == ["a", "b", "c", "d", "e"]
    assert "scale: {method: percentile}" in result.suggestion


def test_data_that_did_not_change_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seg_scse.data import measuring

    root, made = draw_pictures(tmp_path, 6), []
    make = measuring.make_entry
    monkeypatch.setattr(measuring, "make_entry", lambda sample, *rest: made.append(sample.id) or make(sample, *rest))
    check(root)
    assert len(made) == 6
    os.utime(root / "images" / "p03.png", (1, 1))
    check(root)
    assert made[6:] == ["p03"]


def test_the_result_is_json_with_all_ids(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 40)
    for index in range(30):
        (root / "images" / f"p{index:02}.png").write_bytes(b"")
    content = json.loads(json.dumps(check(root).as_dict()))
    (broken,) = (found for found in content["findings"] if found["level"] == "error")
    assert len(broken["ids"]) == 30
    assert content["levels"]["error"] == 1
    assert content["sizes"] == [{"height": 32, "width": 40, "images": 10}]
    assert content["classes"][1]["name"] == "foreground"


def test_the_number_of_problem_pictures_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PROBLEM_VIEWS", 3)
    result = check(draw_pictures(tmp_path, 9, values=(0, 7)), mask={"encoding": "index"})
    assert len(result.problem_views) == 3


def test_a_declaration_that_was_suggested_is_accepted(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30, values=(3, 9))
    (root / "images" / "p00.png").write_bytes(b"")
    first = check_data(DataConfig(root=str(root)))
    assert set(kinds(first, "error")) == {"mask-values", "unreadable"}
    second = check_data(DataConfig.model_validate(yaml.safe_load(first.suggestion)["data"]))
    assert kinds(second, "error") == []
    assert second.summary.startswith("29 of 29 samples can be used")


def test_a_wrong_declaration_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 30, values=(0, 128), splits=SPLITS)
    for kind in ("images", "masks"):
        (root / "test" / kind / "copy.png").write_bytes((root / "train" / kind / "p00.png").read_bytes())
    result = check(root, **FOLDERS | {"mask": {"encoding": "index"}})
    assert (result.exit_code, result.usable) == (3, 0)
    assert kinds(result, "error") == ["mask-values"]
    assert set(find(result, "leak-content").ids) == {"p00", "copy"}
    assert "holds for the suggested configuration" in find(result, "assumed").text
    assert result.config.mask.values == {0: 0, 128: 1}
    assert len(result.views) == 31


def test_nothing_is_assumed_where_no_suggestion_helps(tmp_path: Path) -> None:
    result = check(draw_pictures(tmp_path, 6, values=(7, 7)), mask={"encoding": "index"})
    assert "assumed" not in kinds(result, "note")
    assert result.views == ()


def image(dtype: str, low: float, high: float, holes: bool = False) -> NDArray[Any]:
    pixels = np.random.default_rng(0).uniform(low, high, (3, 32, 40)).astype(dtype)
    pixels[0, 0, :2] = low, high
    if holes:
        pixels[:, 3] = np.nan
    return pixels


@pytest.mark.parametrize(
    ("images", "fits"),
    [
        ([image("int16", -1000, 900)], False),
        ([image("int16", 0, 900)], False),
        ([image("float32", 0, 3)], False),
        ([image("float32", -1, 1)], False),
        ([image("float32", 0, 1)], True),
        ([image("float32", 0, 1, True)], True),
        ([image("float32", 0, 3, True)], False),
        ([image("uint16", 0, 900)], True),
        ([image("uint8", 0, 200)], True),
        ([image("uint8", 0, 200), image("uint16", 0, 60000)], True),
        ([image("uint8", 0, 200), image("int16", 0, 900)], False),
    ],
)
def test_the_check_accepts_what_training_accepts_and_nothing_else(
    tmp_path: Path, images: list[NDArray[Any]], fits: bool
) -> None:
    root = draw_bands(tmp_path, "uint8", 3, 1)
    for index in range(4):
        write_tiff(
            root / "images" / f"t{index}.tif", images[index % len(images)] + index * (images[0].dtype == "uint8")
        )
    data = {"root": str(root), "mask": {"encoding": "binary"}, "bands": ["a", "b", "c"]}
    config = DataConfig.model_validate(data | {"split": {"train": 0.5, "val": 0.25, "test": 0.25}})
    result = check_data(config)
    assert (result.exit_code == 0) == fits == _is_accepted(config)
    assert kinds(result, "error") == ([] if fits else ["scale"])
    suggested = DataConfig.model_validate(yaml.safe_load(result.suggestion)["data"])
    assert _is_accepted(suggested)
    assert check_data(suggested).exit_code == 0


def _is_accepted(config: DataConfig) -> bool:
    try:
        prepare_data(config)
    except DataError:
        return False
    return True
