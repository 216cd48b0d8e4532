import time

import numpy as np
import pytest
from scipy.ndimage import label

from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.objects import OBJECT_NAMES, measure_objects, object_columns, object_pooled

from .drawn_masks import blobs, disc, mask


def by_hand(prediction, truth):
    """Counts by comparing each pair of objects."""
    of_prediction, predicted = label(prediction, np.ones((3, 3)))
    of_truth, true = label(truth, np.ones((3, 3)))
    ious = []
    for left in range(1, predicted + 1):
        for right in range(1, true + 1):
            intersection = ((of_prediction == left) & (of_truth == right)).sum()
            iou = intersection / ((of_prediction == left) | (of_truth == right)).sum()
            ious += [iou] if iou > 0.5 else []
    return len(ious), predicted - len(ious), true - len(ious), sum(ious)


def counted(*images):
    table = MeasureTable(OBJECT_NAMES, 2)
    for number, (prediction, truth) in enumerate(images):
        table.add(str(number), measure_objects(prediction, truth, 2))
    return table


def test_objects_are_counted_as_by_hand():
    truth = mask("###...#", "###...#", ".......", "##....#")
    prediction = mask("##....#", "##....#", ".......", "...##..")
    # 6 pixels, 4 of them found: IoU 4/6. 2 of 2: IoU 1. The two below are missed, the one below is false.
    found = measure_objects(prediction, truth, 2)
    np.testing.assert_allclose(found, [[0, 0, 0, 0], [2, 1, 2, 4 / 6 + 1]])
    assert found.dtype == np.float64
    columns = object_columns(counted((prediction, truth)))
    np.testing.assert_allclose(columns["object_f1"][:, 1], 2 / (2 + 1 / 2 + 2 / 2))
    np.testing.assert_allclose(columns["pq"][:, 1], (4 / 6 + 1) / (2 + 1 / 2 + 2 / 2))


def test_an_iou_of_exactly_one_half_is_no_match():
    assert measure_objects(mask("##.."), mask("####"), 2)[1].tolist() == [0, 1, 1, 0]
    assert measure_objects(mask("###."), mask("####"), 2)[1].tolist() == [1, 0, 0, 0.75]


def test_objects_that_touch_at_a_corner_are_one():
    assert measure_objects(mask("#..", ".#.", "..#"), mask("...", "...", "..."), 2)[1].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("seed", range(8))
def test_objects_equal_those_of_a_comparison_of_all_pairs(seed):
    truth = blobs(seed, 60, 80, scale=1.5, share=0.3)
    prediction = np.where(np.random.default_rng(seed).random(truth.shape) < 0.06, 1 - truth, truth)
    np.testing.assert_allclose(measure_objects(prediction, truth, 2)[1], by_hand(prediction, truth), rtol=1e-12)


def test_an_object_under_ignored_pixels_is_not_counted_and_one_that_reaches_into_them_is_cut():
    truth = mask("##...", "##...", ".....", "###..")
    prediction = mask("##..#", "##..#", ".....", "#####")
    truth[:2, 4] = truth[3, 3:] = 255
    assert measure_objects(prediction, truth, 2)[1].tolist() == [2, 0, 0, 2.0]


def test_each_class_and_each_label_is_counted_by_itself():
    truth = np.array([[1, 1, 2, 2, 0, 0]], np.uint8)
    prediction = np.array([[1, 1, 1, 2, 2, 0]], np.uint8)
    found = measure_objects(prediction, truth, 4)
    np.testing.assert_allclose(found, [[0] * 4, [1, 0, 0, 2 / 3], [0, 1, 1, 0], [0] * 4])
    bits = measure_objects(np.array([[3, 3, 0]], np.uint8), np.array([[1, 3, 2]], np.uint8), 3, "multilabel")
    np.testing.assert_allclose(bits, [[0] * 4, [1, 0, 0, 1], [0, 1, 1, 0]])


def test_an_image_without_objects_has_no_score_and_adds_nothing_to_the_pooled_one():
    nothing, one = mask("....", "...."), mask("##..", "....")
    table = counted((nothing, nothing), (one, one), (nothing, one))
    columns, pooled = object_columns(table), object_pooled(table)
    for name in ("object_f1", "pq"):
        np.testing.assert_array_equal(columns[name], [[np.nan, np.nan], [np.nan, 1.0], [np.nan, 0.0]])
        np.testing.assert_allclose(pooled[name], [np.nan, 1 / 1.5])


def test_pooled_scores_weigh_objects_and_not_images():
    many = mask("#.#.#.#", ".......")
    few = mask("#......", ".......")
    table = counted((many, many), (mask(".......", "......#"), few))
    np.testing.assert_allclose(object_pooled(table)["object_f1"][1], 4 / (4 + 0.5 + 0.5))
    np.testing.assert_allclose(object_columns(table)["object_f1"][:, 1].mean(), 0.5)


def test_the_panoptic_quality_is_the_f1_times_the_mean_iou_of_the_matches():
    table = counted((disc(60, 20, 20, 12), disc(60, 22, 20, 12) | disc(60, 50, 50, 5)))
    tp, _, _, iou_sum = (table.column(name)[0, 1] for name in OBJECT_NAMES)
    columns = object_columns(table)
    np.testing.assert_allclose(columns["pq"][0, 1], columns["object_f1"][0, 1] * iou_sum / tp)


def test_single_pixels_all_over_a_large_image_need_little_memory_and_time():
    truth, prediction = (np.zeros((1024, 1024), np.uint8) for _ in range(2))
    truth[::2, ::2] = prediction[::2, ::2] = 1  # a table of all pairs would hold 7e10 cells
    prediction[::8] = 0
    started = time.process_time()
    found = measure_objects(prediction, truth, 2)[1]
    assert found.tolist() == [512 * 512 * 3 / 4, 0, 512 * 512 / 4, 512 * 512 * 3 / 4]
    assert time.process_time() - started < 5
