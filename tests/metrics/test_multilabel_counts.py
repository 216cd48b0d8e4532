import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays
from sklearn.metrics import multilabel_confusion_matrix

from seg_scse.errors import ConfigError, DataError
from seg_scse.metrics import pixels as pixels_module
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.scores import METRICS, averages, cases, foreground_score, per_image_scores, score_table

SKY = ("neither", "cloud", "shadow")


def bits(*rows):
    return np.array(rows, np.uint8)


# cloud is bit 1, shadow bit 2, 3 both
TRUTH = bits([0, 1, 3], [2, 3, 255], [0, 0, 1])
PREDICTION = bits([0, 3, 3], [2, 1, 3], [1, 0, 0])


def draw(seed, num_classes=4, shape=(13, 17)):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 1 << (num_classes - 1), shape, dtype=np.uint8)
    flips = random.integers(0, 1 << (num_classes - 1), shape, dtype=np.uint8)
    prediction = np.where(random.random(shape) < 0.6, truth, truth ^ flips)
    truth[random.random(shape) < 0.1] = 255
    return prediction, truth


def count(prediction, truth, num_classes=3):
    return count_pixels(prediction, truth, num_classes, "multilabel")


def table_of(*pairs, num_classes=3):
    """Pairs of prediction and truth."""
    table = CountsTable(num_classes, "multilabel")
    for index, (prediction, truth) in enumerate(pairs):
        table.add(str(index), count(prediction, truth, num_classes))
    return table


def draw_table(seeds, num_classes=4):
    table = CountsTable(num_classes, "multilabel")
    for seed in seeds:
        table.add(str(seed), count(*draw(seed, num_classes, (5 + seed % 7, 9)), num_classes))
    return table


def assert_same(first, second):
    assert (first.ids, first.task, first.num_classes) == (second.ids, second.task, second.num_classes)
    for left, right in zip(first.arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == np.int64


def test_a_3x3_image_is_counted_as_by_hand():
    counts = count(PREDICTION, TRUTH)
    assert (counts.task, counts.ignored, counts.height, counts.width) == ("multilabel", 1, 3, 3)
    # each [[tn, fp], [fn, tp]]
    assert counts.confusion.tolist() == [[[4, 1], [1, 2]], [[3, 1], [1, 3]], [[4, 1], [1, 2]]]
    table = table_of((PREDICTION, TRUTH))
    arrays = table.arrays()
    assert [column.tolist() for column in arrays[:4]] == [[[2, 3, 2]], [[1, 1, 1]], [[1, 1, 1]], [[4, 3, 4]]]
    assert [column.tolist() for column in arrays[4:]] == [[1], [3], [3]]
    assert table.confusion is None, "a pixel of two classes has no place in one matrix"


@pytest.mark.parametrize("num_classes", [2, 4, 8])
def test_counts_equal_those_of_scikit_learn(num_classes):
    prediction, truth = draw(0, num_classes, shape=(61, 83))
    valid = truth != 255

    def unpacked(values):
        return np.stack([values == 0, *(values >> bit & 1 for bit in range(num_classes - 1))], axis=1).astype(int)

    counts = count(prediction, truth, num_classes)
    expected = multilabel_confusion_matrix(unpacked(truth[valid]), unpacked(prediction[valid]))
    np.testing.assert_array_equal(counts.confusion, expected)
    assert counts.ignored == (~valid).sum()


@given(drawn_arrays(np.uint8, (4, 5), elements=st.integers(0, 7)), st.data())
def test_each_label_is_counted_as_a_problem_of_two_classes(prediction, data):
    truth = data.draw(drawn_arrays(np.uint8, (4, 5), elements=st.sampled_from([*range(8), 255])))
    whole = count(prediction, truth, 4)
    for index in range(4):

        def alone(values, index=index):
            present = values == 0 if index == 0 else values >> (index - 1) & 1
            return np.where(values == 255, 255, present).astype(np.uint8)

        expected = count_pixels(alone(prediction), alone(truth), 2)
        np.testing.assert_array_equal(whole.confusion[index], expected.confusion)


def test_one_label_is_scored_like_two_classes():
    prediction, truth = draw(5, num_classes=2)
    two = CountsTable(2)
    two.add("0", count_pixels(prediction, truth, 2))
    for found, expected in zip(table_of((prediction, truth), num_classes=2).arrays(), two.arrays(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_counts_do_not_depend_on_strips_and_keep_no_larger_array_alive(monkeypatch):
    whole = count(*draw(1), 4)
    monkeypatch.setattr(pixels_module, "STRIP_PIXELS", 10)
    np.testing.assert_array_equal(count(*draw(1), 4).confusion, whole.confusion)
    base = whole.confusion.base
    assert base is None or base.nbytes == whole.confusion.nbytes


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (bits([0, 4]), bits([0, 1]), r"^prediction holds the value 4 \(1 pixels\), but the 2 labels .* 0 to 3: check"),
        (bits([0, 255]), bits([0, 255]), r"^prediction holds the value 255 \(1 pixels\)"),
        (bits([0, 1]), bits([9, 9]), r"^truth holds the value 9 \(2 pixels\), but the 2 labels after the first class"),
        (bits([0, 1]), bits([0], [1]), r"^prediction has shape \(1, 2\), truth \(2, 1\)"),
    ],
)
def test_a_map_with_bits_that_are_no_class_is_refused(prediction, truth, message):
    with pytest.raises(DataError, match=message):
        count(prediction, truth)


def test_with_seven_labels_the_eighth_bit_is_only_for_ignored_pixels():
    assert count(bits([127, 0]), bits([127, 255]), 8).ignored == 1
    with pytest.raises(DataError, match=r"^truth holds the value 254"):
        count(bits([127, 0]), bits([127, 254]), 8)
    with pytest.raises(ConfigError, match=r"^8 labels: a multilabel mask has room for 7\. Leave some out"):
        count(bits([1]), bits([1]), 9)


def test_scores_equal_those_by_hand():
    scores = score_table(table_of((PREDICTION, TRUTH)), SKY, "exclude")
    assert scores["dice_per_image"] == pytest.approx(
        {"foreground": (6 / 8 + 4 / 6) / 2, "neither": 4 / 6, "cloud": 6 / 8, "shadow": 4 / 6}
    )
    assert scores["iou_pooled"]["cloud"] == pytest.approx(3 / 5)
    assert scores["specificity_pooled"] == pytest.approx(
        {"foreground": (3 / 4 + 4 / 5) / 2, "neither": 4 / 5, "cloud": 3 / 4, "shadow": 4 / 5}
    )
    assert scores["accuracy_pooled"]["shadow"] == pytest.approx(6 / 8)
    found = averages(table_of((PREDICTION, TRUTH)), SKY, "exclude")["dice_per_image"]
    assert found["micro_foreground"] == pytest.approx(10 / 14)
    assert found["micro_all"] == pytest.approx(14 / 20)
    assert found["weighted_foreground"] == pytest.approx((4 * 6 / 8 + 3 * 4 / 6) / 7)


EMPTY, CLOUDY, IGNORED = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8), np.full((3, 3), 255, np.uint8)
ONE = bits([1, 0, 0], [0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    ("prediction", "truth", "dice"),
    [
        # neither, cloud, shadow; shadow is nowhere in these
        pytest.param(PREDICTION & 1, PREDICTION & 1, (1.0, 1.0, None), id="perfect"),
        pytest.param(EMPTY, EMPTY, (1.0, None, None), id="empty truth, empty prediction"),
        pytest.param(ONE, EMPTY, (16 / 17, 0.0, None), id="empty truth, one false pixel"),
        pytest.param(CLOUDY, CLOUDY, (None, 1.0, None), id="one class only"),
        pytest.param(CLOUDY, IGNORED, (None, None, None), id="all ignored"),
    ],
)
def test_scores_of_one_image_equal_those_by_hand(prediction, truth, dice):
    scores = score_table(table_of((prediction, truth)), SKY, "exclude")
    for name in ("dice_per_image", "dice_pooled"):
        assert tuple(scores[name][label] for label in SKY) == pytest.approx(dice)
    assert all(by_class["shadow"] is None for by_class in scores.values())


@pytest.mark.parametrize(("empty", "made_up"), [("one", 1), ("zero", 0)])
def test_the_policy_scores_images_without_the_label(empty, made_up):
    table = table_of((PREDICTION, TRUTH), (EMPTY, EMPTY), (ONE, IGNORED))
    assert score_table(table, SKY, empty)["dice_per_image"]["cloud"] == pytest.approx((6 / 8 + made_up) / 2)
    assert cases(table, SKY)["cloud"] == {"scored": 1, "empty": 2, "missed": 0, "false": 0}
    assert foreground_score(table, "dice_per_image", empty) == pytest.approx(
        score_table(table, SKY, empty)["dice_per_image"]["foreground"]
    )
    assert len(per_image_scores(table, SKY, empty)[0]) == 4 + 4 * len(METRICS)


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_merged_shards_equal_the_table_of_one_process(shards):
    parts = [draw_table(range(start, 9, shards)) for start in range(shards)]
    assert_same(CountsTable.merge(parts, [str(seed) for seed in range(9)]), draw_table(range(9)))


def test_tables_of_two_tasks_do_not_mix():
    with pytest.raises(DataError, match=r"^sample 'a' was counted as multiclass, the table is multilabel"):
        CountsTable(2, "multilabel").add("a", count_pixels(bits([1]), bits([1]), 2))
    with pytest.raises(DataError, match=r"counted with 3 classes, the table has 4: use one class list"):
        CountsTable(4, "multilabel").add("a", count(PREDICTION, TRUTH))


@pytest.mark.parametrize("num_classes", [2, 4, 8])
def test_a_table_survives_csv(tmp_path, num_classes):
    table = draw_table(range(4), num_classes)
    table.add('comma, "quote"\r\n', count(EMPTY, IGNORED, num_classes))
    table.to_csv(tmp_path / "counts.csv")
    assert_same(CountsTable.from_csv(tmp_path / "counts.csv"), table)


def test_the_csv_is_readable_and_has_no_column_of_confusions(tmp_path):
    table_of((PREDICTION, TRUTH)).to_csv(tmp_path / "counts.csv")
    assert (tmp_path / "counts.csv").read_text().splitlines() == [
        '"id","class","tp","fp","fn","tn","ignored","height","width"',
        '"0",0,2,1,1,4,1,3,3',
        '"0",1,3,1,1,3,1,3,3',
        '"0",2,2,1,1,4,1,3,3',
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"0",0,2', '"0",0,3', "the columns contradict each other"),
        ('"0",2,2', '"0",2,3', "the columns contradict each other"),
        (",3,1,3,3", ",3,2,3,3", "the columns contradict each other"),
        ('"0",1,', '"0",0,', "the columns contradict each other"),
        ('"tp"', '"fp"', "the columns contradict each other"),
        (',"width"', ',"width","confused"', "not a counts table"),
        ('"0",2,2', '"0",2,two', r"not a counts table \(invalid literal"),
        ('"0",2,2,', '"0",2,', "the columns contradict each other"),
    ],
)
def test_a_damaged_csv_is_refused(tmp_path, old, new, message):
    path = tmp_path / "counts.csv"
    table_of((PREDICTION, TRUTH)).to_csv(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"counts\.csv: {message}.*Evaluate again"):
        CountsTable.from_csv(path)
