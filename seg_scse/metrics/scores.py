"""Scores from a counts table. docs/metrics.md gives the definitions, a worked example and how other tools differ.

A score carries its averaging in its name. `*_per_image`: the score of each image, then the mean over the images where
it is defined. `*_pooled`: one score from the counts summed over all images. `foreground`: the mean over the classes
1 .. K - 1 that are not n/a. None is n/a: the score is 0 / 0 in every image, or in the sum.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import ConfigError
from seg_scse.metrics.counts import CountArrays, CountsTable

Empty = Literal["exclude", "one", "zero"]
Score = float | None
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

METRICS = ("dice", "iou", "precision", "recall")
FOREGROUND = "foreground"


def image_scores(table: CountsTable, empty: Empty) -> dict[str, Floats]:
    """Score every image and class.

    dice = 2 tp / (2 tp + fp + fn), iou = tp / (tp + fp + fn), precision = tp / (tp + fp), recall = tp / (tp + fn).

    Args:
        table: counts of the images.
        empty: what an image scores in which a class is in neither truth nor prediction: nothing (exclude), one, or
            zero. Neither `one` nor `zero` makes up a score where there is nothing to score: for an image without a
            single valid pixel, and for a class whose score is 0 / 0 in every image.

    Returns:
        For each of METRICS a float64 (N, K) in [0, 1], NaN where the class is not scored in the image: `empty` says
        so, or the ratio is 0 / 0 (precision without a predicted pixel, recall without a true one).
    """
    arrays = table.arrays()
    scores = _ratios(arrays)
    if empty != "exclude":
        labelled = arrays.tp + arrays.fp + arrays.fn + arrays.tn > 0
        for values in scores.values():
            scored_somewhere = ~np.isnan(values).all(axis=0)
            values[~_occurs(arrays) & labelled & scored_somewhere] = 1.0 if empty == "one" else 0.0
    return scores


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
    by_image, pooled = image_scores(table, empty), _ratios(_pool(table.arrays()))
    result = {}
    for metric in METRICS:
        result[f"{metric}_per_image"] = _with_foreground([_mean(column) for column in by_image[metric].T], classes)
        result[f"{metric}_pooled"] = _with_foreground([_score(value) for value in pooled[metric]], classes)
    return result


def foreground_score(table: CountsTable, name: str, empty: Empty) -> Score:
    """One number for a monitor, equal to `score_table(...)[name]["foreground"]`.

    Args:
        table: counts of the images.
        name: such as `dice_per_image` or `iou_pooled`.
        empty: the policy of `image_scores`.
    """
    return score_table(table, [str(index) for index in range(table.num_classes)], empty)[name][FOREGROUND]


def cases(table: CountsTable, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count, for every class, the images that hold it in truth or prediction (scored) and the others (empty).

    Raises:
        ConfigError: the names do not fit the table.
    """
    _check_classes(table, classes)
    scored = _occurs(table.arrays()).sum(axis=0)
    return {name: {"scored": int(n), "empty": len(table) - int(n)} for name, n in zip(classes, scored, strict=True)}


def per_image_scores(
    table: CountsTable, classes: Sequence[str], empty: Empty
) -> list[dict[str, str | int | float | None]]:
    """Score each image, in the form of the rows of per_image.csv.

    Args:
        table: counts of the images.
        classes: class names in index order.
        empty: the policy of `image_scores`.

    Returns:
        One row per image in table order: id, height, width, ignored, and `<metric>_<class>` for every class and for
        `foreground`, the mean over the image's scored foreground classes. None: not scored.

    Raises:
        ConfigError: the names do not fit the table.
    """
    _check_classes(table, classes)
    arrays, scores = table.arrays(), image_scores(table, empty)
    rows = []
    for image, sample_id in enumerate(table.ids):
        row: dict[str, str | int | float | None] = {"id": sample_id}
        row |= {name: int(getattr(arrays, name)[image]) for name in ("height", "width", "ignored")}
        for metric in METRICS:
            by_class = _with_foreground([_score(value) for value in scores[metric][image]], classes)
            row |= {f"{metric}_{name}": score for name, score in by_class.items()}
        rows.append(row)
    return rows


def _ratios(arrays: CountArrays) -> dict[str, Floats]:
    """The four ratios by metric, elementwise; NaN for 0 / 0."""
    tp, fp, fn = arrays.tp, arrays.fp, arrays.fn
    return {
        "dice": _divide(2 * tp, 2 * tp + fp + fn),
        "iou": _divide(tp, tp + fp + fn),
        "precision": _divide(tp, tp + fp),
        "recall": _divide(tp, tp + fn),
    }


def _divide(numerator: Integers, denominator: Integers) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    quotient: Floats = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _occurs(arrays: CountArrays) -> NDArray[np.bool_]:
    """Where a class is in truth or prediction, (N, K)."""
    return arrays.tp + arrays.fp + arrays.fn > 0


def _pool(arrays: CountArrays) -> CountArrays:
    """The sums over the images."""
    return CountArrays(*(column.sum(axis=0) for column in arrays))


def _score(value: np.float64) -> Score:
    """A plain float, or None for NaN."""
    return None if np.isnan(value) else float(value)


def _mean(values: Iterable[float]) -> Score:
    """Mean of the numbers that are not NaN; None without any. The exact sum makes it independent of their order."""
    numbers = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _with_foreground(scores: Sequence[Score], classes: Sequence[str]) -> dict[str, Score]:
    """Scores by class name, after the mean over the foreground classes that have one."""
    foreground = _mean(score for score in scores[1:] if score is not None)
    return {FOREGROUND: foreground, **dict(zip(classes, scores, strict=True))}


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
