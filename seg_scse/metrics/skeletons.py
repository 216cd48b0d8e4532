"""clDice: whether thin structures, such as vessels and roads, are found over their whole length.

With the masks V and their skeletons S of prediction P and truth L (Shit et al., clDice, CVPR 2021, equations 1 and 2):

    precision = |S_P and V_L| / |S_P|      sensitivity = |S_L and V_P| / |S_L|
    clDice = 2 precision sensitivity / (precision + sensitivity)

The skeletons are exact ones, not the soft ones of the paper's loss. How they are thinned is not part of the definition;
the paper's code calls scikit-image. Here the pixels of the four sides are peeled off in turn (Rosenfeld, A
characterization of parallel thinning algorithms, Information and Control 29, 1975). On all masks tried that gives, to
the pixel, scikit-image's `skeletonize(method="lee")`; its default, Zhang and Suen's, leaves a few corners of diagonals
and shorter ends, and with them a clDice that differs in the third decimal for vessels.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import Task
from seg_scse.metrics.boundaries import boundary
from seg_scse.metrics.class_masks import class_masks
from seg_scse.metrics.pixels import Labels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Row and column steps to the 8 neighbours, clockwise from the upper one; neighbour i is bit i of a pixel's code."""

SIDES = (0, 4, 2, 6)
"""The neighbours whose absence makes a pixel a border pixel of a side: above, below, right, left."""


def measure_centerlines(prediction: Labels, truth: Labels, num_classes: int, task: Task = "multiclass") -> Floats:
    """Measure clDice of one image.

    Pixels whose truth is ignored are removed from both masks before they are thinned, so a line that runs into them
    ends there.

    Args:
        prediction: uint8 (H, W): class indices, or for multilabel bits, where bit k - 1 is set if class k is present.
        truth: the same; 255 for ignored pixels.
        num_classes: number of classes K, the background included.
        task: how the values are read.

    Returns:
        float64 (K, 1), clDice in [0, 1]; 0 where a class is in one mask only; NaN where it is in neither, and for the
        background, class 0, which is not measured.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class.
    """
    result = np.full((num_classes, 1), np.nan)
    for masks in class_masks(prediction, truth, num_classes, task):
        result[masks.number] = _cldice(masks.prediction, masks.truth)
    return result


def skeleton(mask: Labels) -> Labels:
    """Thin a mask to lines of width 1.

    A pixel is taken away if it has no neighbour on the side whose turn it is, has at least two neighbours (so that
    ends stay), and its 8 neighbours stay connected without it. Taking away all such pixels of one side at once changes
    neither the number of parts (8-connected) nor of holes (4-connected). Beyond the frame is outside.

    Args:
        mask: uint8 (h, w), not 0 inside.

    Returns:
        uint8 (h, w) of 0 and 1.
    """
    padded = np.pad((mask != 0).view(np.uint8), 1)
    flat, stride = padded.ravel(), padded.shape[1]
    steps = np.array([y * stride + x for y, x in AROUND], np.int64)
    order = np.empty(flat.size, np.int32)
    changed = [np.flatnonzero(boundary(padded))]  # pixels with a change around them, of the last turn of each side
    while any(places.size for places in changed):
        for side in SIDES:
            places = _once(np.concatenate(changed), order)
            places = places[(flat[places] != 0) & (flat[places + steps[side]] == 0)]
            taken = places[_removable()[_codes(flat, places, steps)]]
            flat[taken] = 0
            near = (taken[:, None] + steps).ravel()
            changed = [*changed[1 - len(SIDES) :], _once(near[flat[near] != 0], order)]
    return padded[1:-1, 1:-1]


def _cldice(prediction: Labels, truth: Labels) -> float:
    """ClDice of two masks of which at least one holds a pixel."""
    if not (prediction.any() and truth.any()):
        return 0.0
    precision, sensitivity = _share_inside(prediction, truth), _share_inside(truth, prediction)
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0


def _share_inside(thinned: Labels, mask: Labels) -> float:
    """The share of the pixels of one mask's skeleton that are in the other mask."""
    line = skeleton(thinned)
    return np.count_nonzero(line & mask) / np.count_nonzero(line)


def _once(places: Integers, order: NDArray[np.int32]) -> Integers:
    """The places without repetition; `order` is memory for any place, whatever it holds."""
    numbers = np.arange(len(places), dtype=np.int32)
    order[places] = numbers
    once: Integers = places[order[places] == numbers]
    return once


def _codes(flat: Labels, places: Integers, steps: Integers) -> Labels:
    """The surroundings of each place as one byte."""
    codes = np.zeros(len(places), np.uint8)
    for bit, step in enumerate(steps):
        codes |= flat[places + step] << np.uint8(bit)
    return codes


@cache
def _removable() -> Booleans:
    """Whether a border pixel is taken away, by the code of its surroundings, (256,)."""
    around = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256, 8)
    straight, corner = around[:, 0::2], around[:, 1::2]
    next_straight = np.roll(straight, -1, axis=1)
    # The 8-connected parts that the neighbours form, each counted where it begins.
    parts = ((straight == 0) & ((corner == 1) | (next_straight == 1))).sum(axis=1)
    removable: Booleans = (parts == 1) & (around.sum(axis=1) >= 2)
    return removable
