import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays

from seg_scse.errors import DataError, WriteError
from seg_scse.metrics.measures import MeasureTable

NAMES = ("hd95", "nsd")


def table_of(*ids, names=NAMES, num_classes=3):
    table = MeasureTable(names, num_classes)
    for sample_id in ids:
        random = np.random.default_rng(sum(sample_id.encode()))
        values = random.normal(size=(num_classes, len(names))) * 10.0 ** random.integers(-9, 9)
        values[0] = math.nan
        table.add(sample_id, values)
    return table


def assert_same(first, second):
    assert (first.ids, first.names, first.num_classes) == (second.ids, second.names, second.num_classes)
    for name in first.names:
        np.testing.assert_array_equal(first.column(name), second.column(name))


def test_a_column_holds_images_by_classes():
    table = MeasureTable(NAMES, 2)
    table.add("b", np.array([[math.nan, math.nan], [3.5, 0.5]]))
    table.add("a", np.array([[math.nan, math.nan], [1.25, 1.0]]))
    assert table.ids == ("b", "a")
    assert len(table) == 2
    np.testing.assert_array_equal(table.column("hd95"), [[math.nan, 3.5], [math.nan, 1.25]])
    np.testing.assert_array_equal(table.column("nsd"), [[math.nan, 0.5], [math.nan, 1.0]])
    assert table.column("nsd").dtype == np.float64


def test_a_table_without_images_has_columns_of_no_rows():
    assert MeasureTable(NAMES, 4).column("nsd").shape == (0, 4)


def test_a_table_does_not_change_with_the_array_that_was_added():
    table, values = MeasureTable(NAMES, 2), np.ones((2, 2))
    table.add("a", values)
    values[:] = 7
    table.values("a")[:] = 8
    assert (table.column("hd95") == 1).all()


def test_an_image_measured_twice_is_refused():
    with pytest.raises(DataError, match="sample 'a' was measured twice: every image must be scored once"):
        table_of("a").add("a", np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(2, 2), (3, 1)])
def test_an_image_with_other_classes_or_measures_is_refused(shape):
    with pytest.raises(DataError, match=r"'b' was measured with shape .*, the table holds 3 classes and hd95, nsd"):
        table_of("a").add("b", np.zeros(shape))


def test_tables_of_two_processes_merge_into_the_one_of_a_single_process():
    assert_same(MeasureTable.merge([table_of("b", "d"), table_of("c", "a")], list("abcd")), table_of(*"abcd"))


def test_every_problem_of_a_merge_is_named():
    with pytest.raises(DataError) as caught:
        MeasureTable.merge([table_of("a", "b"), table_of("b", "x")], ["a", "b", "c"])
    for problem in ("'b' is in two tables", "'c' is in no table", "'x' is not in the list of ids"):
        assert problem in str(caught.value)


def test_tables_of_other_measures_or_classes_do_not_merge():
    with pytest.raises(DataError, match="one holds hd95, nsd, another nsd"):
        MeasureTable.merge([table_of("a"), table_of("b", names=("nsd",))], ["a", "b"])
    with pytest.raises(DataError, match=r"'b' was measured with shape \(2, 2\), the table holds 3 classes"):
        MeasureTable.merge([table_of("a"), table_of("b", num_classes=2)], ["a", "b"])


def test_a_file_holds_a_row_per_class_and_an_empty_cell_where_nothing_was_measured(tmp_path):
    table = MeasureTable(NAMES, 2)
    table.add("a,1", np.array([[math.nan, math.nan], [0.1, 1.0]]))
    table.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == '"id","class","hd95","nsd"\n"a,1",0,"",""\n"a,1",1,0.1,1.0\n'


@given(
    drawn_arrays(np.float64, (2, 3, 2), elements=st.floats(allow_infinity=False)),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2, unique=True),
)
def test_a_file_read_back_holds_the_same_table_to_the_bit(tmp_path_factory, values, ids):
    table = MeasureTable(NAMES, 3)
    for sample_id, of_image in zip(ids, values, strict=True):
        table.add(sample_id, of_image)
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    table.to_csv(path)
    assert_same(MeasureTable.from_csv(path), table)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.splitlines()[0] + "\n",
        lambda text: text.replace('"class"', '"klass"'),
        lambda text: "\n".join(text.splitlines()[:-1]) + "\n",
        lambda text: text[:-20],
        lambda text: text.replace('"b",1', '"b",2'),
        lambda text: text.replace('"a",1,', '"a",1,x'),
        lambda text: text.replace('"a",1,', '"a",1,nan,'),
        lambda text: text + text.splitlines()[1] + "\n",
        lambda text: text.replace('"b",0,""', '"b",0,"nan"'),
        lambda text: text.replace("\n", ",0\n"),
        lambda text: text + '"c",0,"",""\n',
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "surfaces.csv"
    table_of("a", "b").to_csv(path)
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole))
    with pytest.raises(DataError, match=r"surfaces\.csv: not a table of measures \(.*Evaluate again to write it anew"):
        MeasureTable.from_csv(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: not a table of measures \(.*No such file"):
        MeasureTable.from_csv(tmp_path / "gone.csv")


def test_a_file_of_bytes_is_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=r"t\.csv: not a table of measures"):
        MeasureTable.from_csv(tmp_path / "t.csv")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        table_of("a").to_csv(tmp_path / "file" / "t.csv")
