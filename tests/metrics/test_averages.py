import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_scse.errors import ConfigError
from seg_scse.metrics.counts import Counts, CountsTable, count_pixels
from seg_scse.metrics.scores import averages, score_table

CELLS = ("background", "cell")
TISSUE = ("background", "gland", "stroma")
METRICS = ("dice", "iou", "precision", "recall")
KEYS = {f"{kind}_{over}" for kind in ("macro", "micro", "weighted") for over in ("foreground", "all")}


def labels(*rows):
    return np.array(rows, np.uint8)


NOTHING = labels([0, 0, 0], [0, 0, 0], [0, 0, 0])
CORNER = labels([0, 0, 0], [0, 0, 0], [0, 0, 1])
SQUARE = labels([1, 1, 0], [1, 1, 0], [0, 0, 0])
EVERYTHING = labels([1, 1, 1], [1, 1, 1], [1, 1, 1])
IGNORED = np.full((3, 3), 255, np.uint8)
TRUTH = labels([0, 0, 1], [0, 1, 1], [2, 2, 255])
PREDICTION = labels([0, 1, 1], [0, 1, 0], [2, 1, 2])


def table_of(*pairs, num_classes=2):
    """Pairs of prediction and truth."""
    table = CountsTable(num_classes)
    for index, (prediction, truth) in enumerate(pairs):
        table.add(str(index), count_pixels(prediction, truth, num_classes))
    return table


def of_one_class(pairs, empty="exclude"):
    return averages(table_of(*pairs), CELLS, empty)


def test_all_averages_equal_those_by_hand():
    # First image: background tp 2, fp 1, fn 1; gland 2, 2, 1; stroma 1, 0, 1. Second: 5 and 4 pixels right, no stroma.
    # True pixels in both: 8, 7, 2.
    found = averages(table_of((PREDICTION, TRUTH), (SQUARE, SQUARE), num_classes=3), TISSUE, "exclude")
    assert set(found) == {f"{metric}_{kind}" for metric in METRICS for kind in ("per_image", "pooled")}
    background, gland, stroma = (4 / 6 + 1) / 2, (4 / 7 + 1) / 2, 2 / 3
    assert found["dice_per_image"] == pytest.approx(
        {
            "macro_foreground": (gland + stroma) / 2,
            "macro_all": (background + gland + stroma) / 3,
            "micro_foreground": (6 / 10 + 1) / 2,
            "micro_all": (10 / 16 + 1) / 2,
            "weighted_foreground": (7 * gland + 2 * stroma) / 9,
            "weighted_all": (8 * background + 7 * gland + 2 * stroma) / 17,
        }
    )
    background, gland, stroma = 7 / 9, 6 / 9, 1 / 2
    assert found["iou_pooled"] == pytest.approx(
        {
            "macro_foreground": (gland + stroma) / 2,
            "macro_all": (background + gland + stroma) / 3,
            "micro_foreground": 7 / 11,
            "micro_all": 14 / 20,
            "weighted_foreground": (7 * gland + 2 * stroma) / 9,
            "weighted_all": (8 * background + 7 * gland + 2 * stroma) / 17,
        }
    )
    assert found["precision_pooled"]["micro_foreground"] == pytest.approx(7 / 9)
    assert found["precision_per_image"]["micro_foreground"] == pytest.approx((3 / 5 + 1) / 2)
    assert found["recall_pooled"]["weighted_foreground"] == pytest.approx((7 * 6 / 7 + 2 * 1 / 2) / 9)


@pytest.mark.parametrize(
    ("prediction", "truth", "of_foreground", "of_all"),
    [
        # macro, micro and weighted Dice; the same per image and pooled, since there is one image
        pytest.param(SQUARE, SQUARE, (1, 1, 1), (1, 1, 1), id="perfect"),
        pytest.param(NOTHING, NOTHING, (None, None, None), (1, 1, 1), id="empty truth, empty prediction"),
        # false positives of a class without a true pixel have no weight
        pytest.param(CORNER, NOTHING, (0, 0, None), (8 / 17, 8 / 9, 16 / 17), id="empty truth, one false pixel"),
        pytest.param(NOTHING, CORNER, (0, 0, 0), (8 / 17, 8 / 9, 8 / 9 * 16 / 17), id="one pixel, empty prediction"),
        pytest.param(EVERYTHING, EVERYTHING, (1, 1, 1), (1, 1, 1), id="one class only"),
        pytest.param(SQUARE, IGNORED, (None, None, None), (None, None, None), id="all ignored"),
    ],
)
def test_averages_of_one_image_equal_those_by_hand(prediction, truth, of_foreground, of_all):
    found = of_one_class([(prediction, truth)])
    for name in ("dice_per_image", "dice_pooled"):
        for over, expected in (("foreground", of_foreground), ("all", of_all)):
            got = tuple(found[name][f"{kind}_{over}"] for kind in ("macro", "micro", "weighted"))
            assert got == pytest.approx(expected), (name, over)


def test_an_absent_class_is_left_out_of_every_average():
    pairs = [(PREDICTION.clip(0, 1), TRUTH.clip(0, 1)), (SQUARE, CORNER)]
    without, among = table_of(*pairs, num_classes=2), table_of(*pairs, num_classes=3)
    for empty in ("exclude", "one", "zero"):
        assert averages(among, TISSUE, empty) == averages(without, CELLS, empty)


@pytest.mark.parametrize(("empty", "dice"), [("exclude", 1 / 1), ("one", 2 / 2), ("zero", 1 / 2)])
def test_the_policy_rules_over_images_without_any_of_the_classes(empty, dice):
    found = of_one_class([(SQUARE, SQUARE), (NOTHING, NOTHING), (SQUARE, IGNORED)], empty)
    assert found["dice_per_image"]["micro_foreground"] == dice
    assert found["dice_per_image"]["micro_all"] == 1
    assert found["dice_pooled"]["micro_foreground"] == 1


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"has 3 names for counts of 2 classes"):
        averages(table_of((SQUARE, SQUARE)), TISSUE, "exclude")


def test_a_set_without_images_has_no_averages():
    for by_average in averages(CountsTable(3), TISSUE, "one").values():
        assert by_average == dict.fromkeys(KEYS)


matrices = st.lists(
    st.lists(st.integers(0, 50), min_size=9, max_size=9).map(lambda cells: np.reshape(cells, (3, 3))), max_size=4
)


@given(matrices, st.sampled_from(["exclude", "one", "zero"]))
def test_averages_keep_the_identities_of_their_definitions(confusions, empty):
    table = CountsTable(3)
    for index, confusion in enumerate(confusions):
        table.add(str(index), Counts(confusion.astype(np.int64), int(confusion.sum()), 1))
    found, scores = averages(table, TISSUE, empty), score_table(table, TISSUE, empty)
    for name, by_average in found.items():
        assert set(by_average) == KEYS
        assert by_average["macro_foreground"] == scores[name]["foreground"]
        assert all(value is None or 0 <= value <= 1 for value in by_average.values())
    # Each wrong pixel is a false positive of one class and a false negative of another.
    total = sum(confusions, np.zeros((3, 3)))
    accuracy = total.trace() / total.sum() if total.any() else None
    for metric in ("dice", "precision", "recall"):
        assert found[f"{metric}_pooled"]["micro_all"] == pytest.approx(accuracy)
    assert found["recall_pooled"]["weighted_all"] == pytest.approx(accuracy)
