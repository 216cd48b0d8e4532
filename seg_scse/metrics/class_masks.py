"""The masks of one class in prediction and truth, cut to where the class is."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from seg_scse.config.masks import IGNORE_INDEX, Task
from seg_scse.errors import DataError
from seg_scse.metrics.pixels import Labels

MANY = 10
"""Classes from which on finding those that are in an image takes less time than trying all."""


class ClassMasks(NamedTuple):
    """One class of one image, in the bounding box of both masks.

    Attributes:
        number: class index, 1 .. K - 1.
        prediction: uint8 (h, w), 1 where the class is predicted, 0 elsewhere and where the truth is ignored.
        truth: uint8 (h, w), 1 where the class is true, 0 elsewhere and where the truth is ignored.
        ignored: uint8 (h, w), 1 where the truth is ignored; None where no pixel of the image is.
    """

    number: int
    prediction: Labels
    truth: Labels
    ignored: Labels | None


def class_masks(
    prediction: Labels, truth: Labels, num_classes: int, task: Task = "multiclass", margin: int = 0
) -> Iterator[ClassMasks]:
    """Yield the masks of each foreground class that is in prediction or truth of an image.

    Pixels whose truth is ignored are removed from both masks. The masks are cut to the smallest box around both, which
    makes small objects cheap; what is left out belongs to neither mask.

    Args:
        prediction: uint8 (H, W): class indices, or for multilabel bits, where bit k - 1 is set if class k is present.
        truth: the same; 255 for ignored pixels.
        num_classes: number of classes K, the background included.
        task: how the values are read.
        margin: pixels kept around the box where the image has ignored pixels, inside the image.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class.
    """
    _require_maps(prediction, truth)
    ignored = None
    if cv2.minMaxLoc(truth)[1] == IGNORE_INDEX:
        ignored = (truth == IGNORE_INDEX).view(np.uint8)
        prediction, truth = (np.where(ignored, np.uint8(0), labels) for labels in (prediction, truth))
    for index in _candidates({"prediction": prediction, "truth": truth}, num_classes, task):
        masks = [_mask(labels, index, task) for labels in (prediction, truth)]
        box = _box(masks, margin if ignored is not None else 0)
        if box is not None:
            yield ClassMasks(index, masks[0][box], masks[1][box], None if ignored is None else ignored[box])


def _require_maps(prediction: Labels, truth: Labels) -> None:
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise DataError(f"{name} is {labels.dtype} of shape {labels.shape}: scores need uint8 of shape (H, W).")
    if prediction.shape != truth.shape:
        raise DataError(
            f"prediction has shape {prediction.shape}, truth {truth.shape}: "
            "scores are taken at the truth's size, so resize the prediction first."
        )


def _candidates(maps: dict[str, Labels], num_classes: int, task: Task) -> list[int]:
    """The foreground classes that may be in one of the maps; where they are many, those that are."""
    highest = {name: int(cv2.minMaxLoc(labels)[1]) for name, labels in maps.items()}
    classes = highest if task == "multiclass" else {name: value.bit_length() for name, value in highest.items()}
    for name, index in classes.items():
        if index >= num_classes:
            raise DataError(
                f"{name} holds class {index}, but the {num_classes} classes are 0 to {num_classes - 1}: "
                "check the class list and how the file was written."
            )
    last = max(classes.values())
    if last <= MANY:
        return list(range(1, last + 1))
    counts = [cv2.calcHist([labels], [0], None, [256], [0, 256]) for labels in maps.values()]
    return [int(index) for index in np.flatnonzero(counts[0] + counts[1]) if index]


def _mask(labels: Labels, index: int, task: Task) -> Labels:
    """1 where the class is, uint8 (H, W)."""
    is_class = labels == index if task == "multiclass" else (labels & np.uint8(1 << (index - 1))) != 0
    mask: Labels = is_class.view(np.uint8)
    return mask


def _box(masks: list[Labels], margin: int) -> tuple[slice, slice] | None:
    """The rows and columns of the smallest box around both masks; None where no pixel is in them."""
    found = [box for box in map(cv2.boundingRect, masks) if box[2]]
    if not found:
        return None
    left, top = (max(0, min(box[axis] for box in found) - margin) for axis in (0, 1))
    right, bottom = (max(box[axis] + box[axis + 2] for box in found) + margin for axis in (0, 1))
    return slice(top, bottom), slice(left, right)
