"""Exact distances from the pixels of one boundary to the nearest pixel of another."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Mask = NDArray[np.uint8]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Spacing = tuple[float, float]

NEAR = 3
"""Pixels around a point that are tried one by one, nearest first: most boundaries worth scoring are that close."""

STEPS = (1, 2, 4, 8)
REACH = sum(STEPS)
"""Pixels around a point in which its nearest one is looked up by rows; farther ones are searched in a tree."""

TREE = 80
"""Pixels of the box per point of the tree from which on the tree alone takes less time than looking up by rows."""
SEARCH = 6
"""Points of a tree that take as long to add as one search in it."""


def surface_distances(first: Mask, second: Mask, spacing: Spacing) -> tuple[Floats, Floats]:
    """Measure the distance from each pixel of one boundary to the nearest pixel of the other, both ways.

    Between pixel centres. Exact: the result is that of a float64 Euclidean distance transform of the whole image with
    this spacing.

    Args:
        first: uint8 (h, w) of 0 and 1; at least one pixel.
        second: the same for the other boundary.
        spacing: height and width of a pixel, positive; the unit of the result.

    Returns:
        float64 (number of pixels of `first`,) and (number of pixels of `second`,), in no particular order.
    """
    first, second = _padded(first), _padded(second)
    return _directed(first, second, spacing), _directed(second, first, spacing)


def _directed(start: Mask, end: Mask, spacing: Spacing) -> Floats:
    """Distance from each pixel of `start` to the nearest one of `end`; both are 0 within REACH of their frame."""
    result = np.zeros(cv2.countNonZero(start))  # pixels on both boundaries have distance 0
    places = _places(start & ~end)
    found = _try_near(places, end, spacing)
    left = np.flatnonzero(np.isinf(found))
    if (cv2.countNonZero(end) + SEARCH * left.size) * TREE > end.size and left.size:
        found[left] = _look_around(places[left], end, spacing)
        left = left[np.isinf(found[left])]
    if left.size:
        tree = cKDTree(_points(_places(end), end, spacing), leafsize=32, balanced_tree=False, compact_nodes=False)
        found[left] = tree.query(_points(places[left], end, spacing))[0]
    result[: len(found)] = found
    return result


def _padded(mask: Mask) -> Mask:
    padded: Mask = cv2.copyMakeBorder(mask, REACH, REACH, REACH, REACH, cv2.BORDER_CONSTANT, value=0)
    return padded


def _places(mask: Mask) -> Integers:
    """The pixels that are 1, as positions in the flattened mask."""
    places: Integers = np.flatnonzero(mask.view(np.bool_))
    return places


def _points(places: Integers, mask: Mask, spacing: Spacing) -> Floats:
    """The coordinates of places, (n, 2) in the unit of the spacing."""
    rows, columns = np.divmod(places, mask.shape[1])
    return np.stack([rows * spacing[0], columns * spacing[1]], axis=1)


def _try_near(places: Integers, end: Mask, spacing: Spacing) -> Floats:
    """Distance to the nearest pixel of `end` where it is among the steps of `_near`; infinite elsewhere."""
    flat, stride = end.view(np.bool_).ravel(), end.shape[1]
    found, left = np.full(len(places), np.inf), np.arange(len(places))
    for distance, steps in _near(spacing):
        if not left.size:
            break
        hit = np.zeros(len(places), np.bool_)
        for row, column in steps:
            hit |= flat.take(places + (row * stride + column))
        found[left[hit]] = distance
        left, places = left[~hit], places[~hit]
    return found


@lru_cache(maxsize=16)
def _near(spacing: Spacing) -> tuple[tuple[float, tuple[tuple[int, int], ...]], ...]:
    """The steps (rows, columns) within NEAR by their distance, nearest first; none that one beyond could undercut."""
    steps: dict[float, list[tuple[int, int]]] = {}
    for row, column in np.ndindex(2 * NEAR + 1, 2 * NEAR + 1):
        distance = float(np.hypot((row - NEAR) * spacing[0], (column - NEAR) * spacing[1]))
        if 0 < distance < (NEAR + 1) * min(spacing):
            steps.setdefault(distance, []).append((row - NEAR, column - NEAR))
    return tuple((distance, tuple(steps[distance])) for distance in sorted(steps))


def _look_around(places: Integers, end: Mask, spacing: Spacing) -> Floats:
    """Distance to the nearest pixel of `end`, which is 0 within REACH of its frame; infinite where out of reach."""
    columns, stride = _columns_to_nearest(end), end.shape[1]
    found = np.full(len(places), np.inf)
    left = np.arange(len(places))
    distances = _distances(spacing)
    for row in range(REACH + 1):
        nearest = found[left]
        for step in {row * stride, -row * stride}:
            np.minimum(nearest, distances[row].take(columns.take(places + step)), out=nearest)
        found[left] = nearest
        open_still = nearest > (row + 1) * spacing[0]  # else no pixel of the next rows is nearer
        left, places = left[open_still], places[open_still]
        if not left.size:
            break
    return found


def _columns_to_nearest(end: Mask) -> Mask:
    """Columns from each pixel to the nearest one of `end` in its row, at most REACH + 1; uint8, flat."""
    columns = np.where(end.ravel(), np.uint8(0), np.uint8(REACH + 1))
    for step in STEPS:  # over the end of a row, which is 0 there, it is as far as beyond the frame
        farther = columns + np.uint8(step)
        np.minimum(columns[step:], farther[:-step], out=columns[step:])
        np.minimum(columns[:-step], farther[step:], out=columns[:-step])
    return columns


@lru_cache(maxsize=16)
def _distances(spacing: Spacing) -> Floats:
    """Distances by rows (0 .. REACH) and columns (0 .. REACH + 1) apart; infinite where others may be nearer."""
    rows, columns = np.arange(REACH + 1)[:, None], np.arange(REACH + 2)
    distances: Floats = np.hypot(rows * spacing[0], columns * spacing[1])
    distances[distances >= (REACH + 1) * min(spacing)] = np.inf
    return distances
