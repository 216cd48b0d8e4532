import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError, DataError
from seg_scse.evaluation import several
from seg_scse.evaluation.loaded import Loaded
from seg_scse.evaluation.results import bootstrap_of, interval_by_class
from seg_scse.evaluation.several import over_runs, summarise
from seg_scse.evaluation.tables import Tables
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.intervals import two_level_intervals
from seg_scse.metrics.scores import score_table

CLASSES = ("background", "cell")
IDS = tuple("abcdefgh")


def evaluated(run: Path, seed: int, **changes: object) -> Path:
    """Write what an evaluation leaves behind: 100 pixels per image, of which each run finds its own number."""
    folder, random, counts = run / "evaluation" / "test", np.random.default_rng(seed), CountsTable(2)
    for name in IDS:
        truth, prediction = np.zeros((2, 10, 10), np.uint8)
        truth[:5], prediction[: random.integers(2, 9)] = 1, 1
        counts.add(name, count_pixels(prediction, truth, 2))
    Tables(counts, IDS).write(folder)
    results = {
        "format": 2, "split": "test", "classes": list(CLASSES), "task": "multiclass", "images": len(IDS),
        "created": "now", "data": {"digest": "d"}, "scores": score_table(counts, CLASSES, "exclude"),
        "protocol": {"empty": "exclude", "threshold": 0.1 * seed, "threshold_from": "val", "tta": "none"},
        "checkpoint": {"file": "best.ckpt", "epoch": seed, "step": 1, "sha256": f"{seed}"},
        "config": {"seed": seed, "evaluation": {"resamples": 1000}}, **changes,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_mean_deviation_and_interval_are_over_runs_and_images(tmp_path):
    runs = [tmp_path / f"seed{seed}" for seed in (1, 2, 3)]
    folders = [evaluated(run, seed) for seed, run in enumerate(runs, 1)]
    summary = summarise([run.name for run in runs], folders, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "runs.json").read_text()) == summary
    tables = [Tables.read(one) for one in folders]
    each = [table.results["scores"]["dice_per_image"]["cell"] for table in tables]
    assert summary["mean"]["dice_per_image"]["cell"] == pytest.approx(statistics.fmean(each))
    assert summary["sd"]["dice_per_image"]["cell"] == pytest.approx(statistics.stdev(each))
    assert [(run["run"], run["seed"]) for run in summary["runs"]] == [("seed1", 1), ("seed2", 2), ("seed3", 3)]
    assert [run["threshold"] for run in summary["runs"]] == pytest.approx([0.1, 0.2, 0.3])
    assert summary["protocol"] == {"empty": "exclude", "tta": "none"}
    assert (summary["bootstrap"]["runs"], summary["bootstrap"]["n"], summary["bootstrap"]["unit"]) == (3, 8, "image")

    columns = [table.columns("exclude")["dice"] for table in tables]
    settings = bootstrap_of(type("S", (), {"interval": "bca", "level": 0.95, "resamples": 1000}))
    wanted = interval_by_class(two_level_intervals(columns, None, settings), CLASSES)
    assert summary["intervals"]["dice_per_image"] == wanted
    low, high = wanted["cell"]
    assert low < summary["mean"]["dice_per_image"]["cell"] < high


def test_the_table_has_a_row_for_each_score_and_class(tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    summary = summarise(["a", "b"], [evaluated(run, seed) for seed, run in enumerate(runs, 1)], tmp_path / "out")
    with (tmp_path / "out" / "runs.csv").open() as stream:
        rows = {(row["score"], row["class"]): row for row in csv.DictReader(stream)}
    row = rows["dice_per_image", "foreground"]
    assert float(row["mean"]) == summary["mean"]["dice_per_image"]["foreground"]
    assert (float(row["a"]) + float(row["b"])) / 2 == pytest.approx(float(row["mean"]))
    assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert rows["dice_pooled", "cell"]["low"] == ""


def test_runs_that_were_scored_in_different_ways_have_no_mean(tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    changed = {"empty": "one", "threshold": 0.5, "threshold_from": "option", "tta": "none"}
    folders = [evaluated(runs[0], 1), evaluated(runs[1], 2, protocol=changed, data={"digest": "e"})]
    with pytest.raises(DataError, match=r"(?s)no common mean.*protocol of .*'one'.*'exclude'.*data of .*'e'.*'d'"):
        summarise(["a", "b"], folders, tmp_path / "out")


def test_a_score_that_a_run_lacks_is_left_out():
    tables = [{"dice": {"cell": 0.5}, "hd95": {"cell": 1.0}}, {"dice": {"cell": None}}]
    assert over_runs(tables, 1, statistics.fmean) == {"dice": {"cell": 0.5}}
    assert over_runs(tables, 2, statistics.stdev) == {"dice": {"cell": None}}


def member(name: str, splits: dict[str, str], digest: str) -> Loaded:
    state = {"splits": splits, "data_digest": digest}
    return Loaded(Path(f"runs/{name}/best.ckpt"), f"weights of {name}", state, Config(), Path(f"runs/{name}"))


def test_runs_on_another_division_of_the_images_are_refused_before_they_are_scored(monkeypatch):
    every = {
        "a": member("a", {"x": "train", "y": "test"}, "1" * 64),
        "b": member("b", {"x": "test", "y": "test"}, "1" * 64),
        "c": member("c", {"x": "train", "y": "test"}, "0" * 64),
    }
    monkeypatch.setattr(several, "load_run", lambda run, _: every[run.name])
    with pytest.raises(ConfigError, match=r"(?s)b: 1 images in other splits, such as x: test, train.*--data FILE"):
        several.require_comparable([Path("a"), Path("b")], "best", own_data=True)
    several.require_comparable([Path("a"), Path("b")], "best", own_data=False)
    with pytest.raises(ConfigError, match=r"c: other images or masks \(digest 000000000000, 111111111111\)"):
        several.require_comparable([Path("a"), Path("c")], "best", own_data=True)
    with pytest.raises(ConfigError, match="are one checkpoint"):
        several.require_comparable([Path("a"), Path("a")], "best", own_data=True)
