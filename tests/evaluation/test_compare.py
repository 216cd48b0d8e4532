import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_scse.config.schema import EvaluationConfig
from seg_scse.errors import ConfigError, DataError
from seg_scse.evaluation.changed import choose_changed
from seg_scse.evaluation.compare import Options, compare

from .compared_runs import strip, strips, write_run

NO_PICTURES = Options(cases=0)
SHORT, LONG = [4, 5, 6, 7, 8, 6, 5, 8], [6, 7, 8, 9, 9, 7, 5, 7]


def dice(found: int, truth: int = 10) -> float:
    return 2 * min(found, truth) / (found + truth)


def compared(*runs: Path, **options: Any) -> dict[str, Any]:
    return compare(runs, Options(**{"cases": 0, **options}))[1]


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_run(tmp_path / "plain", strips(SHORT))


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_run(tmp_path / "gated", strips(LONG))


def test_the_difference_is_the_mean_of_those_of_the_images(a, b):
    (row,) = compared(a, b)["pairs"][0]["rows"]
    changes = [dice(after) - dice(before) for before, after in zip(SHORT, LONG, strict=True)]
    assert row["name"] == "foreground"
    assert row["difference"] == pytest.approx(np.mean(changes), abs=1e-12)
    assert (row["a"], row["b"]) == (
        pytest.approx(np.mean([dice(found) for found in SHORT])),
        pytest.approx(np.mean([dice(found) for found in LONG])),
    )
    assert (row["wins"], row["ties"], row["losses"], row["images"], row["units"]) == (6, 1, 1, 8, 8)
    assert row["low"] < row["difference"] < row["high"]
    # Of 7 differences one is a loss, the second smallest: counted out, the p-value is 2 P(sum of ranks <= 2).
    sizes = np.abs([change for change in changes if change])
    rank = 1 + sum(sizes < abs(changes[-1]))
    assert rank == 2
    sums = [sum(k + 1 for k in range(7) if bits >> k & 1) for bits in range(128)]
    assert row["p"] == pytest.approx(2 * sum(total <= rank for total in sums) / 128)
    assert row["effect"] == pytest.approx((28 - 2 * rank) / 28)


def test_the_pooled_difference_is_that_of_the_summed_counts(a, b):
    pooled = compared(a, b)["pairs"][0]["rows"][0]["pooled"]
    before, after = (2 * sum(found) / (sum(found) + 80) for found in (SHORT, LONG))
    assert (pooled["a"], pooled["b"]) == (pytest.approx(before), pytest.approx(after))
    assert pooled["difference"] == pytest.approx(after - before)
    assert pooled["low"] < pooled["difference"] < pooled["high"]


def test_turning_the_arguments_turns_the_signs(a, b):
    forth, back = (compared(*runs)["pairs"][0]["rows"][0] for runs in ((a, b), (b, a)))
    assert back["difference"] == pytest.approx(-forth["difference"])
    assert back["effect"] == pytest.approx(-forth["effect"])
    assert (back["wins"], back["losses"], back["p"]) == (forth["losses"], forth["wins"], forth["p"])
    assert back["pooled"]["difference"] == pytest.approx(-forth["pooled"]["difference"])


def test_equal_runs_do_not_differ(a, tmp_path):
    content = compared(a, write_run(tmp_path / "copy", strips(SHORT)))
    (row,) = content["pairs"][0]["rows"]
    assert (row["difference"], row["low"], row["high"], row["wins"], row["losses"]) == (0, 0, 0, 0, 0)
    assert row["ties"] == 8
    assert row["p"] is None
    assert row["reason"] == "not tested: no unit differs"
    assert row["detectable"] is None


def test_of_a_distance_less_is_better(tmp_path):
    near, far = ({f"i{k}": (strip(10 + more), strip(10)) for k in range(8)} for more in (1, 4))
    runs = write_run(tmp_path / "near", near), write_run(tmp_path / "far", far)
    content = compared(*runs, metric="hd95")
    (row,) = content["pairs"][0]["rows"]
    assert (content["better"], content["unit"]) == ("lower", "px")
    assert row["difference"] > 0
    assert (row["wins"], row["losses"]) == (0, 8)
    assert row["effect"] == -1
    assert row["pooled"] is None


def test_every_test_of_the_call_is_corrected_for(tmp_path):
    def drawn(shift: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        masks = {}
        for k in range(12):
            truth, prediction = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
            for label in (1, 2):
                truth[label, :10] = prediction[label, : 4 + (k + label * shift) % 6] = label
            masks[f"i{k}"] = (prediction, truth)
        return masks

    runs = [write_run(tmp_path / f"r{shift}", drawn(shift), ("none", "one", "two")) for shift in range(3)]
    content = compared(*runs)
    assert content["comparisons"] == 6  # two pairs, each the foreground and two classes
    assert [row["name"] for row in content["pairs"][0]["rows"]] == ["foreground", "one", "two"]
    assert [(pair["a"], pair["b"]) for pair in content["pairs"]] == [(0, 1), (0, 2)]
    rows = [row for pair in content["pairs"] for row in pair["rows"]]
    smallest = min(rows, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 6 * smallest["p"]))


def test_what_cannot_reach_significance_is_not_tested(tmp_path):
    runs = [write_run(tmp_path / name, strips(found)) for name, found in (("a", [4] * 5), ("b", [5, 6, 7, 8, 9]))]
    (row,) = compared(*runs)["pairs"][0]["rows"]
    assert (row["p"], row["p_holm"], row["detectable"]) == (None, None, None)
    assert "not tested" in row["reason"]
    assert "0.062" in row["reason"]
    assert row["difference"] > 0


def test_images_that_only_some_runs_score_are_left_out_and_counted(tmp_path):
    truth = strips(SHORT)
    clean = {**truth, "bare": (strip(0), strip(0))}
    noisy = {**truth, "bare": (strip(3), strip(0))}
    runs = [write_run(tmp_path / name, masks) for name, masks in (("clean", clean), ("noisy", noisy))]
    (row,) = compared(*runs)["pairs"][0]["rows"]
    assert (row["images"], row["left_out"]) == (8, 1)
    counted = EvaluationConfig(empty="one", resamples=1000)
    runs = [
        write_run(tmp_path / name, masks, settings=counted) for name, masks in (("clean1", clean), ("noisy1", noisy))
    ]
    (row,) = compared(*runs)["pairs"][0]["rows"]
    assert (row["images"], row["left_out"], row["losses"]) == (9, 0, 1)


def test_groups_are_the_units(tmp_path):
    groups = {f"image {k}": f"patient {k // 2}" for k in range(8)}
    runs = [write_run(tmp_path / name, strips(found), groups=groups) for name, found in (("a", SHORT), ("b", LONG))]
    content = compared(*runs)
    (row,) = content["pairs"][0]["rows"]
    assert (content["bootstrap"]["unit"], content["bootstrap"]["n"], row["units"], row["images"]) == ("group", 4, 4, 8)
    assert row["p"] is None  # of 4 groups no test can pass


def test_the_order_of_the_images_does_not_matter(a, tmp_path):
    backwards = dict(reversed(strips(LONG).items()))
    there = compared(a, write_run(tmp_path / "there", strips(LONG)))["pairs"][0]["rows"][0]
    back = compared(a, write_run(tmp_path / "back", backwards))["pairs"][0]["rows"][0]
    assert back == there


def test_the_scores_of_every_image_are_written(a, b):
    folder, _ = compare([a, b], NO_PICTURES)
    rows = list(csv.DictReader((folder / "differences.csv").read_text().splitlines()))
    assert len(rows) == 8
    assert float(rows[0]["score_0"]) == pytest.approx(dice(4))
    assert float(rows[0]["difference_1"]) == pytest.approx(dice(6) - dice(4))
    assert json.loads((folder / "compare.json").read_text())["runs"][1]["label"] == "gated"
    assert folder == a.parent / "compare-plain-gated" / "test"


def test_a_folder_may_be_chosen(a, b, tmp_path):
    assert compare([a, b], Options(cases=0, out=tmp_path / "there"))[0] == tmp_path / "there"


def test_an_evaluation_folder_stands_for_its_run(a, b):
    folder, content = compare([a / "evaluation" / "test", b], NO_PICTURES)
    assert [run["label"] for run in content["runs"]] == ["plain", "gated"]
    assert folder.parent.name == "compare-plain-gated"


def test_a_run_without_an_evaluation_says_how_to_get_one(a, tmp_path):
    (tmp_path / "new run").mkdir()
    with pytest.raises(ConfigError, match=r"python evaluate.py '.*new run' --split test"):
        compared(a, tmp_path / "new run")
    with pytest.raises(ConfigError, match="nothing: not found"):
        compared(a, tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"has not been evaluated on the val split.*--split val"):
        compared(a, a, split="val")


def test_one_run_or_the_same_twice_is_refused(a):
    with pytest.raises(ConfigError, match="at least two runs"):
        compared(a)
    with pytest.raises(ConfigError, match="is named twice"):
        compared(a, a / "evaluation" / "test")


def other(tmp_path: Path, **changes: Any) -> Path:
    return write_run(tmp_path / "other", changes.pop("masks", strips(LONG)), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("background", "nucleus")}, r"classes of plain and other: \['background', 'cell'\] and \['back"),
        ({"settings": EvaluationConfig(empty="one", resamples=1000)}, "empty of plain and other: 'exclude' and 'one'"),
        ({"protocol": {"resolution": "tile"}}, "resolution of plain and other: 'original' and 'tile'"),
        ({"protocol": {"ignore_index": 0}}, "ignore_index of plain and other: 255 and 0"),
        ({"masks": strips(LONG[:7])}, "number of images of plain and other: 8 and 7"),
        (
            {"masks": {f"scan {k}": (strip(5), strip(10)) for k in range(8)}},
            r"only plain has 'image 0', 'image 1', 'image 2' and 5 more; only other has 'scan 0'",
        ),
        (
            {"masks": {**strips(LONG), "image 3": (strip(9), strip(11))}},
            r"image 'image 3' has 390 and 389 pixels of 'background' \(1 of 8 images differ\)",
        ),
    ],
)
def test_what_is_not_comparable_is_refused_with_both_values(a, tmp_path, changes, said):
    with pytest.raises(DataError, match=said):
        compared(a, other(tmp_path, **changes))


def test_another_split_or_task_is_refused(a, tmp_path):
    validated = write_run(tmp_path / "v", strips(LONG), split="val") / "evaluation" / "val"
    with pytest.raises(DataError, match="split of plain and v: 'test' and 'val'"):
        compared(a, validated)
    run = other(tmp_path)
    path = run / "evaluation" / "test" / "results.json"
    path.write_text(path.read_text().replace('"task": "multiclass"', '"task": "multilabel"'))
    with pytest.raises(DataError, match="task of plain and other: 'multiclass' and 'multilabel'"):
        compared(a, run)


def test_another_tolerance_matters_for_boundaries_only(a, tmp_path):
    run = other(tmp_path, protocol={"surface": {"tolerance": 5.0, "unit": "px", "spacing": [1.0, 1.0]}})
    assert compared(a, run)["pairs"]
    with pytest.raises(DataError, match=r"surface of plain and other: .*2\.0.* and .*5\.0"):
        compared(a, run, metric="nsd")


def test_a_metric_that_was_not_measured_is_refused(a, b):
    with pytest.raises(ConfigError, match=r"--metric cldice: .* does not hold it\. It holds dice, iou"):
        compared(a, b, metric="cldice")
    with pytest.raises(ConfigError, match="neither high nor low is better"):
        compared(a, b, metric="volume_bias")


def test_what_may_differ_is_remarked(a, tmp_path):
    content = compared(a, other(tmp_path, protocol={"tta": "flips", "threshold": 0.4}))
    assert "`threshold` differs: 0.5 in plain, 0.4 in other." in content["remarks"]
    assert "`tta` differs: none in plain, flips in other." in content["remarks"]


def test_other_blending_of_tiles_is_remarked_and_its_absence_means_the_default(a, tmp_path):
    how = {"scales": [1.0], "blend": "linear", "tile_margin": 0}
    assert compared(a, other(tmp_path, protocol=how))["remarks"] == [], "evaluated before and after there were others"
    how = {"scales": [0.5, 1.0], "blend": "gaussian", "tile_margin": 16}
    found = compared(a, other(tmp_path / "again", protocol=how))["remarks"]
    assert "`scales` differs: [1.0] in plain, [0.5, 1.0] in other." in found
    assert "`blend` differs: linear in plain, gaussian in other." in found
    assert "`tile_margin` differs: 0 in plain, 16 in other." in found


def test_one_checkpoint_twice_is_remarked(a, tmp_path):
    twin = other(tmp_path, checkpoint=json.loads((a / "evaluation/test/results.json").read_text())["checkpoint"])
    assert "Some of these evaluations are of the same checkpoint." in compared(a, twin)["remarks"]


def test_nothing_is_remarked_of_like_runs(a, b):
    assert compared(a, b)["remarks"] == []


def test_settings_that_differ_are_listed(tmp_path):
    def config(kind: str, out: int) -> dict[str, Any]:
        return {"name": kind, "model": {"attention": {"type": kind}, "width": 8}, "evaluation": {"overlays": out}}

    runs = [
        write_run(tmp_path / kind, strips(found), config=config(kind, number))
        for number, (kind, found) in enumerate({"none": SHORT, "scse": LONG}.items())
    ]
    assert compared(*runs)["settings"] == [{"name": "model.attention.type", "values": ["none", "scse"]}]


def test_runs_of_one_name_are_told_apart_by_their_folders(a, tmp_path):
    content = compared(a, other(tmp_path, name="plain"))
    assert [run["label"] for run in content["runs"]] == ["plain", "other"]


def test_the_largest_changes_are_chosen_of_each_kind():
    changes = np.array([0.1, -0.3, np.nan, 0.0, 0.2, -0.1, 0.05])
    chosen = choose_changed(changes, 2, lower_is_better=False)
    assert [(one.place, one.kind) for one in chosen] == [(4, "better"), (0, "better"), (1, "worse"), (5, "worse")]
    chosen = choose_changed(changes, 1, lower_is_better=True)
    assert [(one.place, one.kind) for one in chosen] == [(1, "better"), (4, "worse")]


def test_pictures_that_cannot_be_drawn_leave_the_reason(a, b):
    (pair,) = compared(a, b, cases=2)["pairs"]
    assert pair["cases"] == []
    assert pair["no_cases"].startswith("No pictures: the predictions of plain could not be made again (")


def test_without_pictures_nothing_is_said_of_them(a, b, tmp_path):
    assert compared(a, b)["pairs"][0]["no_cases"] == "No pictures were asked for."
    same = write_run(tmp_path / "copy", strips(SHORT))
    assert "No image scores differently" in compared(a, same, cases=2)["pairs"][0]["no_cases"]
