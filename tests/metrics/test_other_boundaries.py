"""Boundary and object scores beside those of other libraries: equal where the definitions are, each difference shown.

docs/boundaries.md lists the differences that are tested here.
"""

import math

import cv2
import numpy as np
import pytest
import torch
from monai.metrics import (
    HausdorffDistanceMetric,
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage
from torch.nn.functional import one_hot
from torchmetrics.detection import PanopticQuality
from torchmetrics.functional.segmentation import hausdorff_distance

from seg_scse.metrics.boundaries import boundary
from seg_scse.metrics.distances import surface_distances
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.objects import OBJECT_NAMES, measure_objects, object_pooled
from seg_scse.metrics.surfaces import measure_surfaces

NOTHING = np.zeros((32, 40), np.uint8)

pytestmark = [
    # MONAI calls a function of its own with an argument that it has deprecated, and warns of empty masks.
    pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning"),
    pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class:UserWarning"),
]


def blobs(seed, shape=(32, 40)):
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for row, column, radius in zip(*random.integers(6, 26, (2, 3)), random.integers(2, 6, 3), strict=True):
        cv2.circle(mask, (int(column), int(row)), int(radius), 1, cv2.FILLED)
    return mask


def ours(prediction, truth, spacing=(1.0, 1.0), tolerance=2.0):
    """hd95, assd, nsd and boundary IoU."""
    return measure_surfaces(prediction, truth, 2, spacing, tolerance)[1]


def tensors(*masks):
    """One-hot int64 (1, 2, H, W) of each mask."""
    return tuple(one_hot(torch.from_numpy(mask).long()[None], 2).movedim(-1, 1) for mask in masks)


def monai(prediction, truth, spacing=(1.0, 1.0), tolerance=2.0):
    """hd95, assd and nsd."""
    pair = tensors(prediction, truth)
    return [
        compute_hausdorff_distance(*pair, percentile=95, spacing=spacing).item(),
        compute_average_surface_distance(*pair, symmetric=True, spacing=spacing).item(),
        compute_surface_dice(*pair, class_thresholds=[tolerance], spacing=spacing).item(),
    ]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_monai_where_both_sides_hold_the_class(seed, spacing):
    prediction, truth = blobs(seed), blobs(seed + 10)
    np.testing.assert_allclose(ours(prediction, truth, spacing)[:3], monai(prediction, truth, spacing), rtol=1e-5)


def test_a_missed_object_is_free_in_monai_and_the_diagonal_here():
    hd95, assd, nsd = monai(NOTHING, blobs(0))
    assert math.isnan(hd95)
    assert (assd, nsd) == (math.inf, 0)
    assert ours(NOTHING, blobs(0)).tolist() == [math.hypot(32, 40), math.hypot(32, 40), 0, 0]
    metric = HausdorffDistanceMetric(percentile=95)
    metric(*tensors(NOTHING, blobs(0)))
    metric(*tensors(blobs(1), blobs(1)))
    assert metric.aggregate() == 0, "the mean over a missed and a perfect object is that of the perfect one"


def test_where_the_class_is_in_neither_mask_nothing_is_scored_as_in_monai():
    assert np.isnan(ours(NOTHING, NOTHING)).all()
    assert np.isnan(monai(NOTHING, NOTHING)).all()


def test_pooling_both_directions_before_the_percentile_gives_another_hd95():
    # As MedPy does: a far point of a short boundary vanishes among the near ones of the long boundary.
    truth, prediction = NOTHING.copy(), NOTHING.copy()
    truth[2:28, 2:28] = prediction[2:28, 2:28] = 1
    prediction[2:28, 2:28] = 0
    prediction[10:12, 10:12] = 1
    edges = boundary(prediction), boundary(truth)
    there, back = surface_distances(edges[0], edges[1], (1.0, 1.0))
    larger = max(np.percentile(there, 95), np.percentile(back, 95))
    assert ours(prediction, truth)[0] == larger
    assert np.percentile(np.concatenate([there, back]), 95) < larger


def test_assd_is_the_mean_over_all_boundary_pixels_not_of_the_two_directed_means():
    prediction, truth = blobs(0), blobs(1)
    directed = [
        compute_average_surface_distance(*tensors(*pair)).item() for pair in ((prediction, truth), (truth, prediction))
    ]
    counts = np.array([boundary(prediction).sum(), boundary(truth).sum()])
    assert ours(prediction, truth)[1] == pytest.approx(np.average(directed, weights=counts), rel=1e-6)
    assert abs(ours(prediction, truth)[1] - np.mean(directed)) > 0.01


def test_nsd_counts_boundary_pixels_and_the_subvoxel_form_measures_lengths():
    prediction, truth = blobs(2), blobs(3)
    theirs = compute_surface_dice(*tensors(prediction, truth), class_thresholds=[2.0], use_subvoxels=True).item()
    assert 0.005 < abs(theirs - ours(prediction, truth)[2]) < 0.2


def test_hausdorff_distance_of_torchmetrics_is_the_maximum():
    truth = blobs(0, (40, 40))
    prediction = truth.copy()
    prediction[38, 38] = 1  # one stray pixel
    theirs = hausdorff_distance(*tensors(prediction, truth), num_classes=2).item()
    far = ndimage.distance_transform_edt(boundary(truth) == 0)[38, 38]
    assert theirs == pytest.approx(far)
    assert ours(prediction, truth)[0] == 0


def test_hausdorff_distance_of_torchmetrics_is_wrong_where_height_and_width_differ():
    mask = NOTHING.copy()
    mask[5:20, 7:22] = 1
    assert hausdorff_distance(*tensors(mask, mask), num_classes=2).item() == pytest.approx(11.7047, abs=1e-3)
    assert ours(mask, mask).tolist() == [0, 0, 1, 1]


def test_hausdorff_distance_of_torchmetrics_is_infinite_or_fails_without_the_class():
    square = NOTHING[:, :32]
    assert hausdorff_distance(*tensors(square, blobs(0, (32, 32))), num_classes=2).item() == math.inf
    with pytest.raises(RuntimeError, match="dim to be specified"):
        hausdorff_distance(*tensors(square, square), num_classes=2)


def instances(mask, structure):
    """Category and instance of each pixel, int64 (1, H, W, 2), as torchmetrics wants them."""
    numbers, _ = ndimage.label(mask, structure)
    return torch.from_numpy(np.stack([mask.astype(np.int64), numbers.astype(np.int64)], axis=-1))[None]


def test_panoptic_quality_equals_torchmetrics_pooled_over_the_images():
    table, metric = MeasureTable(OBJECT_NAMES, 2), PanopticQuality(things={1}, stuffs={0}, return_per_class=True)
    for seed in range(4):
        truth = np.vstack([blobs(seed), blobs(seed + 1)])
        prediction = np.roll(truth, 1, axis=0)
        prediction[:6] = 0
        table.add(str(seed), measure_objects(prediction, truth, 2))
        metric.update(instances(prediction, np.ones((3, 3))), instances(truth, np.ones((3, 3))))
    # Theirs has a score of the background too.
    assert object_pooled(table)["pq"][1] == pytest.approx(metric.compute()[0][0].item(), abs=1e-6)


def test_objects_that_touch_at_a_corner_are_one_here_and_two_for_scipy_by_default():
    mask = NOTHING.copy()
    mask[2:4, 2:4] = mask[4:6, 4:6] = 1
    assert ndimage.label(mask)[1] == 2
    assert measure_objects(mask, mask, 2)[1].tolist() == [1, 0, 0, 1]
