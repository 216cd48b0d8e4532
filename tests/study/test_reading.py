import json
import shutil

import pytest

from seg_scse.errors import ConfigError, DataError
from seg_scse.study.answer import answer

from ..evaluation.compared_runs import strips
from .drawn_studies import (
    FROZEN,
    NONE,
    SCSE,
    WIDER,
    begin_study,
    cell_of,
    change_results,
    declared,
    draw_study,
    write_cell,
    write_scores_of,
)

FOUND = {"none": [[8, 6, 5], [9, 5, 5]], "scse-add": [[10, 8, 6], [9, 7, 6]]}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_study(tmp_path_factory.mktemp("study"), declared(NONE, SCSE), FOUND)


@pytest.fixture
def study(drawn, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(drawn, tmp_path / "study")


def cell(study, variant, seed, fold=None):
    return cell_of(study, declared(NONE, SCSE, folds=None if fold is None else 2), variant, seed, fold)


def test_a_run_is_described_by_its_log_its_state_and_its_scores(study):
    run = answer(study)["runs"][0]
    assert run["scores"].pop("dice") == pytest.approx((16 / 18 + 12 / 16 + 10 / 15) / 3)
    assert set(run.pop("scores")) == {"iou", "hd95"}
    assert run == {
        **{"variant": "none", "seed": 0, "fold": None, "status": "done", "error": "", "best_epoch": 2},
        **{"epochs": 3, "steps": 30, "val_score": 0.7, "seconds": 12.5},
    }


def test_scores_of_other_weights_are_not_those_of_the_run(study):
    change_results(cell(study, "scse-add", 1), checkpoint={"sha256": "of older weights"})
    content = answer(study)
    assert content["rows"][0]["metrics"]["dice"]["seeds"] == 1
    run = content["runs"][3]
    assert (run["status"], run["error"]) == ("missing", "it has no scores of its best weights")
    assert run["scores"] == {"dice": None, "iou": None, "hd95": None}


def test_a_run_that_was_stopped_does_not_count_though_it_has_scores(study):
    cell(study, "scse-add", 1).note(status="stopped", error="", exit_code=143, seconds=1.0)
    content = answer(study)
    assert content["runs"][3]["status"] == "stopped"
    assert content["rows"][0]["metrics"]["dice"]["seeds"] == 1


def test_nothing_finished_is_no_answer(tmp_path):
    declaration = declared(NONE, SCSE)
    begin_study(tmp_path, declaration)
    with pytest.raises(DataError, match=r"none of its 4 runs is finished, so there is nothing to compare yet\.$"):
        answer(tmp_path)
    failed = cell_of(tmp_path, declaration, "none", 0)
    failed.note(status="failed", error="out of memory", exit_code=1, seconds=2.0)
    with pytest.raises(DataError, match=r"(?s)none of its 4 runs.*:\n  - none seed 0: out of memory"):
        answer(tmp_path)
    assert not (tmp_path / "study.json").exists()


def test_frozen_gates_are_scored_beside_the_treatment(tmp_path):
    declaration = declared(NONE, SCSE, FROZEN)
    study = draw_study(tmp_path, declaration, {**FOUND, "frozen": [[7, 7, 7], None]})
    content = answer(study)
    runs = [run for run in content["runs"] if run["variant"] == "frozen"]
    assert [run["status"] for run in runs] == ["done", "missing"]
    assert (runs[0]["epochs"], runs[0]["val_score"], runs[0]["seconds"]) == (None, None, None)
    assert content["rows"][1]["metrics"]["dice"]["mean"] == pytest.approx(14 / 17)
    assert content["against"][0]["row"]["seeds"] == 1
    assert "frozen" not in content["selection"]["scores"]


def test_what_failed_after_a_run_had_its_scores_is_a_failure_of_the_control_alone(tmp_path):
    declaration = declared(NONE, SCSE, FROZEN)
    study = draw_study(tmp_path, declaration, {**FOUND, "frozen": [[7, 7, 7], None]})
    for seed in (0, 1):  # the first was tried again by hand
        cell_of(study, declaration, "scse-add", seed).note(
            status="done", error="error: s05.png: cut short", exit_code=3, seconds=1.0
        )
    content = answer(study)
    assert content["rows"][0]["metrics"]["dice"]["seeds"] == 2
    assert {(run["status"], run["error"]) for run in content["runs"] if run["variant"] == "scse-add"} == {("done", "")}
    failure = {"variant": "frozen", "seed": 1, "fold": None, "error": "error: s05.png: cut short"}
    assert content["failures"] == [failure]


def test_scores_are_of_frozen_gates_where_they_are_said_to_be_and_only_there(tmp_path):
    declaration = declared(NONE, SCSE, FROZEN)
    study = draw_study(tmp_path, declaration, {**FOUND, "frozen": FOUND["none"]})
    assert "gates" not in answer(study)["protocol"]
    treatment = cell_of(study, declaration, "scse-add", 0)
    change_results(treatment, "test-frozen", protocol={"gates": None})
    change_results(treatment, protocol={"gates": "mean"})
    with pytest.raises(DataError, match=r"(?s)gates of scse-add seed 0: 'mean', .*gates of frozen seed 0: None, "):
        answer(study)


def fold(tmp_path, variant, seed, number, lengths, first):
    """Write a fold whose images start at number `first`."""
    masks = {f"image {first + k}": pair for k, pair in enumerate(strips(lengths).values())}
    declaration = declared(NONE, SCSE, seeds=1, folds=2)
    return write_cell(cell_of(tmp_path, declaration, variant, seed, number), masks)


def crossed(tmp_path, **firsts):
    begin_study(tmp_path, declared(NONE, SCSE, seeds=1, folds=2))
    for variant, second in (("none", [9, 5]), ("scse-add", [9, 7])):
        fold(tmp_path, variant, 0, 0, FOUND[variant][0], 0)
        fold(tmp_path, variant, 0, 1, second, firsts.get(variant.partition("-")[0], 3))
    return tmp_path


def test_folds_are_put_together_so_that_every_image_counts_once(tmp_path):
    content = answer(crossed(tmp_path))
    assert content["data"]["images"] == 5
    row = content["rows"][0]["metrics"]["dice"]
    dice = {"none": [16 / 18, 12 / 16, 10 / 15, 18 / 19, 10 / 15], "scse-add": [1, 16 / 18, 12 / 16, 18 / 19, 14 / 17]}
    assert (row["seeds"], row["images"]) == (1, 5)
    assert row["difference"] == pytest.approx(sum(dice["scse-add"]) / 5 - sum(dice["none"]) / 5)
    assert [(run["seed"], run["fold"]) for run in content["runs"]] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert '"none",0,0,"image 0","image 0","foreground",' in lines[1]
    assert '"none",0,1,"image 4","image 4","foreground",' in lines[13]


def test_a_seed_counts_when_all_of_its_folds_are_finished(tmp_path):
    study = crossed(tmp_path)
    declaration = declared(NONE, SCSE, seeds=1, folds=2)
    cell_of(study, declaration, "scse-add", 0, 1).note(status="stopped", error="", exit_code=143, seconds=1.0)
    content = answer(study)
    assert content["rows"][0]["metrics"]["dice"]["reason"] == "no finished seed shared with none"
    cell_of(study, declaration, "none", 0, 1).note(status="stopped", error="", exit_code=143, seconds=1.0)
    with pytest.raises(DataError, match="no seed of any variant has all of its 2 folds finished yet"):
        answer(study)


def test_an_image_in_two_folds_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"(?s)the folds of scse-add seed 0 do not belong together.*image 2"):
        answer(crossed(tmp_path, scse=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"data": {"digest": "e" * 64}},
            rf"data\.digest of scse-add seed 1: '{'e' * 64}', of none seed 0: '{'d' * 64}'",
        ),
        ({"protocol": {"tile": 64}}, r"protocol\.tile of scse-add seed 1: 64, of none seed 0: 32"),
        ({"protocol": {"empty": "one"}}, r"protocol\.empty of scse-add seed 1: 'one', of none seed 0: 'exclude'"),
        (
            {"protocol": {"surface": {"tolerance": 3.0, "unit": "px", "spacing": [1.0, 1.0]}}},
            r"protocol\.surface of scse-add seed 1: \{'tolerance': 3\.0, .*of none seed 0: \{'tolerance': 2\.0",
        ),
        ({"config": {"seed": 0}}, "seed of scse-add seed 1: 0 in its configuration"),
        ({"config": {"optimizer": {"lr": 0.1}}}, r"optimizer\.lr of scse-add seed 1: '0\.1', of none seed 0: ''"),
        (
            {"config": {"model": {"attention": {"reduction": 4}}}},
            r"model\.attention\.reduction of scse-add seed 1: '4', of scse-add seed 0: ''",
        ),
    ],
    ids=["digest", "tile", "empty", "tolerance", "seed", "recipe", "gate"],
)
def test_runs_that_do_not_belong_together_are_refused_with_both_values(study, changes, said):
    change_results(cell(study, "scse-add", 1), **changes)
    with pytest.raises(DataError, match=rf"(?s)the runs of this study do not belong together:.*{said}"):
        answer(study)
    assert not (study / "study.json").exists()


def test_what_a_variant_declares_may_differ_between_variants(tmp_path):
    study = draw_study(tmp_path, declared(NONE, SCSE, WIDER), {**FOUND, "wider": FOUND["none"]})
    for seed in (0, 1):
        attention = {"type": "scse", "reduction": 2}
        change_results(cell(study, "scse-add", seed), config={"model": {"attention": attention}})
        change_results(
            cell_of(study, declared(NONE, SCSE, WIDER), "wider", seed), config={"model": {"decoder_channels": [64]}}
        )
    assert answer(study)["rows"][0]["metrics"]["dice"]["seeds"] == 2


def test_each_run_may_have_chosen_its_own_threshold(study):
    change_results(cell(study, "scse-add", 1), protocol={"threshold": 0.4, "threshold_from": "val"})
    protocol = answer(study)["protocol"]
    assert (protocol["threshold"], protocol["threshold_from"], protocol["tile"]) == (None, None, 32)


def test_other_images_are_refused(study):
    other = cell(study, "scse-add", 1)
    write_scores_of(other, {f"picture {k}": pair for k, pair in enumerate(strips([9, 7, 6]).values())}, "test")
    with pytest.raises(DataError, match=r"images of none seed 0 and scse-add seed 1: only none seed 0 has 'image 0'"):
        answer(study)


def test_another_truth_is_refused(study):
    write_scores_of(cell(study, "scse-add", 1), strips([9, 7, 6], truth=11), "test")
    with pytest.raises(DataError, match=r"truth of none seed 0 and scse-add seed 1: image 'image 0' has 390 and 389"):
        answer(study)


def test_other_groups_are_refused(study):
    write_scores_of(cell(study, "scse-add", 1), [9, 7, 6], "test", groups={"image 1": "patient"})
    message = "image 'image 1' is of group 'image 1' in none seed 0 and of 'patient' in scse-add seed 1"
    with pytest.raises(DataError, match=message):
        answer(study)


def test_images_may_be_listed_in_another_order(study):
    turned = dict(reversed(strips(FOUND["scse-add"][1]).items()))
    before = answer(study)["rows"]
    write_scores_of(cell(study, "scse-add", 1), turned, "test")
    assert json.dumps(answer(study)["rows"]) == json.dumps(before)


def test_a_score_that_a_run_lacks_is_left_out_and_noted(study):
    other = cell(study, "scse-add", 1)
    (other.evaluation("test") / "surfaces.csv").unlink()
    change_results(other, protocol={"surface": {}})
    content = answer(study)
    assert list(content["rows"][0]["metrics"]) == ["dice", "iou"]
    assert content["notes"] == ["hd95 is left out, because it was not measured in scse-add seed 1."]
    assert (study / "scores.csv").read_text().splitlines()[0].endswith('"class","dice","iou"')


def test_a_score_that_no_run_has_is_noted_in_few_words(study):
    for variant in FOUND:
        for seed in range(2):
            other = cell(study, variant, seed)
            (other.evaluation("test") / "surfaces.csv").unlink()
            change_results(other, protocol={"surface": {}})
    assert answer(study)["notes"] == ["hd95 is left out, because it was not measured in any run."]


def test_an_image_that_only_some_runs_score_is_counted_and_noted(study):
    nothing = strips([0], truth=0)["image 0"]  # a class in neither truth nor prediction has no score
    wrong = strips([3], truth=0)["image 0"]
    for variant, by_seed in FOUND.items():
        for seed, lengths in enumerate(by_seed):
            empty = wrong if (variant, seed) == ("scse-add", 1) else nothing
            write_scores_of(cell(study, variant, seed), {**strips(lengths), "image 3": empty}, "test")
    content = answer(study)
    assert content["notes"] == [
        f"{name}: 1 of 4 images are scored in some runs only; a comparison leaves out those that one of its own runs "
        "lacks."
        for name in ("dice", "iou", "hd95")
    ]
    assert content["data"]["images"] == 4
    assert {row["images"] for row in content["rows"][0]["metrics"].values()} == {3}


def test_the_primary_metric_can_be_any_score_of_an_image(tmp_path):
    content = answer(draw_study(tmp_path, declared(NONE, SCSE, metric="nsd"), FOUND))
    assert list(content["rows"][0]["metrics"]) == ["dice", "iou", "hd95", "nsd"]
    assert content["rows"][0]["metrics"]["nsd"]["tested"]
    assert content["rows"][0]["metrics"]["dice"]["tested"] is False
    assert (tmp_path / "scores.csv").read_text().splitlines()[0].endswith('"hd95","nsd"')


def test_a_primary_metric_that_was_not_measured_is_refused(tmp_path):
    study = draw_study(tmp_path, declared(NONE, SCSE, metric="pq"), FOUND)
    with pytest.raises(ConfigError, match=r"pq: .* does not hold it\. It holds dice, iou"):
        answer(study)


def test_other_devices_and_versions_are_noted(study):
    change_results(cell(study, "scse-add", 1), device="a GPU", versions={"torch": "2.15.0"})
    content = answer(study)
    assert content["device"] == "a GPU; cpu"
    assert content["notes"] == [
        "The runs were scored on different devices: a GPU; cpu.",
        "The runs were made with different versions of torch: not installed, 2.15.0.",
    ]
