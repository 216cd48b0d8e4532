"""The signed-rank test of paired differences, its effect size, and Holm's correction.

Wilcoxon 1945, Individual comparisons by ranking methods: differences of 0 are left out, and equal ones share the mean
of their ranks. The p-value is exact up to `EXACT` differences, also where ranks are shared, so that it is never below
the smallest that this number of differences can give; scipy's exact form excludes shared ranks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seg_scse.metrics.bootstrap import ROUNDING, Floats

EXACT = 100
"""Most differences for which the p-value is counted out; for more, the normal distribution is within 0.003 of it."""


class SignedRank(NamedTuple):
    """Result of the test.

    Attributes:
        n: differences that are not 0.
        p: two-sided p-value; 1 without a difference.
        smallest: the smallest p-value that n differences can give, 2 / 2^n, all of one sign; 1 without a difference.
        effect: matched-pairs rank-biserial correlation, in [-1, 1]: the share of the rank sum held by positive
            differences less the share held by negative ones (Kerby 2014); None without a difference.
    """

    n: int
    p: float
    smallest: float
    effect: float | None


def signed_rank(differences: Floats) -> SignedRank:
    """Test whether paired differences are symmetric around 0.

    Args:
        differences: (U,), finite, one of each independent unit; what is 0 but for rounding counts as 0.
    """
    values = differences[np.abs(differences) > ROUNDING]
    if not values.size:
        return SignedRank(0, 1.0, 1.0, None)
    ranks = _ranks(np.abs(values))
    positive, total = float(ranks[values > 0].sum()), float(ranks.sum())
    smaller = min(positive, total - positive)
    p = _exact(ranks, smaller) if len(values) <= EXACT else _normal(ranks, smaller)
    return SignedRank(len(values), min(1.0, p), min(1.0, 2.0 ** (1 - len(values))), (2 * positive - total) / total)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of tests (Holm 1979), in their order.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below one before it, or exceeds 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _ranks(sizes: Floats) -> Floats:
    """Ranks from 1, the mean of them where sizes are equal."""
    _, place, times = np.unique(sizes, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(times) - (times - 1) / 2)[place]
    return ranks


def _exact(ranks: Floats, smaller: float) -> float:
    """Count out the sums that random signs give: twice the share of those up to the smaller rank sum.

    Ranks are doubled, since shared ones may end on a half. The distribution is built one rank at a time: with either
    sign, the sum grows by the rank or stays.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        share[rank:] += share[:-rank].copy()
        share /= 2
    return 2 * float(share[: round(2 * smaller) + 1].sum())


def _normal(ranks: Floats, smaller: float) -> float:
    """The normal approximation; the variance is that of the ranks as they are, shared or not."""
    z = (smaller - ranks.sum() / 2) / math.sqrt((ranks**2).sum() / 4)
    return math.erfc(-z / math.sqrt(2))
