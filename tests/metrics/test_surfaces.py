import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt

from seg_scse.errors import DataError
from seg_scse.metrics.surfaces import SURFACE_NAMES, measure_surfaces

from .drawn_masks import blobs, disc, mask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

HD95, ASSD, NSD, BOUNDARY_IOU = range(4)
SPACINGS = [(1.0, 1.0), (0.5, 0.5), (1.0, 0.3), (0.7, 2.9)]


def score(prediction, truth, spacing=(1.0, 1.0), tolerance=2.0):
    return measure_surfaces(prediction, truth, 2, spacing, tolerance)[1]


def directed(prediction, truth, spacing):
    """Both directed distances, by transforms of the whole image in float64."""
    edges = [shape & ~binary_erosion(shape) for shape in (prediction, truth)]
    there = distance_transform_edt(edges[1] == 0, sampling=spacing)[edges[0] == 1]
    return there, distance_transform_edt(edges[0] == 0, sampling=spacing)[edges[1] == 1]


def oracle(prediction, truth, spacing, tolerance):
    there, back = directed(prediction, truth, spacing)
    both = np.concatenate([there, back])
    width = max(1, round(0.02 * np.hypot(*truth.shape)))
    square = np.ones((2 * width + 1,) * 2)
    bands = [shape & ~binary_erosion(shape, square) for shape in (prediction, truth)]
    return (
        max(np.percentile(there, 95), np.percentile(back, 95)),
        both.mean(),
        (both <= tolerance).mean(),
        (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum(),
    )


def monai(function, prediction, truth, spacing, **options):
    pair = [torch.from_numpy(shape)[None, None] for shape in (prediction, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*pair, include_background=True, spacing=spacing, **options))


def monai_scores(prediction, truth, spacing, tolerance):
    return (
        monai(compute_hausdorff_distance, prediction, truth, spacing, percentile=95),
        monai(compute_average_surface_distance, prediction, truth, spacing, symmetric=True),
        monai(compute_surface_dice, prediction, truth, spacing, class_thresholds=[tolerance]),
    )


PAIRS = {
    "moved disc": (disc(120, 55, 60, 30), disc(120, 58, 63, 28)),
    "small in large": (disc(150, 30, 35, 5), disc(150, 75, 75, 70)),
    "far apart": (disc(200, 20, 25, 9), disc(200, 180, 170, 12)),
    "cut by the frame": (disc(90, 5, 80, 40), disc(90, 0, 85, 33)),
    "fine": (blobs(0, 90, 140, 0.7), blobs(1, 90, 140, 0.7)),
    "coarse": (blobs(2, 200, 130, 8), blobs(3, 200, 130, 8)),
    "false islands": (blobs(4, 100, 160, 1, 0.02) | disc(160, 60, 80, 30)[:100], disc(160, 60, 80, 30)[:100]),
    "whole frame": (np.ones((40, 60), np.uint8), blobs(5, 40, 60, 4)),
    "single pixels": (mask("#....", ".....", "....."), mask(".....", ".....", "....#")),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_scores_equal_those_of_distance_transforms_of_the_whole_image(name, spacing):
    for tolerance in (0.5, 2.0):
        found = score(*PAIRS[name], spacing, tolerance)
        np.testing.assert_allclose(found, oracle(*PAIRS[name], spacing, tolerance), rtol=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_distances_equal_those_of_monai(name, spacing):
    found = score(*PAIRS[name], spacing, tolerance=2.0)
    np.testing.assert_allclose(found[:3], monai_scores(*PAIRS[name], spacing, 2.0), rtol=2e-6)


def test_scores_of_two_squares_are_as_by_hand():
    truth, prediction = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    truth[10:15, 10:15] = 1
    prediction[10:15, 12:17] = 1
    # Of the 16 boundary pixels of either side, 6 lie on the other boundary and 5 two columns outside; of the other two
    # columns, 4 pixels are 1 from it and the one in the middle of the other square is 2 from it.
    assert score(prediction, truth, tolerance=1.0).tolist() == [2.0, (4 * 1 + 6 * 2) / 16, (6 + 4) / 16, 6 / 26]


def test_a_prediction_without_fault_has_distance_zero():
    for shape in (PAIRS["fine"][0], PAIRS["cut by the frame"][0], PAIRS["single pixels"][0]):
        np.testing.assert_array_equal(score(shape, shape), [0, 0, 1, 1])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_one_side_empty_scores_the_diagonal_and_zero(spacing):
    empty, shape = np.zeros((30, 40), np.uint8), np.pad(disc(20, 9, 9, 6), ((0, 10), (0, 20)))
    diagonal = np.hypot(30 * spacing[0], 40 * spacing[1])
    for pair in ((empty, shape), (shape, empty)):
        np.testing.assert_allclose(score(*pair, spacing), [diagonal, diagonal, 0, 0])


def test_a_class_in_neither_mask_and_the_background_are_not_scored():
    truth = np.where(disc(30, 15, 15, 8), np.uint8(2), np.uint8(0))
    found = measure_surfaces(truth, truth, 4, (1.0, 1.0), 2.0)
    assert found.shape == (4, len(SURFACE_NAMES))
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [True, True, False, True])
    np.testing.assert_array_equal(found[2], [0, 0, 1, 1])


def test_an_empty_prediction_of_an_object_in_a_corner_scores_zero_nsd():
    corner = np.zeros((20, 20), np.uint8)
    corner[:10, :10] = 1  # MetricsReloaded gives such an object 0.45
    assert score(np.zeros_like(corner), corner)[NSD] == 0


def test_each_class_is_scored_by_itself():
    classes = [disc(90, 30, 30, 20), disc(90, 60, 60, 15)]
    moved = [disc(90, 33, 30, 20), disc(90, 60, 66, 15)]
    truth, prediction = (first + 2 * (second & ~first) for first, second in (classes, moved))
    found = measure_surfaces(prediction, truth, 3, (1.0, 0.4), 2.0)
    for index in (1, 2):
        pair = [(labels == index).astype(np.uint8) for labels in (prediction, truth)]
        np.testing.assert_allclose(found[index], oracle(*pair, (1.0, 0.4), 2.0), rtol=1e-9)


def test_each_label_of_a_multilabel_map_is_scored_by_itself():
    first, second = PAIRS["moved disc"]
    third = disc(120, 80, 80, 25)
    truth, prediction = second + 4 * third, first + 4 * third
    found = measure_surfaces(prediction, truth, 4, (1.0, 1.0), 2.0, "multilabel")
    np.testing.assert_allclose(found[1], oracle(first, second, (1.0, 1.0), 2.0), rtol=1e-9)
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(found[3], [0, 0, 1, 1])


def test_ignored_pixels_far_from_the_object_change_nothing():
    prediction, truth = PAIRS["moved disc"]
    labelled = truth.copy()
    labelled[:10], labelled[:, 110:] = 255, 255
    np.testing.assert_array_equal(score(prediction, labelled), score(prediction, truth))


def test_where_ignored_pixels_hide_a_side_only_the_visible_boundary_counts():
    truth, prediction = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[5:10, 5:15] = 1
    prediction[5:12, 5:25] = 1
    truth[:, 12:] = 255
    # The right end is unknown on both sides; the lower side is 2 rows too low over 7 columns.
    hd95, assd, nsd, boundary_iou = score(prediction, truth, tolerance=1.0)
    assert hd95 == 2.0
    cut = [labels[:, :12] for labels in (prediction, truth)]
    there, back = directed(*[np.pad(labels, ((0, 0), (0, 9)), mode="edge") for labels in cut], (1, 1))
    assert there.max() == back.max() == 2.0
    assert 0 < assd < 2
    assert 0 < nsd < 1
    assert 0 < boundary_iou < 1


def test_an_object_between_ignored_pixels_only_has_no_boundary():
    truth = np.full((20, 20), 255, np.uint8)
    truth[5:15, 5:15] = 1
    prediction = np.ones_like(truth)
    assert np.isnan(score(prediction, truth)).all()
    prediction[8, 8] = 0
    np.testing.assert_allclose(score(prediction, truth), [np.hypot(20, 20), np.hypot(20, 20), 0, 0])


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"prediction has shape \(4, 4\), truth \(4, 5\)"):
        score(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


# Where other tools differ; docs/boundaries.md names each.


def test_monai_has_no_finite_distance_where_one_side_is_empty():
    shape = disc(40, 20, 20, 8)
    for percentile in (95, None):
        value = monai(compute_hausdorff_distance, np.zeros_like(shape), shape, (1.0, 1.0), percentile=percentile)
        assert not np.isfinite(value)
    nsd = monai(compute_surface_dice, np.zeros_like(shape), shape, (1.0, 1.0), class_thresholds=[2.0])
    assert nsd == score(np.zeros_like(shape), shape)[NSD] == 0


def test_the_percentile_of_both_directions_together_is_another_number():
    prediction, truth = PAIRS["false islands"]
    there, back = directed(prediction, truth, (1.0, 1.0))
    pooled = np.percentile(np.concatenate([there, back]), 95)  # medpy, and tools that call it
    assert score(prediction, truth)[HD95] == pytest.approx(np.percentile(there, 95))
    assert pooled < 0.97 * score(prediction, truth)[HD95]


def test_the_mean_of_the_two_directed_means_is_another_number():
    prediction, truth = PAIRS["false islands"]
    there, back = directed(prediction, truth, (1.0, 1.0))
    of_means = (there.mean() + back.mean()) / 2  # MetricsReloaded's masd
    assert abs(of_means - score(prediction, truth)[ASSD]) > 0.05 * of_means


def test_the_nsd_by_surface_length_is_close_to_the_one_by_pixels_but_another_number():
    prediction, truth = PAIRS["moved disc"]
    options = {"class_thresholds": [2.0], "use_subvoxels": True}
    by_length = monai(compute_surface_dice, prediction, truth, (1.0, 1.0), **options)
    assert 0.001 < abs(by_length - score(prediction, truth)[NSD]) < 0.1


# Properties.

seeds = st.integers(0, 10**6)
shapes = st.tuples(st.integers(2, 48), st.integers(2, 48))
spacings = st.tuples(st.floats(0.05, 20), st.floats(0.05, 20))


def drawn(seed, shape):
    pair = [blobs(seed + part, *shape, scale=(0.4, 1.0, 3.0)[seed % 3], share=0.3) for part in (0, 1)]
    assume(all(part.any() for part in pair))
    return pair


@given(seeds, shapes, spacings)
def test_scores_of_any_masks_and_spacing_equal_the_oracle(seed, shape, spacing):
    pair = drawn(seed, shape)
    tolerance = 1.37 * min(spacing)
    np.testing.assert_allclose(score(*pair, spacing, tolerance), oracle(*pair, spacing, tolerance), rtol=1e-9)


@given(seeds, shapes, spacings)
def test_prediction_and_truth_can_be_swapped(seed, shape, spacing):
    first, second = drawn(seed, shape)
    np.testing.assert_allclose(score(first, second, spacing), score(second, first, spacing), rtol=1e-12)


@given(seeds, shapes, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_distances_do_not_change_when_both_masks_move(seed, shape, by):
    places = [np.pad(part, 10) for part in drawn(seed, shape)]
    moved = [np.roll(part, by, axis=(0, 1)) for part in places]
    np.testing.assert_allclose(score(*moved), score(*places), rtol=1e-12)


@given(seeds, shapes, st.floats(0.01, 100))
def test_distances_grow_with_the_spacing_and_shares_do_not(seed, shape, factor):
    pair = drawn(seed, shape)
    one, scaled = score(*pair, (1.0, 0.7), 2.01), score(*pair, (factor, 0.7 * factor), 2.01 * factor)
    np.testing.assert_allclose(scaled[:2], factor * one[:2], rtol=1e-9)
    np.testing.assert_allclose(scaled[2:], one[2:], rtol=1e-12)


@given(seeds, shapes, spacings)
def test_turned_masks_score_the_same_with_turned_spacing(seed, shape, spacing):
    pair = drawn(seed, shape)
    turned = [np.ascontiguousarray(part.T) for part in pair]
    np.testing.assert_allclose(score(*turned, spacing[::-1]), score(*pair, spacing), rtol=1e-9)
