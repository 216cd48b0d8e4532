import json
import math
from pathlib import Path

import numpy as np
import pytest

from seg_scse.errors import DataError
from seg_scse.evaluation.tables import Tables, read_groups, write_groups, write_rows
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.measures import MeasureTable

IDS = ("a", 'b "quoted", with\ncomma', "c/ü")


def tables(*, surfaces: bool = True, groups: tuple[str, ...] = IDS) -> Tables:
    counts, measured = CountsTable(2), MeasureTable(("hd95", "assd", "nsd", "boundary_iou"), 2)
    objects = MeasureTable(("object_tp", "object_fp", "object_fn", "object_iou_sum"), 2)
    for place, name in enumerate(IDS):
        truth = np.zeros((4, 4), np.uint8)
        truth[: place + 1] = 1
        counts.add(name, count_pixels(np.ones((4, 4), np.uint8), truth, 2))
        measured.add(name, np.array([[math.nan] * 4, [place + 0.1, 0.5, 1.0, math.nan]]))
        objects.add(name, np.array([[0.0] * 4, [1.0, 1.0, 0.0, 0.75]]))
    return Tables(counts, groups, surfaces=measured if surfaces else None, objects=objects)


def written(folder: Path, content: Tables | None = None) -> Path:
    (content or tables()).write(folder)
    (folder / "results.json").write_text(json.dumps({"format": 2}))
    return folder


def test_what_was_written_is_read_back(tmp_path):
    found = Tables.read(written(tmp_path, tables(groups=("p1", "p1", "p2"))))
    assert found.ids == IDS
    assert (found.groups, found.units) == (("p1", "p1", "p2"), ("p1", "p1", "p2"))
    assert found.centerlines is None
    assert found.results == {"format": 2}
    for name, column in tables().columns("exclude").items():
        np.testing.assert_array_equal(found.columns("exclude")[name], column)


def test_every_score_has_a_column(tmp_path):
    columns = Tables.read(written(tmp_path)).columns("exclude")
    assert {"dice", "iou", "precision", "recall", "hd95", "assd", "nsd", "boundary_iou", "object_f1", "pq"} <= set(
        columns
    )
    assert columns["dice"][:, 1].tolist() == pytest.approx([8 / 20, 16 / 24, 24 / 28])
    assert columns["object_f1"][:, 1].tolist() == pytest.approx([1 / 1.5] * 3)
    assert columns["pq"][:, 1].tolist() == pytest.approx([0.5] * 3)


def test_images_without_declared_groups_stand_for_themselves():
    assert tables().units is None


def test_a_table_of_an_older_evaluation_does_not_stay(tmp_path):
    written(tmp_path)
    written(tmp_path, tables(surfaces=False))
    assert not (tmp_path / "surfaces.csv").exists()
    assert "hd95" not in Tables.read(tmp_path).columns("exclude")


def test_tables_of_other_images_are_refused(tmp_path):
    folder = written(tmp_path / "run" / "evaluation" / "test")
    write_groups(folder / "groups.csv", ["x"], ["x"])
    with pytest.raises(DataError, match=r"(?s)groups\.csv has other images than counts\.csv.*evaluate\.py .*run$"):
        Tables.read(folder)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"format": 1}', "has format 1, this version reads 2"),
        ("[]", "is no result of an evaluation"),
        ("{", "cannot be read"),
        (None, "No such file"),
    ],
)
def test_results_that_cannot_be_used_are_refused_with_the_cure(tmp_path, content, part):
    folder = written(tmp_path)
    (folder / "results.json").unlink() if content is None else (folder / "results.json").write_text(content)
    with pytest.raises(DataError, match=rf"(?s)results\.json: {part}|{part}") as caught:
        Tables.read(folder)
    assert "Evaluate again: python evaluate.py" in str(caught.value)


@pytest.mark.parametrize("text", ["", "id,group\na", "id,grp\na,b\n", "id,group\na,b\na,c\n"])
def test_a_damaged_table_of_groups_is_refused(tmp_path, text):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=r"groups\.csv: .*Evaluate again"):
        read_groups(tmp_path / "groups.csv")


def test_merged_tables_are_those_of_one_evaluation():
    whole, parts = tables(groups=("p", "p", "q")), []
    for name, group in zip(IDS, whole.groups, strict=True):
        counts, surfaces, objects = (
            CountsTable(2),
            MeasureTable(whole.surfaces.names, 2),
            MeasureTable(whole.objects.names, 2),
        )
        counts.add(name, whole.counts.counts(name))
        surfaces.add(name, whole.surfaces.values(name))
        objects.add(name, whole.objects.values(name))
        parts.append(Tables(counts, (group,), surfaces=surfaces, objects=objects))
    merged = Tables.merge(parts[::-1], IDS)
    assert (merged.ids, merged.groups) == (whole.ids, whole.groups)
    for name, column in whole.columns("zero").items():
        np.testing.assert_array_equal(merged.columns("zero")[name], column)


def test_rows_without_a_score_have_empty_cells(tmp_path):
    write_rows(tmp_path / "rows.csv", [{"id": "a", "dice": None}, {"id": "b", "dice": 0.5}])
    assert (tmp_path / "rows.csv").read_text() == "id,dice\na,\nb,0.5\n"
