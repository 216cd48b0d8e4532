import numpy as np
import pytest

from seg_scse.errors import DataError
from seg_scse.study.scores import RunScores, Scores, read_scores, row_names, with_classes, write_scores

CLASSES = ("foreground", "background", "cell", "border")


def drawn(ids=("a", "b,\r\nc", '"d"'), folds=(None, None, None)):
    random = np.random.default_rng(0)
    column = random.random((3, 4))
    column[1, 2] = np.nan
    runs = {("none", 0): RunScores(folds, {"dice": column}), ("cse", 10): RunScores(folds, {"dice": column / 3})}
    return Scores(ids, ("p", "p", "q"), CLASSES, ("dice",), runs)


def test_what_is_read_is_what_was_written_to_the_last_digit(tmp_path):
    scores = drawn(folds=(0, 2, 1))
    write_scores(tmp_path / "scores.csv", scores)
    found = read_scores(tmp_path / "scores.csv")
    assert (found.ids, found.groups, found.classes, found.metrics) == (
        scores.ids,
        scores.groups,
        scores.classes,
        scores.metrics,
    )
    assert list(found.runs) == [("none", 0), ("cse", 10)]
    for key, run in scores.runs.items():
        assert found.runs[key].folds == (0, 2, 1)
        np.testing.assert_array_equal(found.runs[key].columns["dice"], run.columns["dice"])


def test_there_is_a_row_for_each_run_image_and_class_and_an_empty_cell_without_a_score(tmp_path):
    write_scores(tmp_path / "scores.csv", drawn(("a", "b", "c")))
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == '"variant","seed","fold","id","group","class","dice"'
    assert len(lines) == 1 + 2 * 3 * 4
    assert lines[7] == '"none",0,"","b","p","cell",""'


def test_the_foreground_of_each_seed_is_one_row():
    scores = drawn()
    assert scores.seeds("cse") == (10,)
    np.testing.assert_array_equal(
        scores.foreground("cse", [10], "dice"), scores.runs["cse", 10].columns["dice"][:, 0][None]
    )
    assert scores.foreground("none", [], "dice").shape == (0, 3)


def test_the_foreground_of_an_image_is_the_mean_over_the_classes_scored_in_it():
    column = np.array([[0.9, 0.5, np.nan], [0.9, 0.2, 0.4], [0.9, np.nan, np.nan]])
    found = with_classes(column, ("background", "cell", "border"))
    np.testing.assert_allclose(found[:, 0], [0.5, 0.3, np.nan])
    np.testing.assert_array_equal(found[:, 1:], column)


def test_a_class_called_foreground_is_the_foreground():
    classes = ("background", "foreground")
    assert row_names(classes) == ("foreground", "background")
    np.testing.assert_array_equal(with_classes(np.array([[0.9, 0.5]]), classes), [[0.5, 0.9]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"class"', '"label"'), "the header is another"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "cse seed 10 has other images or classes"),
        (lambda text: text.replace(',"p","cell"', ',"z","cell"', 1), "has other images or classes"),
        (lambda text: text.replace('"none",0', '"none",x'), "invalid literal"),
        (lambda text: "", "not enough values"),
    ],
    ids=["header", "cut", "group", "seed", "empty"],
)
def test_a_damaged_table_is_refused(tmp_path, change, said):
    path = tmp_path / "scores.csv"
    write_scores(path, drawn(("a", "b", "c")))
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=rf"scores\.csv: not the scores of a study \(.*{said}"):
        read_scores(path)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="not the scores of a study"):
        read_scores(tmp_path / "scores.csv")
