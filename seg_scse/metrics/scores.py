"""Scores from a counts table. docs/metrics.md gives the definitions, a worked example and how other tools differ.

A score carries its averaging in its name. `*_per_image`: the score of each image, then the mean over the images where
it is defined. `*_pooled`: one score from the counts summed over all images. `foreground`: the mean over the classes
1 .. K - 1 that are not n/a. None is n/a: the score is 0 / 0 in every image, or in the sum.

A column holds a score of every image and class, float64 (N, K), NaN where it is not scored. Whatever gives one, pixels,
boundaries or objects, is averaged here in the same way.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from seg_scse.errors import ConfigError
from seg_scse.metrics.counts import CountArrays, CountsTable
from seg_scse.metrics.ratios import METRICS, RULED, Empty, Floats, image_ratio, total_ratio

__all__ = [
    "FOREGROUND",
    "METRICS",
    "Empty",
    "averages",
    "cases",
    "column_scores",
    "foreground_score",
    "image_scores",
    "per_image_rows",
    "per_image_scores",
    "score_table",
]

Score = float | None
Row = dict[str, str | int | float | None]

FOREGROUND = "foreground"
PER_IMAGE, POOLED = "_per_image", "_pooled"


def image_scores(table: CountsTable, empty: Empty) -> dict[str, Floats]:
    """Score every image and class: a column for each of METRICS; `ratios` holds the formulas.

    Args:
        table: counts of the images.
        empty: what dice, iou, precision and recall are in an image in which a class is in neither truth nor
            prediction: nothing (exclude), one, or zero. Neither `one` nor `zero` makes up a score where there is
            nothing to score: for an image without a single valid pixel, and for a class whose score is 0 / 0 in
            every image.

    Returns:
        For each of METRICS a float64 (N, K), NaN where the class is not scored in the image: `empty` says so, or the
        ratio is 0 / 0 (precision without a predicted pixel, recall and volumes without a true one), or it is in no
        image at all. In [0, 1], but `volume_error` in [0, inf) and `volume_bias` in [-1, inf).
    """
    arrays = table.arrays()
    return {metric: image_ratio(metric, arrays, empty) for metric in METRICS}


def column_scores(column: Floats, classes: Sequence[str]) -> dict[str, Score]:
    """Average a column over the images, in the form of `scores.<name>_per_image` in results.json.

    Args:
        column: float64 (N, K), NaN where not scored.
        classes: class names in index order.

    Returns:
        {"foreground": mean of the foreground classes' means, class name: mean over its scored images, ...}.
    """
    return _with_foreground([_mean(values) for values in column.T], classes)


def score_table(table: CountsTable, classes: Sequence[str], empty: Empty) -> dict[str, dict[str, Score]]:
    """Compute all scores of a set of images, in the form of `scores` in results.json.

    Args:
        table: counts of the images.
        classes: class names in index order.
        empty: the policy of `image_scores`.

    Returns:
        `<metric>_per_image` and `<metric>_pooled`, each {"foreground": score, class name: score, ...}.

    Raises:
        ConfigError: the names do not fit the table.
    """
    _check_classes(table, classes)
    arrays = table.arrays()
    totals = _pool(arrays)
    result = {}
    for metric in METRICS:
        result[f"{metric}{PER_IMAGE}"] = column_scores(image_ratio(metric, arrays, empty), classes)
        result[f"{metric}{POOLED}"] = _with_foreground(_scores(total_ratio(metric, totals)), classes)
    return result


def foreground_score(table: CountsTable, name: str, empty: Empty) -> Score:
    """One number for a monitor, equal to `score_table(...)[name]["foreground"]`, without computing the others.

    Args:
        table: counts of the images.
        name: such as `dice_per_image` or `iou_pooled`.
        empty: the policy of `image_scores`.
    """
    arrays = table.arrays()
    if name.endswith(POOLED):
        return _mean(total_ratio(name.removesuffix(POOLED), _pool(arrays))[1:])
    column = image_ratio(name.removesuffix(PER_IMAGE), arrays, empty)
    return _foreground([_mean(values) for values in column.T])


def averages(table: CountsTable, classes: Sequence[str], empty: Empty) -> dict[str, dict[str, Score]]:
    """Average over the classes in the ways that other papers do, in the form of `averages` in results.json.

    Args:
        table: counts of the images.
        classes: class names in index order.
        empty: the policy of `image_scores`; for `micro` it rules over images without a single one of the classes.

    Returns:
        `<metric>_per_image` and `<metric>_pooled` for dice, iou, precision and recall, each with the keys
        `macro_*`: mean of the classes' scores; the foreground's is `foreground` in `score_table`;
        `micro_*`: score of the counts summed over the classes, in each image (then the mean) or in the whole set;
        `weighted_*`: mean of the classes' scores weighted by the true pixels of the class in the whole set;
        where * is `foreground` (classes 1 .. K - 1) or `all` (class 0 too). Classes that are n/a are left out.

    Raises:
        ConfigError: the names do not fit the table.
    """
    scores, arrays = score_table(table, classes, empty), table.arrays()
    weights = (arrays.tp + arrays.fn).sum(axis=0).tolist()
    result: dict[str, dict[str, Score]] = {f"{metric}{kind}": {} for metric in RULED for kind in (PER_IMAGE, POOLED)}
    for ending, first in (("foreground", 1), ("all", 0)):
        summed = _join_classes(arrays, first)
        for metric in RULED:
            result[f"{metric}{PER_IMAGE}"][f"micro_{ending}"] = _mean(image_ratio(metric, summed, empty).ravel())
            result[f"{metric}{POOLED}"][f"micro_{ending}"] = _mean(total_ratio(metric, _pool(summed)))
        for name, by_average in result.items():
            values = [scores[name][label] for label in classes[first:]]
            by_average[f"macro_{ending}"] = _weighted_mean(values, [1] * len(values))
            by_average[f"weighted_{ending}"] = _weighted_mean(values, weights[first:])
    return result


def cases(table: CountsTable, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the images by where each class is.

    Returns:
        For each class `scored`: images that hold it in truth or prediction; `empty`: the others; and among those
        scored `missed`: in the truth alone, without one predicted pixel, and `false`: in the prediction alone.

    Raises:
        ConfigError: the names do not fit the table.
    """
    _check_classes(table, classes)
    arrays = table.arrays()
    truth, predicted = arrays.tp + arrays.fn > 0, arrays.tp + arrays.fp > 0
    kinds = {
        "scored": truth | predicted,
        "empty": ~truth & ~predicted,
        "missed": truth & ~predicted,
        "false": predicted & ~truth,
    }
    totals = {kind: where.sum(axis=0).tolist() for kind, where in kinds.items()}
    return {name: {kind: totals[kind][index] for kind in kinds} for index, name in enumerate(classes)}


def per_image_scores(table: CountsTable, classes: Sequence[str], empty: Empty) -> list[Row]:
    """Score each image by its pixel counts, in the form of the rows of per_image.csv.

    Args:
        table: counts of the images.
        classes: class names in index order.
        empty: the policy of `image_scores`.

    Returns:
        The rows of `per_image_rows` for all METRICS.

    Raises:
        ConfigError: the names do not fit the table.
    """
    _check_classes(table, classes)
    return per_image_rows(table.ids, table.arrays(), image_scores(table, empty), classes)


def per_image_rows(
    ids: Sequence[str], sides: CountArrays, columns: Mapping[str, Floats], classes: Sequence[str]
) -> list[Row]:
    """Put columns side by side, one row per image.

    Args:
        ids: sample ids.
        sides: the counts of the same images, whose height, width and ignored pixels are given.
        columns: metric name -> float64 (N, K).
        classes: class names in index order.

    Returns:
        id, height, width, ignored, and for every column `<metric>_foreground`, the mean over the foreground classes
        scored in that image, and `<metric>_<class>`. None: not scored.
    """
    rows = []
    for image, sample_id in enumerate(ids):
        row: Row = {"id": sample_id}
        row |= {name: int(getattr(sides, name)[image]) for name in ("height", "width", "ignored")}
        for metric, column in columns.items():
            by_class = _with_foreground(_scores(column[image]), classes)
            row |= {f"{metric}_{name}": score for name, score in by_class.items()}
        rows.append(row)
    return rows


def _pool(arrays: CountArrays) -> CountArrays:
    """The sums over the images."""
    return CountArrays(*(column.sum(axis=0) for column in arrays))


def _join_classes(arrays: CountArrays, first: int) -> CountArrays:
    """The counts summed over the classes from `first` on, as if they were one: (N, 1)."""
    tp, fp, fn, tn = (column[:, first:].sum(axis=1, keepdims=True) for column in arrays[:4])
    return arrays._replace(tp=tp, fp=fp, fn=fn, tn=tn)


def _scores(values: Floats) -> list[Score]:
    """Plain floats, None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _mean(values: Iterable[float]) -> Score:
    """Mean of the numbers that are not NaN; None without any. The exact sum makes it independent of their order."""
    numbers = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _weighted_mean(scores: Iterable[Score], weights: Iterable[int]) -> Score:
    """Weighted mean of the scores that are not None; None where no weight is left."""
    pairs = [(score, weight) for score, weight in zip(scores, weights, strict=True) if score is not None]
    total = sum(weight for _, weight in pairs)
    return math.fsum(score * weight for score, weight in pairs) / total if total else None


def _foreground(scores: Sequence[Score]) -> Score:
    """Mean over the foreground classes that have a score."""
    return _mean(score for score in scores[1:] if score is not None)


def _with_foreground(scores: Sequence[Score], classes: Sequence[str]) -> dict[str, Score]:
    """Scores by class name, after the mean over the foreground classes that have one."""
    return {FOREGROUND: _foreground(scores), **dict(zip(classes, scores, strict=True))}


def _check_classes(table: CountsTable, classes: Sequence[str]) -> None:
    """Refuse names that do not fit the table or hide the mean over the foreground."""
    if len(classes) != table.num_classes:
        raise ConfigError(
            f"classes={list(classes)} has {len(classes)} names for counts of {table.num_classes} classes: "
            "give one name per class."
        )
    if FOREGROUND in classes and list(classes[1:]) != [FOREGROUND]:  # of two classes, it is its own mean
        raise ConfigError(
            f"classes={list(classes)}: with this list, {FOREGROUND!r} would be both a class and the mean over the "
            "foreground classes. Rename the class."
        )
