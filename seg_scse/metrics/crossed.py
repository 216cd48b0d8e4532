"""Two variants of a network over several seeds and images, paired by seed and image: difference, interval and test.

Both the seeds and the units (images or groups of them) are a sample: the question is about new runs on new images. A
test over the images of single runs takes the luck of a seed for a property of the variant. See docs/seeds.md.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from seg_scse.errors import ConfigError, DataError
from seg_scse.metrics.bootstrap import ROUNDING, Bootstrap, Floats, unit_sums
from seg_scse.metrics.intervals import two_level_intervals
from seg_scse.metrics.power import Needed, detectable_crossed, needed
from seg_scse.metrics.signed_rank import holm
from seg_scse.metrics.two_way import Components, Spread, components_of, linearised, mean_squares, p_value, spread_of

__all__ = ["Components", "Crossed", "Needed", "compare_crossed", "correct"]

HALF_A_POINT = 0.005
"""Difference that a plan is made for: half a point of a score in [0, 1]."""


@dataclass(frozen=True)
class Crossed:
    """How a score differs between two variants, A (the baseline) and B, over S seeds and the images scored in all runs.

    Attributes:
        seeds: S, number of pairs of runs.
        images: images scored in all 2 S runs.
        units: independent units among them: groups, or images where there are none.
        baseline: mean of A over seeds and these images; None without any.
        mean: mean of B.
        difference: B - A, in the unit of the score; keeps its sign where lower is better.
        low: lower end of the interval for new seeds and new units, which the test agrees with; None without one.
        high: upper end.
        bootstrap_low: lower end of the two-level percentile bootstrap, as of `two_level_intervals`; with few seeds too
            narrow where seeds differ, and too wide where most of the variation is of a seed in an image.
        bootstrap_high: upper end.
        seed_error: standard error of the difference from the seeds, with the interaction in it: what more seeds reduce;
            None where there is no interval.
        unit_error: standard error from the units: what only more units reduce.
        p: two-sided p-value of no difference; None until `correct`, and where nothing can be tested.
        p_holm: the same after Holm's correction over all declared comparisons.
        tested: whether there is a p-value.
        reason: why there is no interval or test; empty where there is.
        effect: Cohen's dz: mean over the units of their difference (mean over seeds) divided by its standard deviation,
            above 0 where B is better; None where that is 0.
        improved: units where B is better by the mean over seeds and images.
        ties: units where both are equal, but for rounding (1e-12).
        worse: units where B is worse.
        by_seed: B - A of each seed, over the same images.
        components: standard deviations of the differences by their source; None where there is no interval.
        detectable: difference that 4 of 5 studies of this size would show at the strictest level of Holm's correction;
            None until `correct`, and where the differences do not vary.
        needed: seeds, or units, that half a point would take; None as `detectable`.
        distinguishable: `p_holm` is at most 1 - level and the interval leaves out 0.
    """

    seeds: int
    images: int
    units: int
    baseline: float | None
    mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    seed_error: float | None
    unit_error: float | None
    p: float | None
    p_holm: float | None
    tested: bool
    reason: str
    effect: float | None
    improved: int
    ties: int
    worse: int
    by_seed: tuple[float, ...]
    components: Components | None
    detectable: float | None
    needed: Needed | None
    distinguishable: bool


class _Intervals(NamedTuple):
    """What needs two seeds and two units."""

    low: float | None = None
    high: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    seed_error: float | None = None
    unit_error: float | None = None
    components: Components | None = None


def compare_crossed(
    a: Floats, b: Floats, groups: Sequence[Hashable] | None, settings: Bootstrap, *, lower_is_better: bool = False
) -> Crossed:
    """Compare a score of two variants over the same seeds and images; `correct` adds the tests.

    An image counts where it has a score in all 2 S runs. The difference is the mean over these images and the seeds.
    Its interval is difference +- sqrt((t[S - 1] e_S)^2 + (t[U - 1] e_U)^2), with the standard errors of seeds and units
    from the two-way analysis of variance (`metrics.two_way`).

    Args:
        a: scores of the baseline, (S, N), seeds x images; NaN where not scored.
        b: scores of the other variant, the same seeds and images in the same order.
        groups: the independent unit of each of the N images, or None where each image is one.
        settings: level of the intervals; resamples and seed of the bootstrap.
        lower_is_better: whether a smaller score wins, as for distances.

    Raises:
        DataError: the scores differ in shape or one is infinite, or the number of groups differs from the images.
    """
    _require_scores(a, b, groups)
    scored = np.flatnonzero(~np.isnan(a).any(axis=0) & ~np.isnan(b).any(axis=0)) if len(a) else np.arange(0)
    kept = None if groups is None else [groups[image] for image in scored.tolist()]
    return _measure(a[:, scored], b[:, scored], kept, settings, -1 if lower_is_better else 1)


def _measure(a: Floats, b: Floats, groups: Sequence[Hashable] | None, settings: Bootstrap, sign: int) -> Crossed:
    """Compare scores without a gap; `sign` is -1 where lower is better."""
    differences, count = b - a, a.shape[1]
    sums = unit_sums(np.column_stack([differences.T, np.ones(count)]), groups)
    by_unit, images = (sums[:, :-1] / sums[:, -1:]).T, sums[:, -1]
    reason = _missing(count, len(a), len(images), groups is not None)
    found = _Intervals() if reason else _intervals(differences, linearised(by_unit, images), groups, settings)
    better = sign * by_unit.mean(axis=0) if by_unit.size else np.zeros(0)
    return Crossed(
        seeds=len(a),
        images=count,
        units=len(images),
        baseline=_mean(a),
        mean=_mean(b),
        difference=_mean(differences),
        p=None,
        p_holm=None,
        tested=False,
        reason=reason,
        effect=_effect(better),
        improved=int((better > ROUNDING).sum()),
        ties=int((np.abs(better) <= ROUNDING).sum()),
        worse=int((better < -ROUNDING).sum()),
        by_seed=tuple(differences.mean(axis=1).tolist()) if differences.size else (),
        detectable=None,
        needed=None,
        distinguishable=False,
        **found._asdict(),
    )


def correct(results: Sequence[Crossed], level: float, *, difference: float = HALF_A_POINT) -> list[Crossed]:
    """Test all declared comparisons, with Holm's correction over them.

    A comparison that cannot be tested, since its interval cannot be made, stays among those that the others are
    corrected for, as if its p were 1: it was declared. The others are tested: Student's t has no smallest p, so no
    number of seeds above one rules a result out; `detectable` says what is in reach.

    Args:
        results: one for every declared comparison.
        level: 1 less the rate of false alarms over all of them, in (0, 1): that of the intervals.
        difference: what `needed` plans for, above 0.

    Returns:
        The same in their order, with `p`, `p_holm`, `tested`, `detectable`, `needed` and `distinguishable`.

    Raises:
        ConfigError: level or difference is out of its range.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level = {level} must lie between 0 and 1, such as 0.95.")
    p_values = [_p(result) for result in results]
    corrected = holm([1.0 if p is None else p for p in p_values])
    return [
        result if p is None else _judge(result, p, p_holm, len(results), level, difference)
        for result, p, p_holm in zip(results, p_values, corrected, strict=True)
    ]


def _judge(result: Crossed, p: float, p_holm: float, tests: int, level: float, difference: float) -> Crossed:
    """Fill in the test and the plan."""
    components, low, high = result.components, result.low, result.high
    if components is None or low is None or high is None:
        return result
    found = p_holm <= round(1 - level, 12) and not low <= 0 <= high
    result = replace(result, p=p, p_holm=p_holm, tested=True, distinguishable=found)
    if high - low <= ROUNDING:
        return result  # differences that do not vary say nothing about what other studies would need
    plan = (components, result.seeds, result.units, tests, level)
    return replace(result, detectable=detectable_crossed(*plan), needed=needed(*plan, difference))


def _p(result: Crossed) -> float | None:
    """Uncorrected p-value; None where there is no interval."""
    if result.difference is None or result.seed_error is None or result.unit_error is None or not result.components:
        return None
    rest = result.components.interaction / math.sqrt(result.seeds * result.units)
    spread = Spread(result.seed_error, result.unit_error, result.seeds - 1, result.units - 1, rest)
    return p_value(result.difference, spread)


def _intervals(
    differences: Floats, table: Floats, groups: Sequence[Hashable] | None, settings: Bootstrap
) -> _Intervals:
    """Both intervals and the components, from differences (S, N) and the table of units (S, U)."""
    found = mean_squares(table)
    spread = spread_of(found, *table.shape)
    mean, width = float(differences.mean()), spread.half_width(1 - settings.level)
    bootstrap = two_level_intervals([row[:, None] for row in differences], groups, settings)[1]
    return _Intervals(
        low=mean - width,
        high=mean + width,
        bootstrap_low=float(bootstrap[0]),
        bootstrap_high=float(bootstrap[1]),
        seed_error=spread.seeds,
        unit_error=spread.units,
        components=components_of(found, *table.shape),
    )


def _missing(images: int, seeds: int, units: int, grouped: bool) -> str:
    """Say why so few seeds or units have no interval; empty where they have one."""
    if seeds < 2:
        return f"an interval over seeds needs at least two seeds, not {seeds}"
    if not images:
        return f"no image is scored in all {2 * seeds} runs"
    word = "groups" if grouped else "images"
    return f"an interval needs at least two {word} scored in all {2 * seeds} runs, not {units}" if units < 2 else ""


def _effect(better: Floats) -> float | None:
    """Cohen's dz of the units' differences; None where they do not vary."""
    sd = float(better.std(ddof=1)) if better.size > 1 else 0.0
    return float(better.mean()) / sd if sd > ROUNDING else None


def _mean(values: Floats) -> float | None:
    """A plain mean; None of nothing."""
    return float(values.mean()) if values.size else None


def _require_scores(a: Floats, b: Floats, groups: Sequence[Hashable] | None) -> None:
    """Refuse scores of other seeds or images, infinite ones, and groups that are not one for each image."""
    if a.ndim != 2 or a.shape != b.shape:
        raise DataError(f"A has scores of {a.shape} seeds x images, B of {b.shape}: compare the same seeds and images.")
    infinite = int(np.isinf(a).sum() + np.isinf(b).sum())
    if infinite:
        raise DataError(f"{infinite} of {2 * a.size} scores are infinite; use NaN where nothing is scored.")
    if groups is not None and len(groups) != a.shape[1]:
        raise DataError(f"{a.shape[1]} images have {len(groups)} groups: give one for each.")
