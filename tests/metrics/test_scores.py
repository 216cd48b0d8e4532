import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_scse.errors import ConfigError
from seg_scse.metrics.counts import Counts, CountsTable, count_pixels
from seg_scse.metrics.scores import (
    METRICS,
    cases,
    column_scores,
    foreground_score,
    image_scores,
    per_image_rows,
    per_image_scores,
    score_table,
)

CELLS = ("background", "cell")
TISSUE = ("background", "gland", "stroma")


def labels(*rows):
    return np.array(rows, np.uint8)


NOTHING = labels([0, 0, 0], [0, 0, 0], [0, 0, 0])
CORNER = labels([0, 0, 0], [0, 0, 0], [0, 0, 1])
SQUARE = labels([1, 1, 0], [1, 1, 0], [0, 0, 0])
COLUMN = labels([1, 0, 0], [1, 0, 0], [1, 0, 0])
EVERYTHING = labels([1, 1, 1], [1, 1, 1], [1, 1, 1])
IGNORED = np.full((3, 3), 255, np.uint8)


def table_of(*pairs, num_classes=2):
    """Pairs of prediction and truth."""
    table = CountsTable(num_classes)
    for index, (prediction, truth) in enumerate(pairs):
        table.add(str(index), count_pixels(prediction, truth, num_classes))
    return table


def scores_of(name, *pairs, empty="exclude"):
    """All METRICS of one averaging for the class `cell`."""
    table = score_table(table_of(*pairs), CELLS, empty)
    return tuple(table[f"{metric}_{name}"]["cell"] for metric in METRICS)


@pytest.mark.parametrize("name", ["per_image", "pooled"])
@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        pytest.param(SQUARE, SQUARE, (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0), id="perfect"),
        pytest.param(NOTHING, NOTHING, (None,) * 8, id="empty truth, empty prediction"),
        pytest.param(
            CORNER, NOTHING, (0.0, 0.0, 0.0, None, 8 / 9, 8 / 9, None, None), id="empty truth, one false pixel"
        ),
        pytest.param(NOTHING, CORNER, (0.0, 0.0, None, 0.0, 1.0, 8 / 9, 1.0, -1.0), id="one pixel, empty prediction"),
        # COLUMN against SQUARE: tp = 2, fp = 1, fn = 2, tn = 4
        pytest.param(COLUMN, SQUARE, (4 / 7, 2 / 5, 2 / 3, 2 / 4, 4 / 5, 6 / 9, 1 / 4, -1 / 4), id="overlap"),
        pytest.param(EVERYTHING, EVERYTHING, (1.0, 1.0, 1.0, 1.0, None, 1.0, 0.0, 0.0), id="one class only"),
        pytest.param(EVERYTHING, CORNER, (2 / 10, 1 / 9, 1 / 9, 1.0, 0.0, 1 / 9, 8.0, 8.0), id="all predicted"),
        pytest.param(COLUMN, IGNORED, (None,) * 8, id="all ignored"),
    ],
)
def test_scores_of_one_image_equal_those_by_hand(name, prediction, truth, expected):
    assert scores_of(name, (prediction, truth)) == pytest.approx(expected)


def test_ignored_pixels_change_no_score():
    truth = SQUARE.copy()
    truth[0, 0] = 255  # a hit
    truth[2, 0] = 255  # the false positive
    assert scores_of("pooled", (COLUMN, truth)) == (2 / 4, 1 / 3, 1.0, 1 / 3, 1.0, 5 / 7, 2 / 3, -2 / 3)


def test_pooled_and_per_image_means_equal_those_by_hand():
    pairs = (SQUARE, SQUARE), (COLUMN, SQUARE), (CORNER, NOTHING), (NOTHING, NOTHING), (COLUMN, IGNORED)
    # dice 1, 4/7, 0, -, -; the sums over the images: tp = 6, fp = 2, fn = 2, tn = 26
    shared = (1 + 4 / 7 + 0) / 3, (1 + 2 / 5 + 0) / 3, (1 + 2 / 3 + 0) / 3, (1 + 1 / 2) / 2
    right = (1 + 4 / 5 + 8 / 9 + 1) / 4, (1 + 6 / 9 + 8 / 9 + 1) / 4
    assert scores_of("per_image", *pairs) == pytest.approx((*shared, *right, (0 + 1 / 4) / 2, (0 - 1 / 4) / 2))
    assert scores_of("pooled", *pairs) == pytest.approx((12 / 16, 6 / 10, 6 / 8, 6 / 8, 26 / 28, 32 / 36, 0, 0))


def test_the_cases_of_a_class_are_counted_by_where_it_is():
    pairs = (COLUMN, SQUARE), (CORNER, NOTHING), (NOTHING, CORNER), (NOTHING, SQUARE), (NOTHING, NOTHING)
    assert cases(table_of(*pairs, (COLUMN, IGNORED)), CELLS) == {
        "background": {"scored": 5, "empty": 1, "missed": 0, "false": 0},
        "cell": {"scored": 4, "empty": 2, "missed": 2, "false": 1},
    }
    assert cases(table_of((EVERYTHING, CORNER), (CORNER, EVERYTHING)), CELLS)["background"] == {
        "scored": 2,
        "empty": 0,
        "missed": 1,
        "false": 1,
    }


@pytest.mark.parametrize(("empty", "dice"), [("exclude", 3 / 3), ("one", 4 / 4), ("zero", 3 / 4)])
def test_the_policy_scores_images_without_the_class(empty, dice):
    pairs = (SQUARE, SQUARE), (SQUARE, SQUARE), (SQUARE, SQUARE), (NOTHING, NOTHING)
    assert scores_of("per_image", *pairs, empty=empty) == (dice,) * 4 + (1.0, 1.0, 0.0, 0.0)
    assert scores_of("pooled", *pairs, empty=empty) == (1.0,) * 6 + (0.0, 0.0)


@pytest.mark.parametrize(("empty", "made_up"), [("one", 1), ("zero", 0)])
def test_the_policy_touches_no_other_zero_over_zero(empty, made_up):
    # Images: a hit, a false positive (no recall), a miss (no precision), neither, all ignored.
    pairs = (SQUARE, SQUARE), (CORNER, NOTHING), (NOTHING, CORNER), (NOTHING, NOTHING), (COLUMN, IGNORED)
    ruled = (1 + 0 + 0 + made_up) / 4, (1 + 0 + 0 + made_up) / 4, (1 + 0 + made_up) / 3, (1 + 0 + made_up) / 3
    others = (1 + 8 / 9 + 1 + 1) / 4, (1 + 8 / 9 + 8 / 9 + 1) / 4, (0 + 1) / 2, (0 - 1) / 2
    assert scores_of("per_image", *pairs, empty=empty) == pytest.approx((*ruled, *others))


@pytest.mark.parametrize("empty", ["exclude", "one", "zero"])
def test_a_class_absent_from_the_whole_set_is_not_available(empty):
    table = table_of((SQUARE, SQUARE), (COLUMN, SQUARE), num_classes=3)
    scores = score_table(table, TISSUE, empty)
    for name, by_class in scores.items():
        assert by_class["stroma"] is None, name
        assert by_class["foreground"] == by_class["gland"], name
    assert scores["dice_per_image"]["gland"] == pytest.approx((1 + 4 / 7) / 2)
    assert cases(table, TISSUE)["stroma"] == {"scored": 0, "empty": 2, "missed": 0, "false": 0}
    for row in per_image_scores(table, TISSUE, empty):
        assert [row[f"{metric}_stroma"] for metric in METRICS] == [None] * 8


def test_the_foreground_is_the_mean_over_the_foreground_classes():
    truth = labels([0, 0, 1], [0, 1, 1], [2, 2, 255])
    prediction = labels([0, 1, 1], [0, 1, 0], [2, 1, 2])
    # gland: tp 2, fp 2, fn 1; stroma: tp 1, fp 0, fn 1. Second image: gland perfect, no stroma.
    scores = score_table(table_of((prediction, truth), (SQUARE, SQUARE), num_classes=3), TISSUE, "exclude")
    assert scores["dice_per_image"] == pytest.approx(
        {"foreground": ((4 / 7 + 1) / 2 + 2 / 3) / 2, "background": (2 / 3 + 1) / 2, "gland": 11 / 14, "stroma": 2 / 3}
    )
    assert scores["iou_pooled"] == pytest.approx(
        {"foreground": (6 / 9 + 1 / 2) / 2, "background": 7 / 9, "gland": 6 / 9, "stroma": 1 / 2}
    )
    assert scores["precision_pooled"]["foreground"] == pytest.approx((6 / 8 + 1) / 2)
    assert scores["recall_pooled"]["foreground"] == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert list(scores["dice_pooled"]) == ["foreground", *TISSUE]


def test_rows_per_image_have_the_columns_of_the_csv():
    truth = labels([0, 0, 1], [0, 1, 1], [2, 2, 255])
    prediction = labels([0, 1, 1], [0, 1, 0], [2, 1, 2])
    table = table_of((prediction, truth), (SQUARE[:2], SQUARE[:2]), (COLUMN, IGNORED), num_classes=3)
    rows = per_image_scores(table, TISSUE, "exclude")
    columns = [f"{metric}_{name}" for metric in METRICS for name in ("foreground", *TISSUE)]
    assert list(rows[0]) == ["id", "height", "width", "ignored", *columns]
    assert [list(row.values())[:4] for row in rows] == [["0", 3, 3, 1], ["1", 2, 3, 0], ["2", 3, 3, 9]]
    assert [row["dice_foreground"] for row in rows] == [pytest.approx((4 / 7 + 2 / 3) / 2), 1.0, None]
    assert [row["recall_stroma"] for row in rows] == [0.5, None, None]
    assert all(type(value) in (str, int, float, type(None)) for row in rows for value in row.values())


@pytest.mark.parametrize("empty", ["exclude", "one", "zero"])
def test_the_monitor_equals_the_table(empty):
    table = random_table(range(6))
    scores = score_table(table, TISSUE, empty)
    for name, by_class in scores.items():
        assert foreground_score(table, name, empty) == by_class["foreground"]
    assert foreground_score(CountsTable(3), "dice_per_image", empty) is None


def test_a_set_without_images_has_no_scores():
    scores = score_table(CountsTable(2), CELLS, "one")
    assert len(scores) == 16
    assert {value for by_class in scores.values() for value in by_class.values()} == {None}
    assert per_image_scores(CountsTable(2), CELLS, "one") == []


def random_pair(seed):
    """The third class is in every other image only; sizes differ."""
    random = np.random.default_rng(seed)
    shape = (7 + seed % 5, 11)
    truth = random.integers(0, 2 + seed % 2, shape).astype(np.uint8)
    prediction = np.where(random.random(shape) < 0.7, truth, random.integers(0, 2, shape)).astype(np.uint8)
    truth[random.random(shape) < 0.1] = 255
    return prediction, truth


def random_table(seeds):
    table = CountsTable(3)
    for seed in seeds:
        table.add(str(seed), count_pixels(*random_pair(seed), 3))
    return table


@pytest.mark.parametrize("shards", [1, 2, 3, 8])
def test_scores_do_not_depend_on_order_or_shards(shards):
    whole = score_table(random_table(range(24)), TISSUE, "exclude")
    backwards = random_table(reversed(range(24)))
    assert score_table(backwards, TISSUE, "exclude") == whole
    parts = [random_table(range(start, 24, shards)) for start in range(shards)]
    merged = CountsTable.merge(parts, ids=[str(seed) for seed in range(24)])
    assert score_table(merged, TISSUE, "exclude") == whole


def test_scores_survive_the_csv(tmp_path):
    table = random_table(range(5))
    table.to_csv(tmp_path / "counts.csv")
    again = CountsTable.from_csv(tmp_path / "counts.csv")
    assert score_table(again, TISSUE, "one") == score_table(table, TISSUE, "one")


pixels = st.integers(0, 10**6)


@given(pixels, pixels, pixels, pixels)
def test_dice_and_iou_of_one_pair_of_counts_are_bound_and_symmetric(tp, fp, fn, tn):
    both = []
    for confusion in ([[tn, fp], [fn, tp]], [[tn, fn], [fp, tp]]):
        table = CountsTable(2)
        table.add("x", Counts(np.array(confusion, np.int64), tp + fp + fn + tn, 1))
        both.append({metric: values[0, 1] for metric, values in image_scores(table, "exclude").items()})
    one, swapped = both
    if tp + fp + fn == 0:
        assert np.isnan(list(one.values())).all()
        return
    assert one["volume_bias"] >= -1 or np.isnan(one["volume_bias"])
    np.testing.assert_equal(one.pop("volume_error"), abs(one.pop("volume_bias")))
    assert one["dice"] == pytest.approx(2 * one["iou"] / (1 + one["iou"]))
    assert (one["dice"], one["iou"]) == (swapped["dice"], swapped["iou"])
    np.testing.assert_equal((one["precision"], one["recall"]), (swapped["recall"], swapped["precision"]))
    assert all(0 <= value <= 1 for value in one.values() if not np.isnan(value))


def test_dice_and_iou_of_a_mean_break_the_rule_for_one_pair():
    scores = score_table(table_of((SQUARE, SQUARE), (COLUMN, SQUARE)), CELLS, "exclude")
    iou = scores["iou_per_image"]["cell"]
    assert abs(scores["dice_per_image"]["cell"] - 2 * iou / (1 + iou)) > 0.01


def test_a_column_of_any_score_is_averaged_like_those_of_pixels():
    column = np.array([[0.5, 1.0, 7.0], [np.nan, 3.0, np.nan], [np.nan, np.nan, np.nan]])
    assert column_scores(column, TISSUE) == {"foreground": 4.5, "background": 0.5, "gland": 2.0, "stroma": 7.0}
    assert set(column_scores(column[2:], TISSUE).values()) == {None}
    table = random_table(range(6))
    by_image = image_scores(table, "one")
    scores = score_table(table, TISSUE, "one")
    assert {f"{name}_per_image": column_scores(by_image[name], TISSUE) for name in METRICS} == {
        name: value for name, value in scores.items() if name.endswith("_per_image")
    }


def test_rows_hold_every_column_in_the_order_given():
    table = table_of((SQUARE, SQUARE), (COLUMN, IGNORED), num_classes=3)
    columns = {"hd95": np.array([[np.nan, 1.5, 2.5], [np.nan, np.nan, np.nan]]), "pq": np.zeros((2, 3))}
    rows = per_image_rows(table.ids, table.arrays(), columns, TISSUE)
    assert list(rows[0].items())[:8] == [
        ("id", "0"),
        ("height", 3),
        ("width", 3),
        ("ignored", 0),
        ("hd95_foreground", 2.0),
        ("hd95_background", None),
        ("hd95_gland", 1.5),
        ("hd95_stroma", 2.5),
    ]
    assert list(rows[1].values())[3:9] == [9, None, None, None, None, 0.0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("background", "a"), r"^classes=\['background', 'a'\] has 2 names for counts of 3 classes: give one name"),
        (("background", "foreground", "edge"), r"'foreground' would be both a class and the mean.*Rename the class"),
        (("foreground", "a", "b"), r"'foreground' would be both a class and the mean"),
    ],
)
def test_class_names_that_mislead_are_refused(classes, message):
    for function in (lambda table: score_table(table, classes, "exclude"), lambda table: cases(table, classes)):
        with pytest.raises(ConfigError, match=message):
            function(random_table(range(2)))


def test_the_only_foreground_class_may_be_called_foreground():
    scores = score_table(table_of((COLUMN, SQUARE)), ("background", "foreground"), "exclude")
    assert scores["dice_pooled"]["foreground"] == pytest.approx(4 / 7)
    assert list(scores["dice_pooled"]) == ["foreground", "background"]
    with pytest.raises(ConfigError, match="Rename the class"):
        score_table(table_of((COLUMN, SQUARE)), ("foreground", "background"), "exclude")
