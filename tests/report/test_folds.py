import json
from pathlib import Path

import pytest

from seg_scse.errors import DataError
from seg_scse.report import results_table, write_report
from seg_scse.report.folds import fold_table, folds_line

KEYS = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled")


def write_folds(folder: Path, *scores: float | None) -> Path:
    def table(value: float | None) -> dict:
        return {key: {"foreground": value} for key in KEYS}

    folds = [
        {"run": f"fold{k}", "images": 3, "epoch": 7 + k, "sha256": "x", "scores": table(score)}
        for k, score in enumerate(scores)
    ]
    (folder / "folds.json").write_text(json.dumps({"folds": folds, "mean": table(0.75), "sd": table(0.0625)}))
    return folder


def test_the_page_shows_each_fold_and_how_they_spread(make_run):
    folder = write_folds(make_run(folds=2), 0.7, None)
    page = write_report(folder).read_text()
    assert "6 images of the test splits of a cross-validation with 2 folds" in page
    assert "saw it neither in training nor in the choice of its checkpoint" in page
    assert '<tr><th scope="row">fold0</th><td>3</td><td>7</td><td>0.7000</td>' in page
    assert '<tr><th scope="row">fold1</th><td>3</td><td>8</td><td>n/a</td>' in page
    assert '<th scope="row">Standard deviation</th><td></td><td></td><td>0.0625</td>' in page
    assert "2 checkpoints, SHA-256" in page
    assert "epoch 12" not in page


def test_the_page_of_one_run_says_nothing_of_folds(make_run):
    page = write_report(make_run()).read_text()
    assert "Folds of the cross-validation" not in page
    assert "from epoch 12, step 800" in page


def test_the_terminal_says_mean_and_deviation(make_run):
    folder = write_folds(make_run(folds=2), 0.7, 0.8)
    text = folds_line(folder)
    assert text.replace("\n", " ").startswith(
        "Mean over 2 folds (standard deviation), foreground: Dice per image 0.7500 (0.0625), Dice pooled 0.7500"
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "of epoch" not in results_table(json.loads((folder / "results.json").read_text()))


def test_a_damaged_table_of_folds_is_named(make_run):
    folder = write_folds(make_run(folds=2), 0.7)
    with pytest.raises(DataError, match=r"folds\.json: does not hold what it should"):
        fold_table(folder)
