"""Probabilities against the truth: histograms per image, from which calibration and scores by threshold follow.

A histogram has 256 bins, bin k for probabilities in (k/256, (k+1)/256] and 0 in bin 0: `probability > k/256` is exactly
`bin >= k`, so that the scores at these thresholds are those of the label maps, to the pixel.

Calibration takes sums kept beside the histograms, of probabilities rounded to the middles of 16,384 bins, by at most
1/32768. The expected calibration error of a probability p of something that is there (y = 1) or not (y = 0), over n
pixels in 16 bins of equal width, the pooled form of Guo et al. 2017 (ICML, arXiv 1706.04599):

    ECE = sum over the bins of |sum of p - sum of y| / n            rounding changes it by at most 3.1e-5
    Brier = sum of (p - y)^2 / n  (Brier 1950)                      rounding changes it by at most 6.1e-5
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import IGNORE_INDEX, Task
from seg_scse.errors import DataError
from seg_scse.metrics.pixels import Integers, Labels
from seg_scse.metrics.ratios import Empty, Floats, image_ratio, total_ratio

BINS = 256
RELIABILITY_BINS = 16
STRIP_PIXELS = 1 << 17
"""Pixels binned at a time: what is computed on the way stays in the processor's cache."""

CONFIDENCE = "most probable class"
THRESHOLDS = tuple(round(BINS * percent / 100) / BINS for percent in range(1, 100))
"""Thresholds of the curves: the multiples of 1/256 next to 0.01, 0.02, ... 0.99."""

CURVES = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled", "precision_pooled", "recall_pooled")
"""Scores given at each threshold; names as in results.json."""

_FINE_BITS = 14
_FINE = 1 << _FINE_BITS
_CENTRES = (np.arange(_FINE) + 0.5) / _FINE


class ProbabilityCounts(NamedTuple):
    """Probabilities of one image: of the foreground, of each label, or of the chosen class (L = 1).

    Attributes:
        pixels: int64 (L, 2, 256), pixels by bin of probability where it is not there (0) and where it is (1).
        sums: float64 (L, 16), sum of the probabilities in each reliability bin.
        squares: float64 (L,), sum of the squared differences from 0 (not there) or 1 (there).
    """

    pixels: Integers
    sums: Floats
    squares: Floats


def count_probabilities(
    probabilities: NDArray[np.float32], labels: Labels, truth: Labels, num_classes: int, task: Task = "multiclass"
) -> ProbabilityCounts:
    """Count the pixels of one image by probability and truth. Ignored pixels are left out; NaN counts as 0.

    Args:
        probabilities: float32 (L, H, W) in [0, 1]: of class 1 where there are two, L = 1; of the classes after the
            first for multilabel, L = num_classes - 1; else of the predicted class, L = 1.
        labels: uint8 (H, W), predicted class indices, or bits of multilabel.
        truth: uint8 (H, W), of the same form, or 255 for ignored pixels.
        num_classes: number of classes K, background included.
        task: `multiclass` or `multilabel`.

    Raises:
        DataError: the shapes do not fit.
    """
    wanted = (num_classes - 1 if task == "multilabel" else 1, *truth.shape)
    if probabilities.shape != wanted or labels.shape != truth.shape:
        raise DataError(
            f"probabilities have shape {probabilities.shape}, labels {labels.shape}: with {num_classes} classes "
            f"({task}) and a truth of {truth.shape} they must have {wanted} and {truth.shape}."
        )
    ignored = truth == IGNORE_INDEX
    there = _there(labels, truth, num_classes, task)
    fine = np.stack([_fine_histogram(plane, where, ignored) for plane, where in zip(probabilities, there, strict=True)])
    return ProbabilityCounts(
        pixels=fine.reshape(len(fine), 2, BINS, -1).sum(axis=-1),
        sums=(fine.sum(axis=1) * _CENTRES).reshape(len(fine), RELIABILITY_BINS, -1).sum(axis=-1),
        squares=(fine[:, 0] * _CENTRES**2 + fine[:, 1] * (1 - _CENTRES) ** 2).sum(axis=-1),
    )


def _there(labels: Labels, truth: Labels, num_classes: int, task: Task) -> Iterator[NDArray[np.bool_]]:
    """For each plane of probabilities: where what it is the probability of is true."""
    if task == "multilabel":
        yield from (truth & (1 << bit) != 0 for bit in range(num_classes - 1))
    else:
        yield truth == 1 if num_classes == 2 else labels == truth


def _fine_histogram(
    probabilities: NDArray[np.float32], there: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> Integers:
    """Pixels by fine bin, int64 (2, _FINE), not there and there. Multiplying by a power of two rounds nothing."""
    counts = np.zeros(4 * _FINE, np.int64)
    flat, state = probabilities.ravel(), (ignored.view(np.uint8) << 1 | there.view(np.uint8)).ravel()
    for start in range(0, flat.size, STRIP_PIXELS):
        bins = flat[start : start + STRIP_PIXELS] * np.float32(_FINE)
        np.ceil(bins, out=bins)
        np.fmax(bins, 1, out=bins)
        np.fmin(bins, _FINE, out=bins)  # blending may round 1 up
        bins -= 1
        index = bins.astype(np.uint16)
        index |= state[start : start + STRIP_PIXELS].astype(np.uint16) << _FINE_BITS
        counts += np.bincount(index, minlength=counts.size)
    return counts.reshape(4, _FINE)[:2]


class _Cells(NamedTuple):
    """Pixel counts of images (rows) at thresholds (columns)."""

    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers


class ProbabilityTable:
    """The histograms of a set of images, in the order they were added.

    Args:
        classes: class names in index order.
        task: `multiclass` or `multilabel`.
    """

    def __init__(self, classes: Sequence[str], task: Task = "multiclass") -> None:
        self.has_threshold = len(classes) == 2 or task == "multilabel"
        self.names = tuple(classes[1:]) if self.has_threshold else (CONFIDENCE,)
        self._rows: dict[str, ProbabilityCounts] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in table order."""
        return tuple(self._rows)

    def add(self, sample_id: str, counts: ProbabilityCounts) -> None:
        """Append one image.

        Raises:
            DataError: the id is in the table, or the image has another number of histograms.
        """
        if sample_id in self._rows:
            raise DataError(f"sample {sample_id!r} was counted twice: every image must be scored once.")
        if len(counts.pixels) != len(self.names):
            raise DataError(
                f"sample {sample_id!r} has {len(counts.pixels)} histograms, the table is of {len(self.names)} "
                f"({', '.join(self.names)}): use one class list for all images."
            )
        self._rows[sample_id] = counts

    def describe(self, empty: Empty) -> dict[str, Any]:
        """Return the content of probabilities.json, in plain JSON types.

        Args:
            empty: what scores per image are in an image in which a class is in neither truth nor prediction.

        Returns:
            `bins` and `curves`, one for each name: `negative` and `positive` (pixels per bin), `ece`, `brier` (None
            without a pixel), and for classes with a threshold `thresholds` with a score at each for all of CURVES
            (None where it is n/a); empty lists for the confidence in the most probable class (kind `confidence`).
        """
        return {"bins": BINS, "curves": [self._describe(label, empty) for label in range(len(self.names))]}

    def _describe(self, label: int, empty: Empty) -> dict[str, Any]:
        pixels = self._pixels(label).sum(axis=0)
        thresholds = THRESHOLDS if self.has_threshold else ()
        return {
            "name": self.names[label],
            "kind": "class" if self.has_threshold else "confidence",
            "negative": pixels[0].tolist(),
            "positive": pixels[1].tolist(),
            "ece": self._ece(label),
            "brier": self._brier(label),
            "thresholds": list(thresholds),
            **{name: list(map(_plain, self._curve(label, name, thresholds, empty))) for name in CURVES},
        }

    def _pixels(self, label: int) -> Integers:
        """Histograms of the images, int64 (N, 2, 256)."""
        return np.array([row.pixels[label] for row in self._rows.values()]).reshape(-1, 2, BINS)

    def _ece(self, label: int) -> float | None:
        pixels = self._pixels(label).sum(axis=0)
        happened = pixels[1].reshape(RELIABILITY_BINS, -1).sum(axis=-1)
        promised = np.sum([row.sums[label] for row in self._rows.values()], axis=0)
        return float(np.abs(promised - happened).sum() / pixels.sum()) if pixels.any() else None

    def _brier(self, label: int) -> float | None:
        total = int(self._pixels(label).sum())
        return math.fsum(float(row.squares[label]) for row in self._rows.values()) / total if total else None

    def _curve(self, label: int, name: str, thresholds: Sequence[float], empty: Empty) -> Floats:
        """A score at each threshold, NaN where it is n/a."""
        if not thresholds:
            return np.zeros(0)
        cells = self._cells(label, [round(threshold * BINS) for threshold in thresholds])
        metric = name.removesuffix("_per_image").removesuffix("_pooled")
        if name.endswith("_pooled"):
            return total_ratio(metric, _Cells(*(counts.sum(axis=0) for counts in cells)))
        return np.array([_mean(values) for values in image_ratio(metric, cells, empty).T])

    def _cells(self, label: int, bins: Sequence[int]) -> _Cells:
        """Counts (N, T) of the label maps at the thresholds bin / 256."""
        pixels = self._pixels(label)
        above = pixels[..., ::-1].cumsum(axis=-1)[..., ::-1][..., list(bins)]
        below = pixels.sum(axis=-1, keepdims=True) - above
        return _Cells(tp=above[:, 1], fp=above[:, 0], fn=below[:, 1], tn=below[:, 0])

    def scores(self, name: str, thresholds: Sequence[float], empty: Empty) -> Floats:
        """Score the foreground at thresholds that are multiples of 1/256.

        Args:
            name: one of CURVES.
            thresholds: in (0, 1).
            empty: as for `describe`.

        Returns:
            float64 (T,): the mean over the classes that have a score; NaN where none has.
        """
        curves = [self._curve(label, name, thresholds, empty) for label in range(len(self.names))]
        return np.array([_mean(values) for values in np.transpose(curves)])


def best_threshold(table: ProbabilityTable, name: str, empty: Empty) -> tuple[float, float]:
    """Choose the threshold at which the foreground scores highest.

    Args:
        table: of two classes or multilabel; for the latter one threshold is chosen for all labels.
        name: one of CURVES, such as `dice_per_image`.
        empty: what scores per image are in an image in which a class is in neither truth nor prediction.

    Returns:
        the threshold, k/256 with k from 1 to 255, and the score there. Of equally good ones that next to 0.5.

    Raises:
        DataError: the probabilities have no threshold, or no threshold gives a score.
    """
    if not table.has_threshold:
        raise DataError("the most probable class is predicted without a threshold: there is none to choose.")
    thresholds = np.arange(1, BINS) / BINS
    scores = table.scores(name, thresholds.tolist(), empty)
    if np.isnan(scores).all():
        raise DataError(
            f"{name} has no value at any threshold: the {len(table.ids)} images hold none of {', '.join(table.names)}."
        )
    equal = np.flatnonzero(scores == np.nanmax(scores))
    best = min(equal.tolist(), key=lambda place: abs(thresholds[place] - 0.5))
    return float(thresholds[best]), float(scores[best])


def _mean(values: Floats) -> float:
    """Exact mean of the numbers that are not NaN, as in results.json; NaN without any."""
    numbers = values[~np.isnan(values)].tolist()
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
