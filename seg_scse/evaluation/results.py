"""From tables to published numbers: scores, averages, intervals, and the files of an evaluation."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import Task
from seg_scse.config.schema import EvaluationConfig
from seg_scse.evaluation.cases import Row, remove_pictures
from seg_scse.evaluation.histograms import FILE as HISTOGRAMS
from seg_scse.evaluation.histograms import Histograms, table_of, write_histograms
from seg_scse.evaluation.tables import FORMAT, PER_IMAGE, PROBABILITIES, RESULTS, Scores, Tables, write_rows
from seg_scse.files import write_text
from seg_scse.metrics.bootstrap import Bootstrap, count_units
from seg_scse.metrics.intervals import column_intervals, pooled_intervals, total_intervals
from seg_scse.metrics.objects import OBJECT_NAMES, object_pooled, object_scores
from seg_scse.metrics.scores import FOREGROUND, averages, cases, column_scores, per_image_rows, score_table

Floats = NDArray[np.float64]

CASES = "cases"
"""Folder of the pictures."""

SEED = 0
"""Seed of the resampling, the same for all evaluations, so that equal tables give equal intervals."""


@dataclass(frozen=True)
class Described:
    """Tables with the names and rules that are needed to score them."""

    tables: Tables
    classes: tuple[str, ...]
    task: Task
    settings: EvaluationConfig

    @classmethod
    def of(cls, tables: Tables, data: DataConfig, settings: EvaluationConfig) -> "Described":
        """Take names and task from the `data` section."""
        return cls(tables, data.classes, data.task, settings)

    def numbers(self) -> dict[str, Any]:
        """Return what follows from the tables alone, in the form of `results.json`."""
        tables, empty = self.tables, self.settings.empty
        return {
            "images": len(tables.counts),
            "classes": list(self.classes),
            "task": self.task,
            "scores": self.scores(),
            "averages": averages(tables.counts, self.classes, empty),
            "bootstrap": self._bootstrap(),
            "intervals": self.intervals(),
            "cases": cases(tables.counts, self.classes),
            "confusion": None if tables.counts.confusion is None else tables.counts.confusion.tolist(),
        }

    def scores(self) -> Scores:
        """Every score by its name with the averaging, then by class."""
        tables = self.tables
        scores: Scores = score_table(tables.counts, self.classes, self.settings.empty)
        for name, column in tables.columns(self.settings.empty).items():
            scores.setdefault(f"{name}_per_image", column_scores(column, self.classes))
        if tables.objects is not None:
            for name, values in object_pooled(tables.objects).items():
                scores[f"{name}_pooled"] = column_scores(values[None], self.classes)
        return scores

    def _bootstrap(self) -> dict[str, Any]:
        units, settings = self.tables.units, self.settings
        return {
            "method": settings.interval,
            "level": settings.level,
            "resamples": settings.resamples,
            "seed": SEED,
            "unit": "image" if units is None else "group",
            "n": count_units(len(self.tables.counts), units),
            "groups": units is not None,
        }

    def intervals(self) -> dict[str, dict[str, list[float] | None]]:
        """The interval of every score; None where the images allow none."""
        tables, settings = self.tables, bootstrap_of(self.settings)
        found = column_intervals(tables.columns(self.settings.empty), tables.units, settings)
        found |= pooled_intervals(tables.counts.arrays(), tables.units, settings)
        if tables.objects is not None:
            counts = [np.nan_to_num(tables.objects.column(name)) for name in OBJECT_NAMES]
            found |= total_intervals(counts, object_scores, tables.units, settings)
        return {name: interval_by_class(ends, self.classes) for name, ends in found.items()}

    def rows(self) -> list[Row]:
        """The rows of `per_image.csv`."""
        tables = self.tables
        columns = tables.columns(self.settings.empty)
        rows = per_image_rows(tables.ids, tables.counts.arrays(), columns, self.classes)
        return [{"id": row["id"], "group": group, **row} for row, group in zip(rows, tables.groups, strict=True)]


def bootstrap_of(settings: EvaluationConfig) -> Bootstrap:
    """How intervals are made, by the configuration."""
    return Bootstrap(settings.interval, settings.level, settings.resamples, SEED)


def interval_by_class(ends: Floats, classes: Sequence[str]) -> dict[str, list[float] | None]:
    """Name the rows of an interval (K + 1, 2); None where it has no numbers."""
    pairs = [[float(low), float(high)] if math.isfinite(low + high) else None for low, high in ends]
    return dict(zip((FOREGROUND, *classes), pairs, strict=True))


def write_evaluation(
    folder: Path,
    described: Described,
    facts: Mapping[str, Any],
    histograms: Histograms | None,
    draw: Callable[[Path, Sequence[Row]], None],
) -> dict[str, Any]:
    """Write all files of an evaluation.

    The results of an earlier evaluation are removed first and the new ones come last: where `results.json` is, it
    belongs to the files beside it.

    Args:
        folder: the evaluation folder.
        described: the tables and how they are scored.
        facts: all of `results.json` that does not follow from the tables.
        histograms: of the probabilities of each image; None where there are none.
        draw: writes the pictures into the folder it is given, chosen among the rows of `per_image.csv`.

    Returns:
        content of `results.json`.

    Raises:
        WriteError: the folder cannot be written.
    """
    results = {"format": FORMAT, **facts, **described.numbers()}
    rows = described.rows()
    (folder / RESULTS).unlink(missing_ok=True)
    described.tables.write(folder)
    write_rows(folder / PER_IMAGE, rows)
    _write_probabilities(folder, described, histograms)
    remove_pictures(folder / CASES)
    draw(folder / CASES, rows)
    write_text(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")
    return results


def _write_probabilities(folder: Path, described: Described, histograms: Histograms | None) -> None:
    if histograms is None:
        for name in (PROBABILITIES, HISTOGRAMS):
            (folder / name).unlink(missing_ok=True)
        return
    table = table_of(histograms, described.tables.ids, described.classes, described.task)
    write_histograms(folder / HISTOGRAMS, histograms)
    content = table.describe(described.settings.empty)
    write_text(folder / PROBABILITIES, json.dumps(content, allow_nan=False) + "\n")
