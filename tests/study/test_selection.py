import pytest

from seg_scse.study.answer import answer
from seg_scse.study.selection import select

from .drawn_studies import CSE, NONE, SCSE, begin_study, cell_of, declared, draw_study, write_cell


def run(variant, seed, score, fold=None, status="done"):
    return {"variant": variant, "seed": seed, "fold": fold, "status": status, "val_score": score}


def test_the_winner_has_the_best_validation_score_and_not_the_best_test_score(tmp_path):
    declaration = declared(NONE, SCSE, seeds=1)
    begin_study(tmp_path, declaration)
    write_cell(cell_of(tmp_path, declaration, "none", 0), [2, 2, 2], validated=(0.8, 0.9))
    write_cell(cell_of(tmp_path, declaration, "scse-add", 0), [10, 10, 10], validated=(0.6, 0.7))
    assert answer(tmp_path)["selection"] == {
        "by": "val",
        "metric": "dice_per_image",
        "seeds": [0],
        "scores": {"none": 0.9, "scse-add": 0.7},
        "winner": "none",
    }


def test_the_means_are_over_the_seeds_that_all_have():
    runs = [
        run("none", 0, 0.5),
        run("none", 1, 0.9),
        run("scse-add", 0, 0.6),
        run("scse-add", 1, None, status="failed"),
    ]
    found = select([*runs, run("cse", 0, None, status="missing")], declared(NONE, SCSE, CSE), "dice_per_image")
    assert found["seeds"] == [0]
    assert found["scores"] == {"none": 0.5, "scse-add": 0.6, "cse": None}
    assert found["winner"] == "scse-add"


def test_folds_of_a_seed_are_averaged_and_all_of_them_are_needed():
    runs = [run("none", 0, 0.5, 0), run("none", 0, 0.7, 1), run("scse-add", 0, 0.9, 0)]
    declaration = declared(NONE, SCSE, seeds=1, folds=2)
    found = select([*runs, run("scse-add", 0, 0.1, 1)], declaration, "dice_per_image")
    assert found["scores"] == pytest.approx({"none": 0.6, "scse-add": 0.5})
    unfinished = select([*runs, run("scse-add", 0, None, 1, "stopped")], declaration, "dice_per_image")
    assert unfinished["scores"] == {"none": pytest.approx(0.6), "scse-add": None}


def test_of_equal_variants_the_first_wins_and_without_scores_none():
    both = [run("none", 0, 0.5), run("scse-add", 0, 0.5)]
    assert select(both, declared(NONE, SCSE), "dice_per_image")["winner"] == "none"
    apart = [run("none", 0, 0.5), run("scse-add", 1, 0.5)]
    found = select(apart, declared(NONE, SCSE), "dice_per_image")
    assert (found["seeds"], found["winner"]) == ([], None)


def test_a_run_without_a_validation_score_has_none(tmp_path):
    study = draw_study(tmp_path, declared(NONE, SCSE, seeds=1), {"none": [[5, 5]]}, validated=())
    assert answer(study)["selection"]["winner"] is None
