"""How certain a mean is: intervals by resampling the independent units."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHUNK = 1 << 20
"""Draws held in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: mean of all values; None without any.
        low: lower end of the interval; None where there is no interval.
        high: upper end.
        n: independent units: groups, or values where no groups were given.
        reason: why there is no interval; empty otherwise.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


def paired_interval(
    differences: Sequence[float] | Floats,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Estimate the mean of paired differences, with a percentile bootstrap interval.

    The difference of two scores of one image is resampled as a whole, so that what makes an image hard for both does
    not widen the interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.3 and 13.3).
    With groups, whole groups are resampled, and each resample's mean is over all of its values. The percentile
    interval is slightly too narrow for few units: below about 20, take it as a rough guide.

    Memory is bounded by `CHUNK` draws, or one resample where that is larger; the result does not depend on it.

    Args:
        differences: one finite number per image: score of the changed network minus score of the unchanged one.
        groups: the independent unit that each image belongs to, such as its patient.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.
        level: probability that the interval shall cover, in (0, 1).

    Raises:
        ValueError: a difference is not finite, the lengths differ, `level` is not in (0, 1), or `resamples` < 1.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite: leave out the images without a score.")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level = {level} must lie in (0, 1), and resamples = {resamples} be at least 1.")
    sums, sizes = _units(values, groups)
    mean = float(values.mean()) if values.size else None
    if len(sums) < 2:
        unit = "image" if groups is None else "group"
        return Interval(mean, None, None, len(sums), f"an interval needs at least two {unit}s, not {len(sums)}")
    means = _resampled_means(sums, sizes, resamples, seed)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(mean, float(low), float(high), len(sums))


def _units(values: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Return the sum and the number of values of each independent unit, in order of first appearance."""
    if groups is None:
        return values, np.ones_like(values)
    position: dict[Hashable, int] = {}
    unit = np.array([position.setdefault(group, len(position)) for group in groups], dtype=np.int64)
    if len(unit) != len(values):
        raise ValueError(f"{len(values)} differences have {len(unit)} groups: give one for each.")
    sums, sizes = (np.bincount(unit, weights, len(position)).astype(np.float64) for weights in (values, None))
    return sums, sizes


def _resampled_means(sums: Floats, sizes: Floats, resamples: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // len(sums))
    parts = []
    for start in range(0, resamples, step):
        drawn = random.integers(0, len(sums), (min(step, resamples - start), len(sums)))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)
