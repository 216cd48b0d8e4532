"""Scores of whole objects, where an object is a connected component of a class's mask.

A predicted and a true object match if their IoU is above 0.5. Then no object matches two (Kirillov et al., Panoptic
Segmentation, CVPR 2019, section 4.1), so no order and no assignment has to be chosen. With TP matched pairs, and FP
predicted and FN true objects without a match:

- object_f1 = TP / (TP + FP / 2 + FN / 2)
- pq = sum of the IoUs of the matched pairs / (TP + FP / 2 + FN / 2), the panoptic quality

Components are 8-connected: objects that touch, even at a corner, count as one.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import Task
from seg_scse.metrics.class_masks import class_masks
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.pixels import Labels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

OBJECT_NAMES = ("object_tp", "object_fp", "object_fn", "object_iou_sum")


def measure_objects(prediction: Labels, truth: Labels, num_classes: int, task: Task = "multiclass") -> Floats:
    """Count matched and unmatched objects of one image.

    Pixels whose truth is ignored are removed from both masks first: an object that lies within them is not counted at
    all, one that reaches into them is compared without that part, and one that they cut through is several.

    Args:
        prediction: uint8 (H, W): class indices, or for multilabel bits, where bit k - 1 is set if class k is present.
        truth: the same; 255 for ignored pixels.
        num_classes: number of classes K, the background included.
        task: how the values are read.

    Returns:
        float64 (K, 4), columns as OBJECT_NAMES: three counts, and the sum of the matched pairs' IoUs. All 0 where there
        is no object, and for the background, class 0, which has none.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class.
    """
    result = np.zeros((num_classes, len(OBJECT_NAMES)))
    for masks in class_masks(prediction, truth, num_classes, task):
        predicted, predicted_areas = _components(masks.prediction)
        true, true_areas = _components(masks.truth)
        ious = _matched_ious(predicted, predicted_areas, true, true_areas)
        matched = len(ious)
        result[masks.number] = matched, len(predicted_areas) - matched, len(true_areas) - matched, ious.sum()
    return result


def object_scores(tp: Floats, fp: Floats, fn: Floats, iou_sum: Floats) -> dict[str, Floats]:
    """Score counts of objects, elementwise: `object_f1` and `pq` in [0, 1], NaN without any object."""
    objects = tp + (fp + fn) / 2
    scores = {}
    for name, numerator in (("object_f1", tp), ("pq", iou_sum)):
        scores[name] = np.full(objects.shape, np.nan)
        np.divide(numerator, objects, out=scores[name], where=objects > 0)
    return scores


def object_columns(table: MeasureTable) -> dict[str, Floats]:
    """Score every image and class: `object_f1` and `pq`, each float64 (N, K), NaN without any object.

    Args:
        table: what `measure_objects` counted in each image.
    """
    return object_scores(*(table.column(name) for name in OBJECT_NAMES))


def object_pooled(table: MeasureTable) -> dict[str, Floats]:
    """Score the objects of all images together: `object_f1` and `pq`, each float64 (K,), NaN without any object.

    Args:
        table: what `measure_objects` counted in each image.
    """
    return object_scores(*(table.column(name).sum(axis=0) for name in OBJECT_NAMES))


def _components(mask: Labels) -> tuple[Integers, Integers]:
    """The component of each pixel, int32 (h, w), 0 outside, and the area of components 1 .. n, (n,)."""
    _, labels = cv2.connectedComponents(mask, connectivity=8)  # its form with areas takes ten times as long
    return labels, np.bincount(labels[labels > 0])[1:]


def _matched_ious(predicted: Integers, predicted_areas: Integers, true: Integers, true_areas: Integers) -> Floats:
    """The IoU of each pair of objects whose IoU is above 0.5."""
    both = (predicted > 0) & (true > 0)
    pairs = (true[both] - 1) * np.int64(len(predicted_areas)) + predicted[both] - 1
    found, intersection = np.unique(pairs, return_counts=True)
    of_true, of_prediction = np.divmod(found, max(1, len(predicted_areas)))
    union = true_areas[of_true] + predicted_areas[of_prediction] - intersection
    matched = 2 * intersection > union
    ious: Floats = intersection[matched] / union[matched]
    return ious
