import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.data.listing.splits import write_splits
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError
from seg_scse.evaluation.folds import merge_folds, scored_weights
from seg_scse.evaluation.histograms import read_histograms, write_histograms
from seg_scse.evaluation.tables import Tables, write_groups
from seg_scse.metrics.counts import Counts, CountsTable
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.probabilities import count_probabilities
from seg_scse.metrics.scores import per_image_scores, score_table

CLASSES = ("background", "cell")


def confusion(right: int) -> np.ndarray:
    """Counts of 100 pixels, 50 of each class, of which `right` cell pixels are found."""
    return np.array([[50, 0], [50 - right, right]])


def measured(ids: list[str]) -> MeasureTable:
    """Distances that grow by 1 from image to image."""
    table = MeasureTable(("hd95", "assd", "nsd", "boundary_iou"), 2)
    for place, name in enumerate(ids):
        table.add(name, np.array([[np.nan] * 4, [1.0 + place, 0.5, 0.5, 0.5]]))
    return table


def write_fold(run: Path, number: int, right: dict[str, int], every: list[str], **changes: object) -> Path:
    """Write what the evaluation of a fold leaves behind, each image with its number of found pixels."""
    fold = run / f"fold{number}"
    folder = fold / "evaluation" / "test"
    table = CountsTable(2)
    for name, pixels in right.items():
        table.add(name, Counts(confusion(pixels), 10, 10))
    table.to_csv(folder / "counts.csv")
    measured(list(right)).to_csv(folder / "surfaces.csv")
    write_groups(folder / "groups.csv", list(right), [f"patient of {name}" for name in right])
    random = np.random.default_rng(number)
    histograms = {name: count_probabilities(*drawn_probabilities(random), 2) for name in right}
    write_histograms(folder / "probabilities.npz", histograms)
    results = {
        "format": 2,
        "classes": list(CLASSES),
        "task": "multiclass",
        "images": len(right),
        "protocol": {"empty": "exclude", "tile": 256},
        "cost": None,
        "versions": {},
        "device": "a drawn one",
        "config": {"evaluation": {"resamples": 1000}},
        "scores": score_table(table, CLASSES, "exclude"),
        "data": {"digest": "d", "same_as_training": True, "samples": {"train": 3, "test": len(right)}},
        "checkpoint": {"file": "checkpoints/best.ckpt", "epoch": 3 + number, "step": 30, "sha256": f"{number}"},
        **changes,
    }
    (folder / "results.json").write_text(json.dumps(results))
    write_splits(fold / "splits.csv", [Sample(name, Path(), (), "test", name) for name in every])
    _write_cases(folder / "cases", per_image_scores(table, CLASSES, "exclude"), number)
    return fold


def drawn_probabilities(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and truth of an image of 10 x 10 pixels."""
    probabilities = random.random((1, 10, 10), np.float32)
    labels = (probabilities[0] > 0.5).astype(np.uint8)
    return probabilities, labels, random.integers(0, 2, (10, 10)).astype(np.uint8)


def _write_cases(folder: Path, rows: list[dict], number: int) -> None:
    folder.mkdir()
    entries = []
    ranked = sorted(rows, key=lambda row: row["dice_foreground"])
    for place, (kind, row) in enumerate(zip(("worst", "median", "best"), ranked, strict=True)):
        files = {layer: f"{place}.{layer}.png" for layer in ("image", "truth", "prediction")}
        for name in files.values():
            Image.new("L", (4, 4), 10 * number + place).save(folder / name)
        entries.append({"id": row["id"], "kind": kind, "score": row["dice_foreground"], "scale": 1.0, **files})
    (folder / "index.json").write_text(json.dumps(entries))


FOUND = ({"a": 10, "b": 50, "c": 25}, {"d": 5, "e": 40, "f": 30})


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(load_config(None, ["name=crossed", "data.split.folds=2"])))
    return tmp_path


def folds(run: Path, *, first: dict | None = None, second: dict | None = None, **changes: object) -> list[Path]:
    every = sorted([*FOUND[0], *FOUND[1]])
    return [
        write_fold(run, 0, first or FOUND[0], every),
        write_fold(run, 1, second or FOUND[1], every, **changes),
    ]


def test_all_images_are_in_one_table(run):
    folder, results = merge_folds(run, folds(run))
    assert folder == run / "evaluation" / "test"
    assert CountsTable.from_csv(folder / "counts.csv").ids == ("a", "b", "c", "d", "e", "f")
    assert results["confusion"] == [[300, 0], [300 - 160, 160]]
    assert results["scores"]["dice_pooled"]["cell"] == pytest.approx(320 / 460)
    assert (results["name"], results["images"], results["folds"]) == ("crossed", 6, 2)
    assert results["data"]["samples"] == {"test": 6}
    assert results["checkpoint"]["file"] == "checkpoints/best.ckpt of each of 2 folds"
    assert json.loads((folder / "results.json").read_text()) == results
    assert len((folder / "per_image.csv").read_text().splitlines()) == 7


def test_distances_groups_and_probabilities_of_all_images_are_joined_too(run):
    folder, results = merge_folds(run, folds(run))
    tables = Tables.read(folder)
    assert tables.surfaces.column("hd95")[:, 1].tolist() == [1, 2, 3, 1, 2, 3]
    assert results["scores"]["hd95_per_image"]["cell"] == 2
    assert tables.groups == tuple(f"patient of {name}" for name in "abcdef")
    assert (results["bootstrap"]["unit"], results["bootstrap"]["n"]) == ("group", 6)
    low, high = results["intervals"]["dice_per_image"]["cell"]
    assert low < results["scores"]["dice_per_image"]["cell"] < high
    joined = json.loads((folder / "probabilities.json").read_text())["curves"][0]
    assert sum(joined["negative"]) + sum(joined["positive"]) == 600
    assert list(read_histograms(folder / "probabilities.npz")) == list("abcdef")


def test_where_a_fold_was_not_measured_in_the_same_way_nothing_is_joined(run):
    both = folds(run)
    (both[1] / "evaluation" / "test" / "surfaces.csv").unlink()
    with pytest.raises(DataError, match=r"surfaces\.csv is in 1 of 2 evaluations\. Score them all in one way"):
        merge_folds(run, both)


def test_the_spread_is_that_of_the_sample_of_folds(run):
    folder, _ = merge_folds(run, folds(run))
    found = json.loads((folder / "folds.json").read_text())
    pooled = [2 * 85 / (85 + 150), 2 * 75 / (75 + 150)]
    assert found["mean"]["dice_pooled"]["cell"] == pytest.approx(np.mean(pooled))
    assert found["sd"]["dice_pooled"]["cell"] == pytest.approx(np.std(pooled, ddof=1))
    assert [(fold["run"], fold["images"], fold["epoch"]) for fold in found["folds"]] == [
        ("fold0", 3, 3),
        ("fold1", 3, 4),
    ]


def test_a_score_that_a_fold_lacks_is_left_out_of_the_mean(run):
    first, second = folds(run)
    path = second / "evaluation" / "test" / "results.json"
    results = json.loads(path.read_text())
    results["scores"]["dice_pooled"]["cell"] = None
    path.write_text(json.dumps(results))
    found = json.loads((merge_folds(run, [first, second])[0] / "folds.json").read_text())
    assert found["mean"]["dice_pooled"]["cell"] == pytest.approx(2 * 85 / (85 + 150))
    assert found["sd"]["dice_pooled"]["cell"] is None


def test_the_worst_median_and_best_of_all_are_shown_with_their_pictures(run):
    folder, _ = merge_folds(run, folds(run))
    index = json.loads((folder / "cases" / "index.json").read_text())
    assert [(entry["kind"], entry["id"]) for entry in index] == [("worst", "d"), ("median", "c"), ("best", "b")]
    assert [Image.open(folder / "cases" / entry["truth"]).getpixel((0, 0)) for entry in index] == [10, 1, 2]


def test_an_image_that_is_tested_twice_or_never_is_refused(run):
    with pytest.raises(DataError, match=r"(?s)'a' is in two tables.*'d' is in no table"):
        merge_folds(run, folds(run, second={"a": 5, "e": 40, "f": 30}))


def test_folds_that_were_scored_in_different_ways_are_refused(run):
    with pytest.raises(DataError, match=r"(?s)not scored in one way.*protocol of .*fold1: .*'one'.*evaluate\.py"):
        merge_folds(run, folds(run, protocol={"empty": "one", "tile": 256}))
    other = {"digest": "e", "same_as_training": False, "samples": {"test": 3}}
    with pytest.raises(DataError, match=r"data of .*fold1: \{'digest': 'e'"):
        merge_folds(run, [run / "fold0", write_fold(run / "x", 1, FOUND[1], list("abcdef"), data=other)])


def test_results_that_are_missing_or_damaged_are_named(run):
    both = folds(run)
    assert scored_weights(both[1]) == "1"
    path = both[1] / "evaluation" / "test" / "results.json"
    path.write_text("[]")
    with pytest.raises(
        DataError, match=r"results\.json: is no result of an evaluation\. Evaluate again: python evaluate\.py .*fold1"
    ):
        merge_folds(run, both)
    assert scored_weights(both[1]) is None, "it is scored again"
    path.write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"has format 1, this version reads 2\. Evaluate again: python evaluate\.py"):
        merge_folds(run, both)
    path.unlink()
    assert scored_weights(both[1]) is None
    with pytest.raises(DataError, match=r"results\.json: cannot be read"):
        merge_folds(run, both)
