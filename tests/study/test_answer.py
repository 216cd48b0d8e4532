import json
import shutil
import statistics

import numpy as np
import pytest

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.study.answer import answer, answer_from_scores, read_answer
from seg_scse.study.scores import RunScores, Scores, read_scores

from .drawn_studies import (
    CSE,
    FROZEN,
    NONE,
    SCSE,
    WIDER,
    begin_study,
    cell_of,
    declared,
    draw_study,
    write_cell,
)

SETTINGS = Bootstrap(resamples=500)
LONG = [[10, 8, 6, 4], [9, 7, 6, 5]]
SHORT = [[8, 6, 5, 4], [9, 5, 5, 2]]


@pytest.fixture(scope="module")
def without_answer(tmp_path_factory):
    return draw_study(tmp_path_factory.mktemp("study"), declared(NONE, SCSE), {"none": SHORT, "scse-add": LONG})


@pytest.fixture
def study(without_answer, tmp_path):
    """A copy for this test."""
    return shutil.copytree(without_answer, tmp_path / "study")


def dice(pixels):
    """Of a prediction of so many pixels with a truth of 10."""
    return 2 * min(pixels, 10) / (pixels + 10)


def mean(by_seed):
    return statistics.fmean(dice(pixels) for lengths in by_seed for pixels in lengths)


def in_memory(found, groups=None):
    """Scores of drawn columns, by variant (S, N)."""
    ids = tuple(f"image {k}" for k in range(next(iter(found.values())).shape[1]))
    runs = {
        (name, seed): RunScores((None,) * len(ids), {"dice": row[:, None]})
        for name, by_seed in found.items()
        for seed, row in enumerate(by_seed)
    }
    return Scores(ids, groups or ids, ("foreground",), ("dice",), runs)


def drawn(random, seeds=5, images=40, gain=0.0):
    """Scores of one variant: hard images are hard in all runs."""
    hard = np.random.default_rng(0).normal(0, 0.1, images)
    return 0.8 + gain + hard + random.normal(0, 0.005, (seeds, 1)) + random.normal(0, 0.02, (seeds, images))


def test_differences_are_those_of_the_same_seed_and_image(study):
    content = answer(study)
    row = content["rows"][0]["metrics"]["dice"]
    assert (row["seeds"], row["images"], row["units"]) == (2, 4, 4)
    assert (row["baseline"], row["mean"]) == pytest.approx((mean(SHORT), mean(LONG)))
    assert row["difference"] == pytest.approx(mean(LONG) - mean(SHORT))
    by_seed = [mean([LONG[seed]]) - mean([SHORT[seed]]) for seed in (0, 1)]
    assert [one["seed"] for one in row["by_seed"]] == [0, 1]
    assert [one["difference"] for one in row["by_seed"]] == pytest.approx(by_seed)
    assert (row["improved"], row["ties"], row["worse"]) == (4, 0, 0)
    assert row["low"] < row["difference"] < row["high"]


def test_the_baseline_has_its_mean_and_its_spread_over_seeds(study):
    found = answer(study)["baseline"]
    scores = [mean([lengths]) for lengths in SHORT]
    assert found["name"] == "none"
    assert found["metrics"]["dice"]["mean"] == pytest.approx(statistics.fmean(scores))
    assert found["metrics"]["dice"]["sd"] == pytest.approx(statistics.stdev(scores))
    assert [one["score"] for one in found["metrics"]["dice"]["by_seed"]] == pytest.approx(scores)


def test_distances_keep_their_sign_and_less_of_them_is_better(study):
    content = answer(study)
    row = content["rows"][0]["metrics"]["hd95"]
    assert row["difference"] < 0
    assert row["effect"] > 0
    assert row["improved"] > row["worse"]


def test_only_declared_comparisons_in_the_primary_metric_are_tested(tmp_path):
    declaration = declared(NONE, SCSE, CSE, WIDER, FROZEN)
    found = {"none": SHORT, "scse-add": LONG, "cse": LONG[::-1], "wider": SHORT[::-1], "frozen": LONG}
    content = answer(draw_study(tmp_path, declaration, found))
    assert content["tests"] == 4
    rows = {row["name"]: row["metrics"] for row in content["rows"]}
    assert [row["name"] for row in content["rows"]] == ["scse-add", "cse", "wider", "frozen"]
    tested = [(name, metric) for name, metrics in rows.items() for metric, row in metrics.items() if row["tested"]]
    assert tested == [("scse-add", "dice"), ("cse", "dice")]
    assert rows["wider"]["dice"]["p"] is None
    assert rows["wider"]["dice"]["low"] is not None
    assert [(one["treatment"], one["control"]) for one in content["against"]] == [
        ("scse-add", "wider"),
        ("scse-add", "frozen"),
    ]
    assert all(one["row"]["tested"] for one in content["against"])
    assert content["against"][0]["row"]["difference"] == pytest.approx(mean(LONG) - mean(SHORT))
    assert content["against"][1]["row"]["difference"] == 0


def test_tests_are_corrected_for_all_declared_comparisons_together():
    random = np.random.default_rng(3)
    variants = {"none": drawn(random), "scse-add": drawn(random, gain=0.01), "cse": drawn(random)}
    both = answer_from_scores(in_memory(variants), declared(NONE, SCSE, CSE, seeds=5), SETTINGS)
    alone = answer_from_scores(in_memory(variants), declared(NONE, SCSE, seeds=5), SETTINGS)
    corrected, single = (found["rows"][0]["metrics"]["dice"] for found in (both, alone))
    assert corrected["p"] == single["p"] == single["p_holm"]
    assert corrected["p_holm"] == pytest.approx(2 * single["p"])


def test_two_names_of_one_variant_are_not_distinguishable():
    random = np.random.default_rng(1)
    found = in_memory({"none": drawn(random), "scse-add": drawn(random)})
    row = answer_from_scores(found, declared(NONE, SCSE, seeds=5), SETTINGS)["rows"][0]["metrics"]["dice"]
    assert row["low"] < 0 < row["high"]
    assert row["p_holm"] > 0.05
    assert not row["distinguishable"]


def test_runs_that_are_equal_differ_by_nothing(tmp_path):
    content = answer(draw_study(tmp_path, declared(NONE, SCSE), {"none": LONG, "scse-add": LONG}))
    row = content["rows"][0]["metrics"]["dice"]
    assert (row["difference"], row["low"], row["high"], row["p"], row["ties"]) == (0, 0, 0, 1, 4)
    assert not row["distinguishable"]


def test_a_handicapped_variant_is_worse_and_distinguishable():
    random = np.random.default_rng(2)
    found = in_memory({"none": drawn(random), "scse-add": drawn(random, gain=-0.04)})
    row = answer_from_scores(found, declared(NONE, SCSE, seeds=5), SETTINGS)["rows"][0]["metrics"]["dice"]
    assert row["high"] < 0
    assert row["distinguishable"]
    assert row["effect"] < 0
    assert row["worse"] > row["improved"]


def test_images_of_one_group_are_one_unit(tmp_path):
    groups = {f"image {k}": f"patient {k // 2}" for k in range(4)}
    study = draw_study(tmp_path, declared(NONE, SCSE), {"none": SHORT, "scse-add": LONG}, groups=groups)
    content = answer(study)
    row = content["rows"][0]["metrics"]["dice"]
    assert (row["images"], row["units"], row["improved"]) == (4, 2, 2)
    assert (content["data"]["images"], content["data"]["units"], content["data"]["groups"]) == (4, 2, True)


def test_a_missing_seed_is_left_out_of_the_pairs_of_its_variant_alone(tmp_path):
    found = {"none": SHORT, "scse-add": [LONG[0], None], "cse": LONG}
    content = answer(draw_study(tmp_path, declared(NONE, SCSE, CSE), found))
    rows = {row["name"]: row["metrics"]["dice"] for row in content["rows"]}
    assert (rows["scse-add"]["seeds"], rows["cse"]["seeds"]) == (1, 2)
    assert rows["scse-add"]["difference"] == pytest.approx(mean([LONG[0]]) - mean([SHORT[0]]))
    assert rows["scse-add"]["baseline"] == pytest.approx(mean([SHORT[0]]))
    assert rows["cse"]["baseline"] == pytest.approx(mean(SHORT))
    assert rows["scse-add"]["p"] is None
    assert "two" in rows["scse-add"]["reason"]
    assert content["tests"] == 2
    assert [run["status"] for run in content["runs"]] == ["done", "done", "done", "missing", "done", "done"]


def test_a_variant_without_a_seed_in_common_has_a_row_that_says_so(tmp_path):
    content = answer(
        draw_study(tmp_path, declared(NONE, SCSE), {"none": [SHORT[0], None], "scse-add": [None, LONG[1]]})
    )
    for row in content["rows"][0]["metrics"].values():
        assert (row["seeds"], row["images"], row["difference"], row["by_seed"]) == (0, 0, None, [])
        assert row["reason"] == "no finished seed shared with none"
    assert content["baseline"]["metrics"]["dice"]["sd"] is None


def test_a_study_without_its_baseline_still_says_what_there_is(tmp_path):
    content = answer(draw_study(tmp_path, declared(NONE, SCSE), {"scse-add": LONG}))
    assert content["baseline"]["metrics"]["dice"] == {"mean": None, "sd": None, "by_seed": []}
    assert content["rows"][0]["metrics"]["dice"]["reason"] == "no finished seed shared with none"


def test_the_answer_follows_from_its_table_of_scores(tmp_path):
    declaration = declared(NONE, SCSE, WIDER, FROZEN)
    found = {"none": SHORT, "scse-add": LONG, "wider": [SHORT[1], None], "frozen": SHORT}
    content = answer(draw_study(tmp_path, declaration, found))
    again = answer_from_scores(
        read_scores(tmp_path / "scores.csv"), declaration, Bootstrap(**{**content["bootstrap"], "method": "bca"})
    )
    for row in (content["baseline"], *content["rows"]):
        assert row.pop("cost") is None
    assert json.loads(json.dumps(again)) == {key: json.loads(json.dumps(content[key])) for key in again}


def test_the_same_runs_give_the_same_files(study):
    files = []
    for _ in range(2):
        answer(study)
        text = json.loads((study / "study.json").read_text())
        text.pop("created")
        files.append((json.dumps(text), (study / "scores.csv").read_bytes()))
    assert files[0] == files[1]
    assert {**read_answer(study), "created": ""} == {**text, "created": ""}


def test_costs_stand_beside_the_scores(study):
    (study / "cost.json").write_text(json.dumps({"variants": {"none": {"parameters": 5}, "scse-add": None}}))
    content = answer(study)
    assert content["baseline"]["cost"] == {"parameters": 5}
    assert content["rows"][0]["cost"] is None
    (study / "cost.json").write_text("[]")
    with pytest.raises(DataError, match=r"cost\.json: cannot be read .*Remove it"):
        answer(study)


def test_a_failed_run_is_listed_with_its_error(tmp_path):
    declaration = declared(NONE, SCSE)
    study = draw_study(tmp_path, declaration, {"none": SHORT, "scse-add": [LONG[0], None]})
    cell_of(study, declaration, "scse-add", 1).note(status="failed", error="step 3: diverged", exit_code=4, seconds=2.0)
    content = answer(study)
    assert content["failures"] == [{"variant": "scse-add", "seed": 1, "fold": None, "error": "step 3: diverged"}]
    assert content["runs"][3]["status"] == "failed"


def test_a_study_scored_on_the_split_of_the_choice_says_so(tmp_path):
    declaration = declared(NONE, SCSE, seeds=1, split="val")
    begin_study(tmp_path, declaration)
    for name, lengths in (("none", SHORT[0]), ("scse-add", LONG[0])):
        write_cell(cell_of(tmp_path, declaration, name, 0), lengths, split="val")
    content = answer(tmp_path)
    assert len(content["notes"]) == 1
    assert content["notes"][0].startswith("The study is scored on the val split, by which the best weights")


def test_no_answer_or_another_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"study\.json: cannot be read"):
        read_answer(tmp_path)
    (tmp_path / "study.json").write_text('{"format": 7}')
    with pytest.raises(DataError, match=r"study\.json: is no answer of a study in format 1\. Write it anew"):
        read_answer(tmp_path)
