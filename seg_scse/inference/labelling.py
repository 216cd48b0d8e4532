"""From probabilities to label maps: the most probable class, or each class above a threshold."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Label = NDArray[np.uint8]

STRIP_BYTES = 1 << 17
"""Of one plane of a strip of rows: what is compared stays in the processor's cache."""


class Decision(NamedTuple):
    """The labels of an image and the probabilities that they were chosen by.

    Attributes:
        labels: uint8 (H, W): class indices, or bits: bit k - 1 is set where class k of a multilabel task is.
        confidence: float32 (L, H, W), on the device of the probabilities. Two classes: that of the foreground, L = 1;
            multilabel: those of the classes after the first, L = K - 1; else: that of the chosen class, L = 1.
    """

    labels: Label
    confidence: Tensor


def softmax_planes(logits: Tensor) -> Tensor:
    """Turn logits (N, K, H, W), float32 in any memory format, into probabilities with each class a plane in memory.

    On the CPU by strips of rows (a value may differ in its last bit from that of the whole): turning a channels-last
    map around at once misses the cache at every pixel, and costs more than a small network's last layers.
    """
    if logits.device.type != "cpu":
        return logits.contiguous().softmax(1)
    # Memory of numpy, which asks for large pages: touching it for the first time takes half as long as torch's.
    probabilities = torch.from_numpy(np.empty(tuple(logits.shape), np.float32))
    _, classes, height, width = logits.shape
    rows = max(1, 4 * STRIP_BYTES // (4 * classes * width))
    for image, planes in zip(logits, probabilities, strict=True):
        for start in range(0, height, rows):
            strip = image[:, start : start + rows].contiguous()
            planes[:, start : start + rows] = torch.softmax(strip, 0)
    return probabilities


def decide(probabilities: Tensor, threshold: float, multilabel: bool) -> Decision:
    """Choose the labels of an image.

    Args:
        probabilities: float32 (K', H, W): K' = 1 for two classes, K - 1 for multilabel, else K.
        threshold: two classes and multilabel: a class is present where its probability is above this.
        multilabel: whether a pixel may have several classes.

    Returns:
        The decision; of equal probabilities the class of the lower index has its way.
    """
    if multilabel:
        return Decision(_bits(probabilities > threshold), probabilities)
    if len(probabilities) == 1:
        return Decision((probabilities[0] > threshold).to(torch.uint8).cpu().numpy(), probabilities)
    if probabilities.device.type == "cpu":
        return _highest_on_cpu(probabilities)
    confidence, labels = probabilities.max(0, keepdim=True)
    return Decision(labels[0].to(torch.uint8).cpu().numpy(), confidence)


def _bits(present: Tensor) -> Label:
    labels = present[0].to(torch.uint8)
    for bit in range(1, len(present)):
        labels |= present[bit].to(torch.uint8) << bit
    return labels.cpu().numpy()


def _highest_on_cpu(probabilities: Tensor) -> Decision:
    """A running maximum over the planes, by strips of rows: many times faster than argmax over the leading axis.

    A class has the larger index than all before it, so that it takes over a pixel by a maximum of indices too.
    """
    planes: NDArray[np.float32] = probabilities.numpy()
    best, labels = planes[0].copy(), np.zeros(planes.shape[1:], np.uint8)
    rows = max(1, STRIP_BYTES // max(1, best[:1].nbytes))
    above = np.empty((rows, best.shape[1]), np.bool_)
    for start in range(0, len(best), rows):
        strip = slice(start, start + rows)
        higher = above[: len(best[strip])]
        for index, plane in enumerate(planes[1:, strip], start=1):
            np.greater(plane, best[strip], out=higher)
            np.maximum(plane, best[strip], out=best[strip])
            np.maximum(labels[strip], higher.view(np.uint8) * np.uint8(index), out=labels[strip])
    return Decision(labels, torch.from_numpy(best)[None])
