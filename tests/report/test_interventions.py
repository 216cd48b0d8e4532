import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from PIL import Image
from pydantic import ValidationError

from seg_scse.errors import DataError
from seg_scse.report.interventions import INTERVENTIONS, interventions_table, plot

NONE = {"mean": 0.25, "low": None, "high": None, "n": 1, "reason": "an interval needs at least two groups, not 1"}


def cell(mean: float, half: float) -> dict[str, Any]:
    change = {"mean": mean, "low": mean - half, "high": mean + half, "n": 133, "reason": ""}
    return {"dice_per_image": 0.9 + mean, "dice_pooled": 0.91 + mean, "change": change}


def study(**protocol: Any) -> dict[str, Any]:
    cells = {name: cell(-0.01 * number, 0.005) for number, name in enumerate(INTERVENTIONS)}
    return {
        "format": 1,
        "name": "nuclei",
        "split": "test",
        "images": 133,
        "checkpoint": {"file": "checkpoints/best.ckpt", "epoch": 12, "step": 800, "sha256": "ab" * 32},
        "protocol": {
            "resolution": "original", "empty": "exclude", "threshold": 0.5, "tile": 256, "overlap": 0.25,
            "ignore_index": 255, "precision": "fp32", "seed": 0, "mean_images": 100, "resamples": 10000,
            "level": 0.95, "unit": "image", "margin": 0.002, **protocol,
        },
        "untouched": {"dice_per_image": 0.9, "dice_pooled": 0.91},
        "table": [
            {"site": "decoder.1", "kind": "scse", "interventions": cells, "verdict": "earns its place", "reason": ""},
            {"site": "decoder.2", "kind": "cbam", "interventions": {"identity": cells["other"]}, "verdict": None,
             "reason": ""},
        ],
        "data": {"digest": "cd" * 32, "same_as_training": True, "samples": {"train": 400, "val": 60, "test": 133}},
    }  # fmt: skip


def test_the_table_has_a_row_per_site_with_changes_in_points_intervals_and_verdict() -> None:
    *text, header, first, second = interventions_table(study()).splitlines()
    assert header.split() == ["stage", "gate", *INTERVENTIONS, "verdict"]
    assert first.split("  ")[0] == "decoder.1"
    assert "-1.00 [-1.50, -0.50]" in first
    assert first.endswith("earns its place")
    assert second.split() == ["decoder.2", "cbam", "-2.00", "[-2.50,", "-1.50]", "n/a", "n/a", "n/a", "n/a"]
    said = " ".join(text)
    for words in ("test split, all images", "Dice per image 0.9000", "pooled 0.9100", "resamples of images, n = 133]",
                  "100 training images", "+-0.2 points", "95% interval"):  # fmt: skip
        assert words in said
    assert "Caution" not in said


def test_a_subset_groups_and_other_data_are_said() -> None:
    results = study(unit="group")
    results["images"], results["data"]["same_as_training"] = 20, False
    said = " ".join(interventions_table(results).split())
    assert "a random 20 of 133 images" in said
    assert "resamples of groups" in said
    assert "Caution: these are not the data" in said


def test_rows_with_too_few_images_for_a_verdict_are_named_under_the_table() -> None:
    results = study()
    results["table"][0] |= {"verdict": "undecided", "reason": "fewer than 20 images"}
    results["table"].append({**results["table"][0], "site": "all"})
    results["table"][0]["interventions"]["mean"]["change"]["n"] = 12
    table = interventions_table(results)
    assert table.splitlines()[-1] == "Undecided, fewer than 20 images: decoder.1, all."
    assert "n = 12 to 133]" in " ".join(table.split())


def test_a_study_of_other_weights_than_those_shown_carries_a_caution() -> None:
    assert "Caution" not in interventions_table(study(), "ab" * 32)
    said = " ".join(interventions_table(study(), "cd" * 32).split())
    assert "Caution: these are other weights than those of the results shown here; run --intervene again." in said


def test_a_change_without_an_interval_is_shown_without_one() -> None:
    results = study()
    results["table"][0]["interventions"]["mean"]["change"] = NONE
    row = next(line for line in interventions_table(results).splitlines() if line.startswith("decoder.1"))
    assert "+25.00  " in row


def test_a_field_that_is_absent_is_refused() -> None:
    results = study()
    del results["protocol"]["margin"]
    with pytest.raises(ValidationError, match=r"protocol.margin"):
        interventions_table(results)


def drawn(folder: Path, results: dict[str, Any]) -> np.ndarray:
    (folder / "interventions.json").write_text(json.dumps(results))
    path = plot(folder)
    assert path == folder / "interventions.png"
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_plot_shows_each_intervention_and_changes_with_the_numbers(tmp_path: Path) -> None:
    results = study()
    pixels = drawn(tmp_path, results)
    for colour in INTERVENTIONS.values():
        rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (pixels == rgb).all(2).sum() > 100, colour
    moved = copy.deepcopy(results)
    moved["table"][0]["interventions"]["mean"]["change"]["mean"] = -0.006
    assert not np.array_equal(drawn(tmp_path, moved), pixels)
    results["table"] = results["table"] * 6
    assert drawn(tmp_path, results).shape[0] > pixels.shape[0], "it grows with the number of sites"
    assert not Gcf.figs, "no figure is left open"


def test_the_plot_does_without_an_interval(tmp_path: Path) -> None:
    results = study()
    results["table"][0]["interventions"]["mean"]["change"] = NONE
    assert drawn(tmp_path, results).size


def test_an_absent_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"interventions.json: file not found.\n`seg-scse explain RUN --intervene` writes"
    ):
        plot(tmp_path)
    (tmp_path / "interventions.json").write_text("{")
    with pytest.raises(DataError, match=r"interventions.json: is not JSON"):
        plot(tmp_path)
    (tmp_path / "interventions.json").write_text(json.dumps({**study(), "format": 2}))
    with pytest.raises(DataError, match=r"(?s)format: Input should be 1.*seg-scse explain RUN --intervene"):
        plot(tmp_path)
