"""Paired differences of evaluations of the same images: per image, pooled, with tests over all of them together.

The statistics are those of `metrics.paired`; here is what they are taken of. An image counts for a class where every
run scores it, so that all runs are compared on the same images; in how many others only some runs score it is kept.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.evaluation.comparable import LOWER_IS_BETTER, Candidate, places
from seg_scse.metrics.bootstrap import Bootstrap, count_units
from seg_scse.metrics.intervals import Formulas, Totals, total_estimates, with_foreground
from seg_scse.metrics.objects import OBJECT_NAMES, object_scores
from seg_scse.metrics.paired import Comparison, compare_many
from seg_scse.metrics.power import detectable_difference
from seg_scse.metrics.ratios import METRICS, Numbers, ratio
from seg_scse.metrics.scores import FOREGROUND

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

POOLED_OBJECTS = ("object_f1", "pq")


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        metric: the score.
        ids: the images, in the order of the baseline.
        groups: the independent unit of each image.
        settings: how intervals were made.
        units: number of independent units.
        columns: by row name, `foreground` first, the scores of each run, (N,); NaN where not every run has one.
        rows: for each run but the first, its rows in compare.json.
        comparisons: number of tests that were corrected for.
    """

    metric: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    settings: Bootstrap
    units: int
    columns: dict[str, list[Floats]]
    rows: list[list[dict[str, Any]]]
    comparisons: int

    def bootstrap(self) -> dict[str, Any]:
        """Return how intervals were made, in the form of results.json."""
        grouped = self.groups != self.ids
        return {
            "method": self.settings.method,
            "level": self.settings.level,
            "resamples": self.settings.resamples,
            "seed": self.settings.seed,
            "unit": "group" if grouped else "image",
            "n": self.units,
            "groups": grouped,
        }


@dataclass(frozen=True)
class _Aligned:
    """The tables of all runs in the order of the baseline's images."""

    candidates: Sequence[Candidate]
    metric: str

    @property
    def ids(self) -> tuple[str, ...]:
        return self.candidates[0].tables.ids

    @property
    def units(self) -> Sequence[Hashable] | None:
        return self.candidates[0].tables.units

    def scores(self) -> list[Floats]:
        """The score of each run, (N, K)."""
        return [
            candidate.tables.columns(candidate.results["protocol"]["empty"])[self.metric][places(candidate, self.ids)]
            for candidate in self.candidates
        ]

    def counts(self, candidate: Candidate) -> list[Numbers] | None:
        """What the pooled score sums over the images, each (N, K); None where the metric has no pooled form."""
        order = places(candidate, self.ids)
        if self.metric in METRICS:
            arrays = candidate.tables.counts.arrays()
            return [getattr(arrays, name)[order] for name in Totals._fields]
        if self.metric in POOLED_OBJECTS and candidate.tables.objects is not None:
            return [np.nan_to_num(candidate.tables.objects.column(name)[order]) for name in OBJECT_NAMES]
        return None


def compare_all(candidates: Sequence[Candidate], metric: str) -> Compared:
    """Compare every run with the first, and correct for all tests together.

    Args:
        candidates: comparable evaluations, the baseline first.
        metric: a score that all of them hold.
    """
    aligned = _Aligned(candidates, metric)
    scores = aligned.scores()
    missing = np.isnan(np.stack(scores))
    everywhere = np.logical_not(missing.any(axis=0))
    left_out = missing.any(axis=0) & np.logical_not(missing.all(axis=0))
    common = [np.where(everywhere, score, np.nan) for score in scores]
    settings = _settings(candidates[0])
    pairs = [(common[0], other) for other in common[1:]]
    found = compare_many(pairs, aligned.units, settings, lower_is_better=metric in LOWER_IS_BETTER)
    names = _row_names(candidates[0].results["classes"])
    tests = sum(rows[place].reachable is not None for rows in found for place in names.values())
    pooled = [_pooled(aligned, other, settings) for other in candidates[1:]]
    ids = aligned.ids
    return Compared(
        metric=metric,
        ids=ids,
        groups=candidates[0].tables.groups,
        settings=settings,
        units=count_units(len(ids), aligned.units),
        columns={name: [with_foreground(score)[:, place] for score in common] for name, place in names.items()},
        rows=[
            [
                _row(name, rows[place], tests, settings, metric)
                | {"left_out": _left_out(left_out, place), "pooled": _pooled_row(summed, place)}
                for name, place in names.items()
            ]
            for rows, summed in zip(found, pooled, strict=True)
        ],
        comparisons=tests,
    )


def _settings(baseline: Candidate) -> Bootstrap:
    """Intervals are made as in the baseline's own evaluation."""
    made = baseline.results["bootstrap"]
    return Bootstrap(made["method"], made["level"], made["resamples"], made["seed"])


def _row_names(classes: Sequence[str]) -> dict[str, int]:
    """Names of the rows and their places among foreground and classes; of two classes, the foreground is the second."""
    return {FOREGROUND: 0} if len(classes) == 2 else {FOREGROUND: 0} | {n: k for k, n in enumerate(classes, 1) if k > 1}


def _left_out(left_out: Mask, place: int) -> int:
    """Images that only some of the runs score; of the foreground, in any of its classes."""
    return int((left_out[:, 1:].any(axis=1) if place == 0 else left_out[:, place - 1]).sum())


def _row(name: str, found: Comparison, tests: int, settings: Bootstrap, metric: str) -> dict[str, Any]:
    """A row of compare.json; the effect is turned so that it is above 0 where b is better."""
    effect = found.rank_biserial
    return {
        "name": name,
        "images": found.images,
        "units": found.n,
        "a": found.mean_a,
        "b": found.mean_b,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_holm": found.p_holm,
        "reason": found.reason,
        "effect": None if effect is None else -effect if metric in LOWER_IS_BETTER else effect,
        "cohen_dz": found.cohen_dz,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "detectable": _detectable(found, tests, settings),
    }


def _detectable(found: Comparison, tests: int, settings: Bootstrap) -> float | None:
    """The difference that such data would show in 4 of 5 cases, at the strictest level of the correction."""
    if found.p is None or found.sd is None or found.sd == 0:
        return None
    return detectable_difference(found.sd, found.n, level=1 - (1 - settings.level) / tests)


def _pooled(aligned: _Aligned, other: Candidate, settings: Bootstrap) -> dict[str, Floats] | None:
    """Pooled scores of the baseline and of another run, and their difference with its interval, each (K + 1, 3)."""
    first, second = aligned.counts(aligned.candidates[0]), aligned.counts(other)
    if first is None or second is None:
        return None
    formula = _formula(aligned.metric)

    def scores(*totals: Floats) -> dict[str, Floats]:
        half = len(totals) // 2
        a, b = formula(*totals[:half]), formula(*totals[half:])
        return {"a": a["score"], "b": b["score"], "difference": b["score"] - a["score"]}

    return total_estimates([*first, *second], scores, aligned.units, settings)


def _formula(metric: str) -> Formulas:
    """From summed counts to the score, under the name `score`."""
    if metric in METRICS:
        return lambda *totals: {"score": ratio(metric, Totals(*totals))}
    return lambda *totals: {"score": object_scores(*totals)[metric]}


def _pooled_row(found: dict[str, Floats] | None, place: int) -> dict[str, float | None] | None:
    if found is None:
        return None
    difference, low, high = (_number(value) for value in found["difference"][place])
    a, b = (_number(found[name][place, 0]) for name in ("a", "b"))
    return {"a": a, "b": b, "difference": difference, "low": low, "high": high}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
