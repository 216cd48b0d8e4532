import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays
from sklearn.metrics import confusion_matrix

from seg_scse.errors import DataError
from seg_scse.metrics import pixels as pixels_module
from seg_scse.metrics.counts import Counts, CountsTable, count_pixels


def labels(*rows):
    return np.array(rows, np.uint8)


def draw(seed, num_classes=3, shape=(13, 17), ignore=True):
    random = np.random.default_rng(seed)
    truth = random.integers(0, num_classes, shape, dtype=np.uint8)
    prediction = np.where(random.random(shape) < 0.6, truth, random.integers(0, num_classes, shape)).astype(np.uint8)
    if ignore:
        truth[random.random(shape) < 0.1] = 255
    return prediction, truth


def draw_table(ids, num_classes=3):
    table = CountsTable(num_classes)
    for sample_id in ids:
        seed = sum(sample_id.encode())
        table.add(sample_id, count_pixels(*draw(seed, num_classes, shape=(5 + seed % 7, 9)), num_classes))
    return table


def assert_same(first, second):
    assert first.ids == second.ids
    for left, right in zip(first.arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype == np.int64
    np.testing.assert_array_equal(first.confusion, second.confusion)


def test_a_3x3_image_is_counted_as_by_hand():
    truth = labels([0, 0, 1], [0, 1, 1], [2, 2, 255])
    prediction = labels([0, 1, 1], [0, 1, 0], [2, 1, 2])
    counts = count_pixels(prediction, truth, 3)
    np.testing.assert_array_equal(counts.confusion, [[2, 1, 0], [1, 2, 0], [0, 1, 1]])
    assert (counts.ignored, counts.height, counts.width) == (1, 3, 3)
    table = CountsTable(3)
    table.add("a", counts)
    arrays = table.arrays()
    assert arrays.tp.tolist() == [[2, 2, 1]]
    assert arrays.fp.tolist() == [[1, 2, 0]]
    assert arrays.fn.tolist() == [[1, 1, 1]]
    assert arrays.tn.tolist() == [[4, 3, 6]]
    assert (arrays.ignored.tolist(), arrays.height.tolist(), arrays.width.tolist()) == ([1], [3], [3])


@pytest.mark.parametrize("num_classes", [2, 20, 255])
def test_counts_equal_those_of_scikit_learn(num_classes):
    prediction, truth = draw(0, num_classes, shape=(61, 83))
    valid = truth != 255
    expected = confusion_matrix(truth[valid], prediction[valid], labels=range(num_classes))
    counts = count_pixels(prediction, truth, num_classes)
    np.testing.assert_array_equal(counts.confusion, expected)
    assert counts.confusion.dtype == np.int64
    assert counts.ignored == (~valid).sum()


def test_counts_do_not_depend_on_strips_or_memory_layout(monkeypatch):
    prediction, truth = draw(1)
    whole = count_pixels(prediction, truth, 3)
    monkeypatch.setattr(pixels_module, "STRIP_PIXELS", 10)
    np.testing.assert_array_equal(count_pixels(prediction, truth, 3).confusion, whole.confusion)
    flipped = count_pixels(np.asfortranarray(prediction)[:, ::-1], truth[:, ::-1], 3)
    np.testing.assert_array_equal(flipped.confusion, whole.confusion)


def test_counts_of_an_image_keep_no_larger_array_alive():
    assert count_pixels(*draw(2), 3).confusion.base is None


def test_inputs_are_not_changed():
    prediction, truth = draw(3)
    before = prediction.copy(), truth.copy()
    count_pixels(prediction, truth, 3)
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(truth, before[1])


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (labels([0, 3]), labels([0, 1]), r"^prediction holds the value 3 \(1 pixels\), but the 3 classes are 0 to 2"),
        (labels([0, 255]), labels([0, 255]), r"^prediction holds the value 255 \(1 pixels\)"),
        (labels([0, 1]), labels([7, 7]), r"^truth holds the value 7 \(2 pixels\), but the 3 classes are 0 to 2: check"),
        (labels([0, 1]), labels([0], [1]), r"^prediction has shape \(1, 2\), truth \(2, 1\): .*resize the prediction"),
        (np.array([[0, 300]]), labels([0, 1]), r"^prediction is int64 of shape \(1, 2\): counting needs uint8"),
        (labels([0, 1]), np.zeros((1, 2, 1), np.uint8), r"^truth is uint8 of shape \(1, 2, 1\): counting needs"),
    ],
)
def test_a_map_that_cannot_be_counted_is_refused(prediction, truth, message):
    with pytest.raises(DataError, match=message):
        count_pixels(prediction, truth, 3)


@given(drawn_arrays(np.uint8, (4, 5), elements=st.integers(0, 3)), st.data())
def test_every_pixel_is_counted_once(prediction, data):
    truth = data.draw(drawn_arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 3, 255])))
    table = CountsTable(4)
    table.add("x", count_pixels(prediction, truth, 4))
    arrays = table.arrays()
    per_class = arrays.tp + arrays.fp + arrays.fn + arrays.tn + arrays.ignored[:, None]
    np.testing.assert_array_equal(per_class, np.full((1, 4), 20))
    assert table.confusion.sum() + arrays.ignored.sum() == 20
    assert arrays.fp.sum() == arrays.fn.sum()


def test_a_table_gives_back_what_was_added():
    table = draw_table("abc")
    expected = count_pixels(*draw(ord("b"), 3, shape=(5 + ord("b") % 7, 9)), 3)
    np.testing.assert_array_equal(table.counts("b").confusion, expected.confusion)
    assert table.counts("b").ignored == expected.ignored
    assert (len(table), table.ids) == (3, ("a", "b", "c"))
    np.testing.assert_array_equal(table.confusion, sum(table.counts(sample_id).confusion for sample_id in "abc"))


def test_an_empty_table_has_empty_arrays():
    table = CountsTable(3)
    assert table.arrays().tp.shape == (0, 3)
    assert table.arrays().height.shape == (0,)
    assert table.confusion.tolist() == [[0] * 3] * 3


def test_an_image_cannot_be_added_twice():
    table = draw_table("ab")
    with pytest.raises(DataError, match=r"^sample 'a' was counted twice: every image must be scored once"):
        table.add("a", table.counts("a"))


def test_an_image_of_another_class_list_is_refused():
    with pytest.raises(DataError, match=r"^sample 'a' was counted with 2 classes, the table has 3: use one class list"):
        CountsTable(3).add("a", count_pixels(*draw(0, 2), 2))


@pytest.mark.parametrize("shards", [("abcdefg",), ("aceg", "bdf"), ("gf", "", "ed", "cba")])
def test_merged_shards_equal_the_table_of_one_process(shards):
    merged = CountsTable.merge([draw_table(shard) for shard in shards], ids=list("abcdefg"))
    assert_same(merged, draw_table("abcdefg"))


def test_shards_that_overlap_or_leave_gaps_are_refused():
    with pytest.raises(DataError, match=r"not make one whole:\n  - 'b' is in two tables"):
        CountsTable.merge([draw_table("ab"), draw_table("bc")], ids="abc")
    with pytest.raises(DataError, match=r"'d' is in no table\n  - 'c' is not in the list of ids"):
        CountsTable.merge([draw_table("ab"), draw_table("c")], ids="abd")
    with pytest.raises(DataError, match=r"sample 'a' was counted twice"):
        CountsTable.merge([draw_table("ab")], ids="aba")
    with pytest.raises(DataError, match=r"counted with 2 classes, the table has 3"):
        CountsTable.merge([draw_table("a"), draw_table("b", num_classes=2)], ids="ab")


@pytest.mark.parametrize("num_classes", [2, 3, 40])
def test_a_table_survives_csv(tmp_path, num_classes):
    table = draw_table(["a", 'comma, "quote"', "line\nbreak\r", "\r", "ünï", " 7 ", ""], num_classes)
    table.add("all ignored", count_pixels(*np.array([[[0]], [[255]]], np.uint8), num_classes))
    table.to_csv(tmp_path / "counts.csv")
    assert_same(CountsTable.from_csv(tmp_path / "counts.csv"), table)


def test_large_counts_survive_csv(tmp_path):
    table = CountsTable(2)
    table.add("scene", Counts(np.array([[2**60, 1], [0, 2**53 + 1]]), 2**31, 2**31))
    table.to_csv(tmp_path / "counts.csv")
    assert_same(CountsTable.from_csv(tmp_path / "counts.csv"), table)


def test_the_csv_is_readable(tmp_path):
    table = CountsTable(3)
    table.add("a", count_pixels(labels([0, 1, 1], [0, 1, 0], [2, 1, 2]), labels([0, 0, 1], [0, 1, 1], [2, 2, 255]), 3))
    table.to_csv(tmp_path / "counts.csv")
    assert (tmp_path / "counts.csv").read_text().splitlines() == [
        '"id","class","tp","fp","fn","tn","ignored","height","width","confused"',
        '"a",0,2,1,1,4,1,3,3,"1:1"',
        '"a",1,2,2,1,3,1,3,3,"0:1"',
        '"a",2,1,0,1,6,1,3,3,"1:1"',
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"a",0,2', '"a",0,3', "the columns contradict each other"),
        (",4,1,3,3", ",5,1,3,3", "the columns contradict each other"),
        ('"a",1,', '"a",0,', "the columns contradict each other"),
        ('"id"', '"name"', "the columns contradict each other"),
        ('"a",2,1', '"a",2,one', r"not a counts table \(invalid literal for int\(\) with base 10: 'one'\)"),
        ('"1:1"', '"9:1"', "not a counts table"),
        (',"1:1"', "", "not a counts table"),
    ],
)
def test_a_damaged_csv_is_refused(tmp_path, old, new, message):
    path = tmp_path / "counts.csv"
    table = CountsTable(3)
    table.add("a", count_pixels(labels([0, 1, 1], [0, 1, 0], [2, 1, 2]), labels([0, 0, 1], [0, 1, 1], [2, 2, 255]), 3))
    table.to_csv(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"counts\.csv: {message}.*Evaluate again"):
        CountsTable.from_csv(path)


@pytest.mark.parametrize("text", [None, "", '"id","class"\n', "\x00\xff", "a\n\nb\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "counts.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"counts\.csv: not a counts table"):
        CountsTable.from_csv(tmp_path / "counts.csv")
