"""Calibration and threshold curves as charts: how often a probability came true, and scores over the threshold."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seg_scse.report.charts import BOTTOM, TOP, Bar, Chart, across, line, share_ticks
from seg_scse.report.probabilities import Curve, Probabilities
from seg_scse.report.reading import Results, visible
from seg_scse.report.wording import grouped

BINS = 16
"""Bins of a reliability diagram; the histograms have a multiple of them."""

_BAR_ROOM = 0.25  # of the height, for the counts along the bottom

_OVER_THRESHOLD = {
    "Dice and IoU": {
        "dice_per_image": "Dice per image",
        "dice_pooled": "Dice pooled",
        "iou_per_image": "IoU per image",
        "iou_pooled": "IoU pooled",
    },
    "Precision and recall": {"precision_pooled": "precision pooled", "recall_pooled": "recall pooled"},
}
"""Charts over the threshold: title, and labels of the curves in each."""


@dataclass(frozen=True)
class Calibration:
    """What is drawn for one class: charts, and sentences on calibration and on the threshold; None: does not apply."""

    name: str
    charts: tuple[Chart, ...]
    calibration: str
    threshold: str | None


@dataclass(frozen=True)
class _Bin:
    """A bin of probability from low to high: pixels, their mean probability, and the share for which it came true."""

    low: float
    high: float
    pixels: int
    probability: float
    observed: float


def calibrations(results: Results, probabilities: Probabilities) -> list[Calibration]:
    """Charts for each curve of an evaluation."""
    threshold = results.protocol.threshold
    return [
        Calibration(
            visible(curve.name),
            tuple(_charts(curve, threshold)),
            _calibration(curve),
            _threshold(curve, threshold, results.split),
        )
        for curve in probabilities.curves
    ]


def _charts(curve: Curve, threshold: float | None) -> Iterator[Chart]:
    if curve.thresholds:
        yield from _over_threshold(curve, threshold)
        if curve.precision_pooled and curve.recall_pooled:
            yield _precision_against_recall(curve, threshold)
    yield _reliability(curve)


def _over_threshold(curve: Curve, threshold: float | None) -> Iterator[Chart]:
    x_ticks, y_ticks = share_ticks()
    marker = None if threshold is None else across(threshold)
    for title, labels in _OVER_THRESHOLD.items():
        scores = {label: getattr(curve, key) for key, label in labels.items() if getattr(curve, key)}
        if scores:
            lines = tuple(line(label, list(zip(curve.thresholds, ys, strict=True))) for label, ys in scores.items())
            summary = f"{', '.join(scores)} of {visible(curve.name)} over the threshold"
            yield Chart(f"{title} over the threshold", "threshold", "score", summary, lines, x_ticks, y_ticks, marker)


def _precision_against_recall(curve: Curve, threshold: float | None) -> Chart:
    points = list(zip(curve.recall_pooled, curve.precision_pooled, strict=True))
    lines = (line("over all thresholds", points), line("at the threshold used", _used(curve, threshold), dots=True))
    summary = f"Precision against recall of {visible(curve.name)}, pooled"
    return Chart("Precision against recall", "recall, pooled", "precision, pooled", summary, lines, *share_ticks())


def _nearest(curve: Curve, threshold: float) -> int:
    return int(np.argmin(np.abs(np.array(curve.thresholds) - threshold)))


def _used(curve: Curve, threshold: float | None) -> list[tuple[float | None, float | None]]:
    """Recall and precision at the threshold of the evaluation."""
    if threshold is None:
        return []
    place = _nearest(curve, threshold)
    return [(curve.recall_pooled[place], curve.precision_pooled[place])]


def _reliability(curve: Curve) -> Chart:
    """Observed share against mean probability in 16 bins, with bars for the pixels of each."""
    x_ticks, y_ticks = share_ticks()
    bins = list(_binned(curve))
    whose = "predicted probability" if curve.kind == "class" else "probability of the most probable class"
    return Chart(
        "Reliability",
        whose,
        "share that is true" if curve.kind == "class" else "share that is right",
        f"Observed share against {whose}: {visible(curve.name)}",
        (line("observed", [(found.probability, found.observed) for found in bins], dots=True),),
        x_ticks,
        y_ticks,
        diagonal=True,
        bars=_bars(bins),
    )


def _binned(curve: Curve) -> Iterator[_Bin]:
    """The bins that hold a pixel."""
    bins = len(curve.negative)
    counts = np.array([curve.negative, curve.positive], dtype=np.float64)
    centres = (np.arange(bins) + 0.5) / bins
    parts = min(BINS, bins)
    for low, high in pairwise(round(part * bins / parts) for part in range(parts + 1)):
        inside = counts[:, low:high]
        total = float(inside.sum())
        if total:
            probability = float((inside.sum(0) * centres[low:high]).sum() / total)
            yield _Bin(low / bins, high / bins, int(total), probability, float(inside[1].sum() / total))


def _bars(bins: Sequence[_Bin]) -> tuple[Bar, ...]:
    """Numbers of pixels on a scale of logarithms, along the bottom."""
    most = max((found.pixels for found in bins), default=1)
    bars = []
    for found in bins:
        height = round(_BAR_ROOM * (BOTTOM - TOP) * math.log1p(found.pixels) / math.log1p(most), 1)
        left, right = across(found.low), across(found.high)
        title = f"{found.low:g} to {found.high:g}: {grouped(found.pixels)} pixels, {found.observed:.1%} true"
        bars.append(Bar(round(left + 0.5, 1), round(BOTTOM - height, 1), round(right - left - 1, 1), height, title))
    return tuple(bars)


def _calibration(curve: Curve) -> str:
    parts = [f"ECE {curve.ece:.4f}"] if curve.ece is not None else []
    parts += [f"Brier score {curve.brier:.4f}"] if curve.brier is not None else []
    pixels = sum(curve.negative) + sum(curve.positive)
    return ", ".join([*parts, f"{grouped(pixels)} pixels"])


def _threshold(curve: Curve, threshold: float | None, split: str) -> str | None:
    """What another threshold would have given, and that it must not be chosen where it is reported."""
    known = [(value, t) for t, value in zip(curve.thresholds, curve.dice_per_image, strict=False) if value is not None]
    if curve.kind == "confidence":
        return (
            "Each pixel takes its most probable class: there is no threshold to choose, and no curve over one. The "
            "Brier score is that of the probability of this class being right."
        )
    if threshold is None or not known:
        return None
    best, place = max(known, key=lambda pair: (pair[0], -abs(pair[1] - threshold)))
    said = f"The threshold used is {threshold:g}; the highest Dice per image here, {best:.4f}, is at {place:.3g}."
    if split == "val":
        return said
    return (
        f"{said} That is hindsight: a threshold chosen on the images it is reported for makes the score too high. "
        "`--threshold tune:val` chooses on validation images."
    )
