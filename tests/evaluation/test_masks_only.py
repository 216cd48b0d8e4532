import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import ConfigError, DataError
from seg_scse.evaluation.predictions import score_masks

BINARY = ["data.mask.encoding=binary", "data.classes=[background, cell]", "evaluation.resamples=1000"]


def mask(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Truth of 8 cell pixels each; the prediction finds all, half, and none of them."""
    for place, found in enumerate((4, 2, 0)):
        truth, prediction = np.zeros((2, 4, 6))
        truth[:2, :4] = prediction[:2, :found] = 255
        mask(tmp_path / "truth" / "day" / f"{place}.png", truth)
        mask(tmp_path / "guess" / "day" / f"{place}.png", prediction)
    return tmp_path / "truth", tmp_path / "guess"


def test_two_folders_are_scored_without_images(folders):
    folder, results = score_masks(*folders, BINARY)
    assert folder == folders[1].with_name("guess-evaluation") / "all"
    assert results["scores"]["dice_per_image"]["cell"] == pytest.approx((1 + 2 * 4 / 12 + 0) / 3)
    assert results["scores"]["dice_pooled"]["cell"] == pytest.approx(2 * 12 / (12 + 24))
    assert results["cases"]["cell"] == {"scored": 3, "empty": 0, "missed": 1, "false": 0}
    assert results["scores"]["hd95_per_image"]["cell"] == pytest.approx((0 + 2 + np.hypot(4, 6)) / 3)
    assert (results["split"], results["images"], results["name"]) == ("all", 3, "guess")
    assert (results["checkpoint"], results["cost"], results["data"]["name"]) == (None, None, "truth")
    assert json.loads((folder / "results.json").read_text()) == results


def test_cases_without_an_image_have_truth_and_prediction(folders):
    folder, _ = score_masks(*folders, [*BINARY, "evaluation.overlays=1"])
    index = json.loads((folder / "cases" / "index.json").read_text())
    assert [(entry["kind"], entry["id"], entry["image"]) for entry in index] == [
        ("worst", "day/2", None),
        ("median", "day/1", None),
        ("best", "day/0", None),
    ]
    drawn = np.asarray(Image.open(folder / "cases" / index[2]["prediction"]))
    np.testing.assert_array_equal(drawn, np.asarray(Image.open(folders[0] / "day" / "0.png")) > 0)


def test_the_independent_unit_may_be_a_part_of_the_name(tmp_path):
    for place in range(8):
        for folder, width in (("truth", 4), ("guess", 1 + place // 2)):
            pixels = np.zeros((4, 6))
            pixels[:2, :width] = 255
            mask(tmp_path / folder / f"p{place // 2}_{place}.png", pixels)
    folders = tmp_path / "truth", tmp_path / "guess"
    alone, grouped = (score_masks(*folders, [*BINARY, *more])[1] for more in ([], [r"data.split.group=^(p\d+)_"]))
    assert (alone["bootstrap"]["unit"], alone["bootstrap"]["n"]) == ("image", 8)
    assert (grouped["bootstrap"]["unit"], grouped["bootstrap"]["n"]) == ("group", 4)
    assert grouped["scores"] == alone["scores"]
    widths = [np.diff(found["intervals"]["dice_per_image"]["cell"]).item() for found in (alone, grouped)]
    assert widths[0] < 0.9 * widths[1]  # what is alike within a group says less
    groups = (tmp_path / "guess-evaluation" / "all" / "groups.csv").read_text().splitlines()
    assert groups[:3] == ['"id","group"', '"p0_0","p0"', '"p0_1","p0"']
    with pytest.raises(ConfigError, match="has no group"):
        score_masks(*folders, [*BINARY, "data.split.group=p"])


def test_every_name_must_be_on_both_sides(folders):
    (folders[1] / "day" / "1.png").rename(folders[1] / "day" / "x.png")
    with pytest.raises(DataError, match=r"(?s)day/1: no prediction.*day/x\.png: belongs to no sample"):
        score_masks(*folders, BINARY)


def test_truth_that_cannot_be_read_as_declared_is_listed_whole(folders):
    mask(folders[0] / "day" / "0.png", np.full((4, 6), 3))
    (folders[0] / "day" / "1.png").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"(?s)2 of 3 masks cannot be used.*0\.png: no pixel is above.*1\.png"):
        score_masks(*folders, BINARY)
    with pytest.raises(DataError, match=r"--masks-only: folder .* does not exist"):
        score_masks(folders[0].with_name("trtuh"), folders[1], BINARY)


def test_predictions_may_be_encoded_otherwise_and_ids_cut_from_names(folders):
    for place in range(3):
        path = folders[1] / "day" / f"{place}.png"
        mask(path, np.asarray(Image.open(path)) // 255)
        (folders[0] / "day" / f"{place}.png").rename(folders[0] / "day" / f"{place}_mask.png")
    _, results = score_masks(*folders, [*BINARY, "data.mask_suffix=_mask"], "index")
    assert results["scores"]["dice_pooled"]["cell"] == pytest.approx(2 * 12 / (12 + 24))


def test_ignored_pixels_of_the_truth_are_left_out(folders):
    truth = np.zeros((4, 6))
    truth[:2, :4], truth[:2, 2:4] = 1, 255
    for place in range(3):
        mask(folders[0] / "day" / f"{place}.png", truth)
        path = folders[1] / "day" / f"{place}.png"
        mask(path, np.asarray(Image.open(path)) // 255)
    classes = "data.classes=[background, cell]"
    _, results = score_masks(*folders, [classes, "data.mask.ignore=[255]", "evaluation.resamples=1000"])
    assert results["scores"]["dice_per_image"]["cell"] == pytest.approx((1 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["data.root=x"], "`data.root=x` cannot be changed here. With --masks-only nothing but masks is read"),
        (["trainer.crop=64"], "nothing but masks is read"),
        (["data.mask.encoding=objects"], "--masks-only reads one mask file for each image"),
    ],
)
def test_settings_without_meaning_are_refused(folders, overrides, part):
    with pytest.raises(ConfigError) as caught:
        score_masks(*folders, overrides)
    assert part in str(caught.value)
