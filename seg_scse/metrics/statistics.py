"""A mean of paired differences with its interval, as plain numbers for a results file."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import Bootstrap, Floats, bootstrap, count_units, missing_reason, unit_sums


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


def mean_interval(values: Sequence[float] | Floats, groups: Sequence[Hashable] | None, settings: Bootstrap) -> Interval:
    """Estimate a mean over images, with an interval over their independent units.

    The difference of two scores of one image, given as one value, is resampled as a whole, so that what makes an image
    hard for both does not widen the interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections
    8.3 and 13.3). With groups, whole groups are resampled, and each resample's mean is over all of its values.

    Args:
        values: one finite number per image.
        groups: the independent unit that each image belongs to, such as its patient.
        settings: how the interval is made.

    Raises:
        DataError: a value is not finite, or the lengths differ.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise DataError("values of a mean must be finite: leave out the images without a score.")
    sums = unit_sums(np.column_stack([numbers, np.ones_like(numbers)]), groups)
    mean = float(numbers.mean()) if numbers.size else None
    reason = missing_reason(len(sums), groups is not None)
    if reason:
        return Interval(mean, None, None, count_units(len(numbers), groups), reason)
    found = bootstrap(sums, lambda totals: totals[:, :1] / totals[:, 1:], settings)
    return Interval(mean, float(found.low[0]), float(found.high[0]), len(sums))


def paired_interval(
    differences: Sequence[float] | Floats,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Estimate the mean of paired differences, with a percentile interval: see `mean_interval`.

    The percentile interval is slightly too narrow for few units: below about 20, take it as a rough guide.

    Args:
        differences: one finite number per image: score of the changed network minus score of the unchanged one.
        groups: the independent unit that each image belongs to, such as its patient.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.
        level: probability that the interval shall cover, in (0, 1).

    Raises:
        DataError: a difference is not finite, or the lengths differ.
        ConfigError: `level` is not in (0, 1), or `resamples` < 1.
    """
    return mean_interval(differences, groups, Bootstrap("percentile", level, resamples, seed))
