"""Intervals of every score: means of per-image scores, pooled scores, and means over several runs.

Row 0 of a result is `foreground`, the mean over the classes 1 .. K - 1 that have a score; then the classes follow. In a
resample it is the mean over the classes that the resample holds, as in the score itself.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import (
    Bootstrap,
    Floats,
    bootstrap,
    draw_weights,
    quantile_interval,
    resample_weights,
    unit_sums,
)
from seg_scse.metrics.ratios import METRICS, Cells, Numbers, total_ratio

MOST_VALUES = 1 << 23
"""Statistics of resamples, or of units, held in memory at a time, unless one score alone has more."""

Formulas = Callable[..., Mapping[str, Floats]]
"""From summed counts, each (R, K), to scores by name, each (R, K), NaN where undefined."""


class Totals(NamedTuple):
    """Summed pixel counts, each (R, K): `metrics.ratios.Cells` of resamples."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats


def column_intervals(
    columns: Mapping[str, Floats], groups: Sequence[Hashable] | None, settings: Bootstrap
) -> dict[str, Floats]:
    """Intervals of the means of per-image scores.

    Each resample's mean is over the scored images of the drawn units, so that an image weighs the same in a large group
    as in a small one. All scores use the same resamples.

    Args:
        columns: by score name, (N, K), images x classes; NaN where the class is not scored in the image.
        groups: the independent unit of each image, such as its patient; None where each image stands for itself.
        settings: how the intervals are made.

    Returns:
        `<name>_per_image`: (K + 1, 2), lower and upper ends, foreground first; NaN without an interval: there are
        fewer than two units, or so few hold the class that more than 1 % of the resamples lack it.

    Raises:
        DataError: a score is infinite, or the number of groups differs from the number of images.
    """
    result: dict[str, Floats] = {}
    names = list(columns)
    while names:
        images, classes = columns[names[0]].shape
        batch = names[: _together(images, classes, settings)]
        names = names[len(batch) :]
        sums = unit_sums(np.hstack([_summands(name, columns[name]) for name in batch]), groups)
        found = bootstrap(sums, partial(_means, columns=len(batch)), settings)
        ends = np.stack([found.low, found.high], axis=1).reshape(len(batch), classes + 1, 2)
        result |= {f"{name}_per_image": interval for name, interval in zip(batch, ends, strict=True)}
    return result


def total_estimates(
    counts: Sequence[Numbers], formulas: Formulas, groups: Sequence[Hashable] | None, settings: Bootstrap
) -> dict[str, Floats]:
    """Scores of counts that are summed over the images, with their intervals.

    Args:
        counts: the arguments of `formulas` for each image, each (N, K).
        formulas: from summed counts, each (R, K), to scores by name, each (R, K), NaN where undefined.
        groups: the independent unit of each image, or None.
        settings: how the intervals are made.

    Returns:
        By name (K + 1, 3): score, lower and upper end, foreground first; NaN as in `column_intervals`.
    """
    sums = unit_sums(np.hstack([np.asarray(count, dtype=np.float64) for count in counts]), groups)
    names: list[str] = []

    def pooled(totals: Floats) -> Floats:
        scores = formulas(*np.split(totals, len(counts), axis=1))
        names[:] = list(scores)
        return np.hstack([with_foreground(score) for score in scores.values()])

    found = bootstrap(sums, pooled, settings)
    estimates = np.stack([found.estimate, found.low, found.high], axis=1).reshape(len(names), -1, 3)
    return dict(zip(names, estimates, strict=True))


def total_intervals(
    counts: Sequence[Numbers], formulas: Formulas, groups: Sequence[Hashable] | None, settings: Bootstrap
) -> dict[str, Floats]:
    """Intervals of scores of counts that are summed over the images, such as of objects: see `total_estimates`.

    Returns:
        `<name>_pooled`: (K + 1, 2) as in `column_intervals`.
    """
    found = total_estimates(counts, formulas, groups, settings)
    return {f"{name}_pooled": estimates[:, 1:] for name, estimates in found.items()}


def pooled_intervals(counts: Cells, groups: Sequence[Hashable] | None, settings: Bootstrap) -> dict[str, Floats]:
    """Intervals of the pooled scores, whose pixels are summed over the images.

    Args:
        counts: tp, fp, fn and tn of each image and class, (N, K).
        groups: the independent unit of each image, or None.
        settings: how the intervals are made.

    Returns:
        `<metric>_pooled` for each of `metrics.ratios.METRICS`: (K + 1, 2) as in `column_intervals`.
    """
    arrays = [counts.tp, counts.fp, counts.fn, counts.tn]
    images, classes = np.shape(counts.tp)
    together = _together(images, classes, settings)
    result: dict[str, Floats] = {}
    for start in range(0, len(METRICS), together):
        formulas = partial(_pooled_scores, METRICS[start : start + together])
        result |= total_intervals(arrays, formulas, groups, settings)
    return result


def _pooled_scores(metrics: Sequence[str], *totals: Floats) -> dict[str, Floats]:
    """Scores of summed pixel counts, elementwise."""
    return {metric: total_ratio(metric, Totals(*totals)) for metric in metrics}


def _together(images: int, classes: int, settings: Bootstrap) -> int:
    """How many scores are resampled at a time."""
    return max(1, MOST_VALUES // (max(settings.resamples, images) * (classes + 1)))


def two_level_intervals(
    columns_by_run: Sequence[Floats], groups: Sequence[Hashable] | None, settings: Bootstrap
) -> Floats:
    """Intervals of a score's mean over runs that differ in their seed, for new runs and new images alike.

    Runs and units are crossed, every run having scored every image; so each resample draws runs and, independently,
    units, and takes the mean of the drawn runs' scores over the drawn units (Owen 2007, The pigeonhole bootstrap). Of R
    runs, R - 1 are drawn, for otherwise the variance between few runs comes out too small by (R - 1) / R (Rao and Wu
    1988, section 2). The interval is a percentile interval whatever `settings.method` says: the acceleration of BCa is
    not defined for crossed samples.

    Args:
        columns_by_run: by run, (N, K) as in `column_intervals`, the same images in the same order.
        groups: the independent unit of each image, or None.
        settings: level, resamples and seed.

    Returns:
        (K + 1, 2) as in `column_intervals`; NaN with fewer than two runs or units, see `bootstrap.missing_reason`.

    Raises:
        DataError: the runs differ in their number of images or classes, or a score is infinite.
    """
    shapes = [column.shape for column in columns_by_run]
    if not shapes or any(shape != shapes[0] for shape in shapes):
        raise DataError(f"scores of {len(shapes)} runs have the shapes {shapes}: score the same images in every run.")
    sums = unit_sums(np.hstack([_summands("score", column) for column in columns_by_run]), groups)
    estimate = _run_mean(_means(sums.sum(axis=0, keepdims=True), len(shapes)), np.ones((1, len(shapes))))[0]
    if len(sums) < 2 or len(shapes) < 2:
        return np.full((len(estimate), 2), np.nan)
    random = np.random.default_rng([settings.seed, 1])  # other draws than those of the units
    values = np.empty((len(estimate), settings.resamples))
    for places, weights in resample_weights(len(sums), settings):
        runs = draw_weights(len(shapes), len(shapes) - 1, len(weights), random)
        values[:, places] = _run_mean(_means(weights @ sums, len(shapes)), runs).T
    found = quantile_interval(values, estimate, settings, None)
    return np.stack([found.low, found.high], axis=1)


def _run_mean(by_run: Floats, weights: Floats) -> Floats:
    """Mean over runs, (R, K + 1), from the scores of each, (R, runs (K + 1)), and their weights, (R, runs)."""
    rows, runs = weights.shape
    return _weighted_mean(by_run.reshape(rows, runs, -1), weights[:, :, None], axis=1)


def with_foreground(scores: Floats) -> Floats:
    """Scores of the classes, (R, K), after their foreground mean, (R, K + 1); NaN where no class has a score."""
    foreground = _weighted_mean(scores[:, 1:], np.ones((1, scores.shape[1] - 1)), axis=1)
    return np.column_stack([foreground, scores])


def _summands(name: str, column: Floats) -> Floats:
    """What is summed for the mean of a column, (N, 2 K): the scores, 0 where not scored; and 1 where scored."""
    infinite = int(np.isinf(column).sum())
    if infinite:
        raise DataError(f"{name}: {infinite} of {column.size} scores are infinite; use NaN where nothing is scored.")
    scored = ~np.isnan(column)
    return np.hstack([np.where(scored, column, 0.0), scored])


def _means(totals: Floats, columns: int) -> Floats:
    """Foreground and class means of several columns from the sums of `_summands`, (R, columns (K + 1))."""
    sums = totals.reshape(len(totals), columns, 2, -1)
    means = divide(sums[:, :, 0], sums[:, :, 1]).reshape(len(totals) * columns, -1)
    return with_foreground(means).reshape(len(totals), -1)


def _weighted_mean(values: Floats, weights: Floats, axis: int) -> Floats:
    """Mean of the numbers that are not NaN; NaN without any."""
    known = ~np.isnan(values)
    return divide((np.where(known, values, 0.0) * weights).sum(axis=axis), (known * weights).sum(axis=axis))


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    quotient: Floats = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
