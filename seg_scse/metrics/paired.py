"""Two networks on the same images: paired differences with intervals, tests, effect sizes, and refusals to test."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import ROUNDING, Bootstrap, Floats, missing_reason, unit_sums
from seg_scse.metrics.intervals import column_intervals, with_foreground
from seg_scse.metrics.signed_rank import SignedRank, holm, signed_rank

__all__ = ["Comparison", "compare_columns", "compare_many", "holm"]


@dataclass(frozen=True)
class Comparison:
    """How a score differs between two networks, A and B, over the images that both score.

    Attributes:
        images: images scored in both.
        n: independent units among them: groups, or images where there are none.
        mean_a: mean of A over these images; None without any.
        mean_b: mean of B over these images.
        difference: mean of B - A over these images.
        low: lower end of its interval; None without one.
        high: upper end.
        wins: units where B is better; where units are groups, by the mean over their images.
        ties: units where both are equal, but for rounding (1e-12).
        losses: units where B is worse.
        p: two-sided p-value of the signed-rank test over the units; None where nothing is tested.
        p_holm: the same after Holm's correction over all tests of the comparison.
        reachable: the smallest `p_holm` that any data with so many units that differ could give; None where no test
            is meant.
        rank_biserial: rank-biserial correlation, in [-1, 1], positive where B is larger; None without a difference.
        cohen_dz: mean over the units of their difference, divided by its standard deviation; None where it is 0.
        sd: standard deviation of the units' differences; None with fewer than two.
        reason: why there is no interval or no test; empty where there are both.
    """

    images: int
    n: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    wins: int
    ties: int
    losses: int
    p: float | None
    p_holm: float | None
    reachable: float | None
    rank_biserial: float | None
    cohen_dz: float | None
    sd: float | None
    reason: str


def compare_columns(
    a: Floats,
    b: Floats,
    groups: Sequence[Hashable] | None,
    settings: Bootstrap,
    *,
    lower_is_better: bool = False,
) -> tuple[Comparison, ...]:
    """Compare a score of two networks on the same images; see `compare_many`.

    Returns:
        K + 1 comparisons: foreground, then the classes.
    """
    return compare_many([(a, b)], groups, settings, lower_is_better=lower_is_better)[0]


def compare_many(
    pairs: Sequence[tuple[Floats, Floats]],
    groups: Sequence[Hashable] | None,
    settings: Bootstrap,
    *,
    lower_is_better: bool = False,
) -> tuple[tuple[Comparison, ...], ...]:
    """Compare a score of several pairs of networks on the same images, with one correction over all tests.

    The foreground of an image is the mean over the classes 1 .. K - 1 scored in both. Tested are, in every pair, the
    foreground and each of these classes, one test where there is one such class; never class 0. The test is the
    signed-rank test over units (`metrics.signed_rank`): units without a difference count as ties and are left out of
    it. A test in which no data with so many units that differ could reach 1 - `settings.level` after Holm's correction
    is refused: its p is None, and the reason says so. It stays among the tests that the others are corrected for.

    Args:
        pairs: scores of A and of B, each (N, K), NaN where the class is not scored in the image.
        groups: the independent unit of each image, or None; where given, the test is over the units' means.
        settings: how the intervals are made.
        lower_is_better: whether a smaller score wins, as for distances.

    Returns:
        For each pair K + 1 comparisons: foreground, then the classes.

    Raises:
        DataError: two scores differ in shape, one is infinite, or the number of groups differs from the images.
    """
    measured = [_measure(a, b, groups, settings, lower_is_better) for a, b in pairs]
    family = [(pair, row) for pair, rows in enumerate(measured) for row in _tested_rows(rows)]
    tests = [measured[pair][row][1] for pair, row in family]
    limit = round(1 - settings.level, 12)
    outcomes = zip(family, holm([test.p for test in tests]), holm([test.smallest for test in tests]), strict=True)
    result = [[comparison for comparison, _ in rows] for rows in measured]
    for (pair, row), p_holm, reachable in outcomes:
        comparison, test = measured[pair][row]
        result[pair][row] = _judge(comparison, test, p_holm, reachable, limit, len(tests))
    for rows in result:
        if len(rows) == 3:  # of two classes, the foreground is class 1
            rows[2] = rows[0]
    return tuple(tuple(rows) for rows in result)


def _measure(
    a: Floats, b: Floats, groups: Sequence[Hashable] | None, settings: Bootstrap, lower_is_better: bool
) -> list[tuple[Comparison, SignedRank]]:
    """Foreground and classes of one pair, not yet corrected for the number of tests."""
    _require_alike(a.shape, b.shape)
    both = ~np.isnan(a) & ~np.isnan(b)
    columns = [with_foreground(np.where(both, column, np.nan)) for column in (a, b)]
    differences = columns[1] - columns[0]
    # Without the first row, which would be a mean over the foreground and the classes.
    ends = column_intervals({"difference": differences}, groups, settings)["difference_per_image"][1:]
    return [
        _measure_row(columns[0][:, row], columns[1][:, row], groups, end, lower_is_better)
        for row, end in enumerate(ends)
    ]


def _measure_row(
    a: Floats, b: Floats, groups: Sequence[Hashable] | None, ends: Floats, lower_is_better: bool
) -> tuple[Comparison, SignedRank]:
    """One row of `_measure` from the scores (N,) of the images, NaN where not scored in both."""
    scored = np.flatnonzero(~np.isnan(a))
    kept = None if groups is None else [groups[image] for image in scored.tolist()]
    differences = (b - a)[scored]
    sums = unit_sums(np.column_stack([differences, np.ones(len(scored))]), kept)
    units = sums[:, 0] / sums[:, 1]
    better = -units if lower_is_better else units
    n = len(units)
    sd = float(units.std(ddof=1)) if n > 1 else None
    low, high = (None if np.isnan(end) else float(end) for end in ends)
    test = signed_rank(units)
    return Comparison(
        images=len(scored),
        n=n,
        mean_a=_mean(a[scored]),
        mean_b=_mean(b[scored]),
        difference=_mean(differences),
        low=low,
        high=high,
        wins=int((better > ROUNDING).sum()),
        ties=int((np.abs(better) <= ROUNDING).sum()),
        losses=int((better < -ROUNDING).sum()),
        p=None,
        p_holm=None,
        reachable=None,
        rank_biserial=test.effect,
        cohen_dz=float(units.mean()) / sd if sd is not None and sd > ROUNDING else None,
        sd=sd,
        reason="" if low is not None else _no_interval(n, groups),
    ), test


def _tested_rows(rows: Sequence[tuple[Comparison, SignedRank]]) -> list[int]:
    """The rows that are tested, where there is a unit to test."""
    candidates = [0] if len(rows) == 3 else [0, *range(2, len(rows))]
    return [row for row in candidates if rows[row][0].n]


def _judge(
    comparison: Comparison, test: SignedRank, p_holm: float, reachable: float, limit: float, tests: int
) -> Comparison:
    """Fill in the test, or why there is none."""
    if reachable <= limit:
        return replace(comparison, p=test.p, p_holm=p_holm, reachable=reachable)
    if test.n:
        over = "" if tests == 1 else f" after Holm's correction over {tests} tests"
        units = f"{test.n} differing unit{'' if test.n == 1 else 's'}"
        reason = f"not tested: data with {units} can give no p below {reachable:.2g}{over}, and {limit:g} is needed"
    else:
        reason = "not tested: no unit differs"
    return replace(comparison, reachable=reachable, reason="; ".join(filter(None, [comparison.reason, reason])))


def _no_interval(n: int, groups: Sequence[Hashable] | None) -> str:
    """Why n units scored in both have no interval."""
    if not n:
        return "no image is scored in both"
    few = f"no interval: only {n} {_units(n, groups)} are scored in both, so that many resamples hold none"
    return missing_reason(n, groups is not None) or few


def _units(n: int, groups: Sequence[Hashable] | None) -> str:
    """The word for n units."""
    return ("image" if groups is None else "group") + ("" if n == 1 else "s")


def _mean(values: Floats) -> float | None:
    """A plain mean; None of nothing."""
    return float(values.mean()) if values.size else None


def _require_alike(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Refuse scores of other images or classes."""
    if a != b:
        raise DataError(
            f"A has scores of {a} images x classes, B of {b}: compare networks scored on the same images and classes."
        )
