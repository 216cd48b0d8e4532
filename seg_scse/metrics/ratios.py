"""The overlap scores as ratios of pixel counts: tp, fp, fn and tn of a class.

Names and formulas follow Taha and Hanbury 2015 (BMC Medical Imaging 15:29). The volume scores are relative to the truth
as in Heimann et al. 2009 (IEEE TMI 28(8)), with P = tp + fp predicted and T = tp + fn true pixels of the class.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Empty = Literal["exclude", "one", "zero"]
Floats = NDArray[np.float64]
Numbers = NDArray[Any]

METRICS = ("dice", "iou", "precision", "recall", "specificity", "accuracy", "volume_error", "volume_bias")
RULED = METRICS[:4]
"""Scores that the policy for empty masks touches. The others have a value without the class, or no meaning."""


class Cells(Protocol):
    """Counts of pixels, arrays of one shape; a `CountArrays` is one."""

    @property
    def tp(self) -> Numbers:
        """Truth and prediction hold the class."""

    @property
    def fp(self) -> Numbers:
        """Only the prediction holds it."""

    @property
    def fn(self) -> Numbers:
        """Only the truth holds it."""

    @property
    def tn(self) -> Numbers:
        """Neither holds it."""


_FRACTIONS: Mapping[str, Callable[[Cells], tuple[Numbers, Numbers]]] = {
    "dice": lambda n: (2 * n.tp, 2 * n.tp + n.fp + n.fn),
    "iou": lambda n: (n.tp, n.tp + n.fp + n.fn),
    "precision": lambda n: (n.tp, n.tp + n.fp),
    "recall": lambda n: (n.tp, n.tp + n.fn),
    "specificity": lambda n: (n.tn, n.tn + n.fp),
    "accuracy": lambda n: (n.tp + n.tn, n.tp + n.tn + n.fp + n.fn),
    "volume_error": lambda n: (np.abs(n.fp - n.fn), n.tp + n.fn),  # |P - T| / T
    "volume_bias": lambda n: (n.fp - n.fn, n.tp + n.fn),  # (P - T) / T
}


def ratio(metric: str, cells: Cells) -> Floats:
    """Compute one of METRICS elementwise.

    Args:
        metric: its name.
        cells: counts, arrays of one shape, integers or floats.

    Returns:
        float64 of that shape, NaN for 0 / 0. In [0, 1], but `volume_error` in [0, inf) and `volume_bias` in [-1, inf).
    """
    numerator, denominator = _FRACTIONS[metric](cells)
    quotient: Floats = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def image_ratio(metric: str, cells: Cells, empty: Empty) -> Floats:
    """Compute one of METRICS for each image and class, and apply the policy for empty masks.

    Args:
        metric: its name.
        cells: counts (N, K).
        empty: what one of RULED is in an image without the class in truth and prediction: nothing (exclude), one, or
            zero. Neither `one` nor `zero` makes up a score where there is nothing to score: for an image without a
            single valid pixel, and for a class whose score is 0 / 0 in every image.

    Returns:
        float64 (N, K), NaN where not scored. A class in no image's truth or prediction has no score at all, not even
        the specificity and accuracy of 1 that it would have by the formulas.
    """
    values, found = ratio(metric, cells), occurs(cells)
    values[:, ~found.any(axis=0)] = np.nan
    if empty != "exclude" and metric in RULED:
        labelled = cells.tp + cells.fp + cells.fn + cells.tn > 0
        scored_somewhere = ~np.isnan(values).all(axis=0)
        values[~found & labelled & scored_somewhere] = 1.0 if empty == "one" else 0.0
    return values


def total_ratio(metric: str, totals: Cells) -> Floats:
    """Compute one of METRICS elementwise from counts summed over images.

    Args:
        metric: its name.
        totals: sums, arrays of one shape, integers or floats.

    Returns:
        float64 of that shape, NaN for 0 / 0 and for a class that is nowhere in truth or prediction.
    """
    return np.where(occurs(totals), ratio(metric, totals), np.nan)


def occurs(cells: Cells) -> NDArray[np.bool_]:
    """Where a class is in truth or prediction."""
    found: NDArray[np.bool_] = cells.tp + cells.fp + cells.fn > 0
    return found
