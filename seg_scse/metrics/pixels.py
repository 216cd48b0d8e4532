"""Counting the pixels of one image by truth and prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import IGNORE_INDEX, MOST_LABELS, Task
from seg_scse.errors import ConfigError, DataError

Labels = NDArray[np.uint8]
Integers = NDArray[np.int64]

# Pixels counted at a time: the 16-bit and 64-bit copies stay in the cache, and a large scene needs no more memory.
STRIP_PIXELS = 1 << 17


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one image.

    Attributes:
        confusion: int64, rows truth, columns prediction, over the pixels that are not ignored. Where each pixel has one
            class (K, K); multilabel (K, 2, 2), one matrix of absent and present for each class.
        height: image height in pixels.
        width: image width in pixels.
    """

    confusion: Integers
    height: int
    width: int

    @property
    def task(self) -> Task:
        """Whether a pixel has one class or any number of them."""
        return "multiclass" if self.confusion.ndim == 2 else "multilabel"

    @property
    def ignored(self) -> int:
        """Number of pixels whose truth is IGNORE_INDEX."""
        whole = self.confusion if self.task == "multiclass" else self.confusion[0]
        return self.height * self.width - int(whole.sum())


def count_pixels(prediction: Labels, truth: Labels, num_classes: int, task: Task = "multiclass") -> Counts:
    """Count the pixels of one image by truth and prediction, in one pass that does not depend on the classes.

    Args:
        prediction: uint8 (H, W), class indices 0 .. num_classes - 1; multilabel: bit k - 1 is set where class k is.
        truth: uint8 (H, W), of the same form, or 255 for ignored pixels.
        num_classes: number of classes K: 2 .. 255; multilabel 2 .. 8, where class 0 stands for no bit at all.
        task: `multiclass`, or `multilabel`: each class is counted as a problem of two classes, absent and present.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class or holds a bit that is none.
        ConfigError: a byte has no room for so many labels.
    """
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise DataError(
                f"{name} is {labels.dtype} of shape {labels.shape}: counting needs uint8 class indices of shape (H, W)."
            )
    if prediction.shape != truth.shape:
        raise DataError(
            f"prediction has shape {prediction.shape}, truth {truth.shape}: "
            "scores are taken at the truth's size, so resize the prediction first."
        )
    values, meaning = _values(num_classes, task)
    pairs = _count_pairs(prediction, truth)
    _require_values("prediction", pairs.sum(axis=0), values, meaning)
    _require_values("truth", pairs[:IGNORE_INDEX].sum(axis=1), values, meaning)
    valid = pairs[:values, :values]
    return Counts(valid.copy() if task == "multiclass" else _fold(valid, num_classes), *truth.shape)


def _values(num_classes: int, task: Task) -> tuple[int, str]:
    """The number of values a pixel may have, from 0 on, and what they stand for."""
    if task == "multiclass":
        return num_classes, f"the {num_classes} classes are 0 to {num_classes - 1}"
    labels = num_classes - 1
    if labels > MOST_LABELS:
        raise ConfigError(f"{labels} labels: a multilabel mask has room for {MOST_LABELS}. Leave some out.")
    return (
        1 << labels,
        f"the {labels} labels after the first class are bits, so that values go from 0 to {2**labels - 1}",
    )


def _count_pairs(prediction: Labels, truth: Labels) -> Integers:
    """Occurrences of each (truth, prediction) pair of bytes, int64 (256, 256): room for all, so none goes astray."""
    pairs = np.zeros(1 << 16, np.int64)
    flat_prediction, flat_truth = prediction.ravel(), truth.ravel()
    for start in range(0, flat_truth.size, STRIP_PIXELS):
        index = flat_truth[start : start + STRIP_PIXELS].astype(np.uint16)
        index <<= 8
        index |= flat_prediction[start : start + STRIP_PIXELS]
        strip = np.bincount(index)
        pairs[: strip.size] += strip
    return pairs.reshape(256, 256)


def _require_values(name: str, occurrences: Integers, values: int, meaning: str) -> None:
    """Refuse values that mean nothing, given the number of pixels of each value."""
    strange = np.flatnonzero(occurrences[values:]) + values
    if strange.size:
        value = int(strange[0])
        raise DataError(
            f"{name} holds the value {value} ({int(occurrences[value])} pixels), but {meaning}: "
            "check the class list and how the file was written."
        )


def _fold(pairs: Integers, num_classes: int) -> Integers:
    """The matrices of the single classes, int64 (K, 2, 2), from the counts of pairs of bytes (2^(K-1), 2^(K-1))."""
    values = np.arange(len(pairs))[:, None]
    present = np.hstack([values == 0, values >> np.arange(num_classes - 1) & 1]).astype(np.int64)  # (values, K)
    truth, predicted = pairs.sum(axis=1) @ present, pairs.sum(axis=0) @ present
    tp = (present * (pairs @ present)).sum(axis=0)
    tn = pairs.sum() - truth - predicted + tp
    return np.stack([tn, predicted - tp, truth - tp, tp], axis=1).reshape(num_classes, 2, 2)
