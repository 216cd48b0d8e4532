"""The content of `study.json`: what a study of variants found."""

from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self

from pydantic import TypeAdapter, model_validator

from seg_scse.report.differences import decimals
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import Natural, Part, Protocol, Value, read_json
from seg_scse.report.study_parts import (
    Baseline,
    Cost,
    Declaration,
    Kind,
    Resampling,
    Row,
    StudyData,
    StudyRun,
)

STUDY = "study.json"
METRICS = ("dice", "iou", "hd95")
"""Scores that a study compares, in the order of its tables."""

_SHOWN = 0.0005  # of a share: smaller differences are 0.0 points


class Compared(Part):
    """A variant or control against the baseline, by metric."""

    name: str
    kind: Kind
    of: str | None = None
    says: str = ""
    cost: Cost | None = None
    metrics: dict[str, Row]


class Against(Part):
    """The treatment minus one of its controls, in the primary metric."""

    treatment: str
    control: str
    row: Row


class Selection(Part):
    """Which variant the validation split would choose: mean over seeds of the monitored score."""

    by: str
    metric: str
    seeds: tuple[int, ...] = ()
    scores: dict[str, Value]
    winner: str | None


class Study(Part):
    """The content of `study.json`, format 1."""

    format: Literal[1]
    name: str
    created: str
    declaration: Declaration
    device: str
    versions: dict[str, str]
    data: StudyData
    protocol: Protocol | None = None
    config: dict[str, Any]
    bootstrap: Resampling
    metric: Literal["dice", "iou", "hd95"]
    tests: Natural
    runs: tuple[StudyRun, ...]
    baseline: Baseline
    rows: tuple[Compared, ...]
    against: tuple[Against, ...] = ()
    selection: Selection
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_the_primary_metric(self) -> Self:
        compared: tuple[Baseline | Compared, ...] = (self.baseline, *self.rows)
        for one in compared:
            if self.metric not in one.metrics:
                raise ValueError(f"{one.name}: metrics lacks {self.metric!r}, the primary metric")
        return self

    @property
    def per_image(self) -> str:
        """Name of the primary metric, the only one that is tested."""
        return f"{self.metric}_per_image"

    @property
    def alpha(self) -> float:
        """Largest probability of a false alarm over all tests together."""
        return round(1 - self.bootstrap.level, 12)

    @property
    def comparisons(self) -> int:
        """Number of declared comparisons, for all of which p is corrected together."""
        return len(self.variants) + len(self.against)

    @property
    def variants(self) -> tuple[Compared, ...]:
        """What is compared with the baseline and no control."""
        return tuple(row for row in self.rows if row.kind != "control")

    @property
    def controls(self) -> tuple[Compared, ...]:
        """Controls of the treatment."""
        return tuple(row for row in self.rows if row.kind == "control")

    @property
    def names(self) -> tuple[str, ...]:
        """The baseline, variants and controls."""
        return (self.baseline.name, *(row.name for row in (*self.variants, *self.controls)))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The primary metric, then the others."""
        others = (name for name in METRICS if name != self.metric and name in self.baseline.metrics)
        return (self.metric, *others)

    @property
    def finished(self) -> int:
        """Number of runs that are trained and scored."""
        return sum(run.done for run in self.runs)

    def unit(self, metric: str) -> str | None:
        """Unit of a length; None for a share."""
        if not MEASURES[metric].length:
            return None
        surface = None if self.protocol is None else self.protocol.surface
        return "px" if surface is None else surface.unit

    def digits(self, metric: str) -> int:
        """Digits after the point for all differences in a metric: one more where the usual ones would show a 0."""
        rows = [one.metrics[metric] for one in self.rows]
        rows += [one.row for one in self.against] if metric == self.metric else []
        values = [value for row in rows for value in (row.difference, row.low, row.high) if value is not None]
        hidden = any(0 < abs(value) < _SHOWN for value in values)
        return 2 if hidden else decimals(self.unit(metric), *values)

    def row(self, name: str) -> Compared | None:
        """A variant or control by its name."""
        return next((row for row in self.rows if row.name == name), None)


def read_study(folder: Path) -> Study:
    """Read `study.json`.

    Raises:
        DataError: it is absent or not what a study writes.
    """
    return read_json(folder / STUDY, TypeAdapter(Study))


def run_scores(study: Study, name: str) -> dict[int, float]:
    """Mean score of each seed of a variant in the primary metric, over its folds where it has some.

    A seed of which a fold is missing is left out: its mean would be one of other images.
    """
    folds = study.declaration.folds or 1
    found: dict[int, list[float]] = {}
    for run in study.runs:
        value = None if run.scores is None else getattr(run.scores, study.metric)
        if run.variant == name and run.done and value is not None:
            found.setdefault(run.seed, []).append(value)
    return {seed: fmean(values) for seed, values in sorted(found.items()) if len(values) == folds}
