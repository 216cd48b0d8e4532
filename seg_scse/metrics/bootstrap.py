"""The bootstrap of the package: intervals of statistics that are functions of sums over independent units.

A unit is what was sampled independently: an image, or all images of a patient or scene. Every score here is a function
of sums over the units (of Dice and the number of scored images, of tp, fp and fn), so a resample needs only how often
each unit was drawn, and all resamples of all scores are one matrix product.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""From sums (R, M) to statistics (R, Q), row by row; NaN where undefined."""

CHUNK = 1 << 19
"""Draws held in memory at a time."""
UNDEFINED_SHARE = 0.01
"""Largest share of undefined resamples with which there is an interval. A class that few units hold is absent from many
resamples: from 1.8 % where 4 of many units hold it, and from 0.7 % where 5 do."""
ROUNDING = 1e-12
"""Difference, relative or absolute, within which two statistics are equal but for rounding."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        method: `bca`, bias-corrected and accelerated (Efron 1987), or `percentile`.
        level: probability that an interval shall cover, in (0, 1).
        resamples: number of resamples, at least 1.
        seed: seed of the resampling; the same seed and units draw the same resamples.

    Raises:
        ConfigError: a value is out of its range.
    """

    method: Literal["bca", "percentile"] = "bca"
    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("bca", "percentile"):
            raise ConfigError(f"method = {self.method!r} is no kind of interval: use bca or percentile.")
        if not 0 < self.level < 1:
            raise ConfigError(f"level = {self.level} must lie between 0 and 1, such as 0.95.")
        if self.resamples < 1:
            raise ConfigError(f"resamples = {self.resamples} must be at least 1: 10000 is usual.")


class Estimates(NamedTuple):
    """Statistics with their intervals, each (Q,).

    Attributes:
        estimate: the statistics of the units as they are; NaN where undefined.
        low: lower ends; NaN where there is no interval.
        high: upper ends; NaN where there is no interval.
        undefined: share of the resamples in which the statistic is undefined.
    """

    estimate: Floats
    low: Floats
    high: Floats
    undefined: Floats


def unit_sums(values: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """Sum the rows of each independent unit.

    Args:
        values: (N, M), one row per image.
        groups: the unit of each image; None where each image is one.

    Returns:
        (U, M), units in order of first appearance.

    Raises:
        DataError: the number of groups differs from the number of images.
    """
    if groups is None:
        return values
    position: dict[Hashable, int] = {}
    unit = np.array([position.setdefault(group, len(position)) for group in groups], dtype=np.int64)
    if len(unit) != len(values):
        raise DataError(f"{len(values)} images have {len(unit)} groups: give one for each.")
    sums = np.zeros((len(position), values.shape[1]))
    np.add.at(sums, unit, values)
    return sums


def count_units(images: int, groups: Sequence[Hashable] | None) -> int:
    """The number of independent units."""
    return images if groups is None else len(set(groups))


def missing_reason(units: int, grouped: bool, runs: int | None = None) -> str:
    """Say why there is no interval of so few units, or runs where several were given; empty where there is one."""
    if units < 2:
        return f"an interval needs at least two {'groups' if grouped else 'images'}, not {units}"
    if runs is not None and runs < 2:
        return f"an interval over runs needs at least two runs, not {runs}"
    return ""


def draw_weights(units: int, draws: int, resamples: int, random: np.random.Generator) -> Floats:
    """How often each unit is drawn in each resample of `draws` units with replacement, (resamples, units)."""
    drawn = random.integers(0, units, (resamples, draws))
    drawn += np.arange(resamples)[:, None] * units
    times = np.bincount(drawn.ravel(), minlength=resamples * units)
    return times.reshape(resamples, units).astype(np.float64)


def resample_weights(units: int, settings: Bootstrap) -> Iterator[tuple[slice, Floats]]:
    """Draw all resamples, some at a time: their places, and how often each unit is drawn, (resamples, units)."""
    random = np.random.default_rng(settings.seed)
    step = max(1, CHUNK // units)
    for start in range(0, settings.resamples, step):
        stop = min(start + step, settings.resamples)
        yield slice(start, stop), draw_weights(units, units, stop - start, random)


def bootstrap(sums: Floats, statistic: Statistic, settings: Bootstrap) -> Estimates:
    """Estimate statistics of sums over independent units, with intervals.

    Units are drawn with replacement. Resamples in which a statistic is undefined are left out of its quantiles; where
    they are more than `UNDEFINED_SHARE` of all, or there are fewer than two units, the ends are NaN. Where all
    resamples agree but for rounding, both ends are the estimate. The result depends on the seed and, but for rounding,
    not on the number of draws held in memory; beyond those, memory is one number per resample and statistic.

    BCa: Efron, Better bootstrap confidence intervals, 1987; Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, equations 14.9 to 14.15. Resamples that equal the estimate count half in the bias correction, and the
    acceleration comes from the jackknife, which for sums is the total less each unit in turn.

    Args:
        sums: (U, M), the summands of each unit.
        statistic: from sums (R, M) to statistics (R, Q), row by row, NaN where undefined.
        settings: how the intervals are made.
    """
    total = sums.sum(axis=0, keepdims=True)
    estimate = statistic(total)[0]
    nothing = np.full(estimate.shape, np.nan)
    if len(sums) < 2:
        return Estimates(estimate, nothing, nothing.copy(), nothing.copy())
    values = np.empty((len(estimate), settings.resamples))
    for places, weights in resample_weights(len(sums), settings):
        values[:, places] = statistic(weights @ sums).T
    left_out = statistic(total - sums) if settings.method == "bca" else None
    return quantile_interval(values, estimate, settings, left_out)


def quantile_interval(values: Floats, estimate: Floats, settings: Bootstrap, left_out: Floats | None) -> Estimates:
    """Read intervals off the resampled statistics.

    Args:
        values: (Q, R), the statistics of the resamples; sorted in place.
        estimate: (Q,).
        settings: level of the interval.
        left_out: (U, Q), the statistics without each unit, for BCa; None for the percentile interval.
    """
    values.sort(axis=1)  # undefined ones come last
    valid = (~np.isnan(values)).sum(axis=1)
    levels = np.tile([(1 - settings.level) / 2, (1 + settings.level) / 2], (len(values), 1))
    if left_out is not None:
        levels = _corrected(levels, values, estimate, valid, left_out)
    low, high = _quantiles(values, valid, levels).T
    last = np.maximum(valid - 1, 0)[:, None]
    width = np.take_along_axis(values, last, axis=1)[:, 0] - values[:, 0]
    alike = width <= ROUNDING * np.maximum(1, np.abs(estimate))
    undefined = 1 - valid / values.shape[1]
    unknown = np.isnan(estimate) | (undefined > UNDEFINED_SHARE)
    ends = [np.where(unknown, np.nan, np.where(alike, estimate, end)) for end in (low, high)]
    return Estimates(estimate, ends[0], ends[1], undefined)


def _quantiles(values: Floats, valid: Integers, levels: Floats) -> Floats:
    """Quantiles of the first `valid` sorted values of each row, interpolated linearly as by numpy, (Q, levels)."""
    place = levels * np.maximum(valid - 1, 0)[:, None]
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(valid - 1, 0)[:, None])
    lower, upper = (np.take_along_axis(values, at, axis=1) for at in (below, above))
    quantiles: Floats = lower + (upper - lower) * (place - below)
    return quantiles


def _corrected(levels: Floats, values: Floats, estimate: Floats, valid: Integers, left_out: Floats) -> Floats:
    """Levels of the BCa interval, (Q, 2)."""
    from scipy.special import ndtr, ndtri  # here, since it takes long to import

    margin = ROUNDING * np.maximum(1, np.abs(estimate))[:, None]
    less = (values < estimate[:, None] - margin).sum(axis=1)
    equal_or_less = (values <= estimate[:, None] + margin).sum(axis=1)
    one = np.maximum(valid, 1)
    share = np.clip((less + equal_or_less) / (2 * one), 0.5 / one, 1 - 0.5 / one)
    bias = ndtri(share)[:, None]
    shifted = bias + ndtri(levels)
    corrected: Floats = ndtr(bias + shifted / (1 - _acceleration(left_out)[:, None] * shifted))
    return corrected


def _acceleration(left_out: Floats) -> Floats:
    """A sixth of the skewness of the jackknife, (Q,); 0 where leaving out a unit changes nothing."""
    defined = ~np.isnan(left_out)
    count = np.maximum(defined.sum(axis=0), 1)
    filled = np.where(defined, left_out, 0.0)
    deviation = np.where(defined, filled.sum(axis=0) / count - filled, 0.0)
    spread = 6 * (deviation**2).sum(axis=0) ** 1.5
    acceleration: Floats = np.divide((deviation**3).sum(axis=0), spread, out=np.zeros(len(spread)), where=spread > 0)
    return acceleration
