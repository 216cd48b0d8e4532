"""The scores of all runs of a study, image by image: `scores.csv`, from which every difference and interval follows."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError
from seg_scse.files import write_text
from seg_scse.metrics.intervals import with_foreground
from seg_scse.metrics.scores import FOREGROUND

Floats = NDArray[np.float64]

SCORES = "scores.csv"

_KEYS = ("variant", "seed", "fold", "id", "group", "class")


@dataclass(frozen=True)
class RunScores:
    """The scores of one variant with one seed, its folds put together.

    Attributes:
        folds: the fold in which each image was scored, (N,); None where there are no folds.
        columns: by metric (N, C), images x the classes of `Scores.classes`; NaN where not scored.
    """

    folds: tuple[int | None, ...]
    columns: Mapping[str, Floats]


@dataclass(frozen=True)
class Scores:
    """The scores of all finished runs, on the same images in the same order.

    Attributes:
        ids: of the images.
        groups: the independent unit of each image; its id where none is declared.
        classes: `foreground`, then the classes.
        metrics: that every run has.
        runs: by variant and seed.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    runs: Mapping[tuple[str, int], RunScores]

    @property
    def units(self) -> tuple[str, ...] | None:
        """The independent unit of each image; None where every image is one."""
        return None if self.groups == self.ids else self.groups

    def seeds(self, variant: str) -> tuple[int, ...]:
        """Return the seeds of the finished runs of a variant, in ascending order."""
        return tuple(sorted(seed for name, seed in self.runs if name == variant))

    def foreground(self, variant: str, seeds: Sequence[int], metric: str) -> Floats:
        """Return the foreground's score of every image, (S, N), one row for each of the seeds."""
        rows = [self.runs[variant, seed].columns[metric][:, 0] for seed in seeds]
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(self.ids))


def row_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of `with_classes`: the foreground, then the classes; each name once."""
    return tuple(dict.fromkeys((FOREGROUND, *classes)))


def with_classes(column: Floats, classes: Sequence[str]) -> Floats:
    """Put the foreground before the classes: in each image the mean over its scored foreground classes.

    Args:
        column: (N, K), NaN where the class is not scored.
        classes: names of the K classes, the background first.

    Returns:
        (N, C), in the order of `row_names`.
    """
    return with_foreground(column)[:, : len(row_names(classes))]


def write_scores(path: Path, scores: Scores) -> None:
    """Write one row for each run, image and class; an empty cell is not scored.

    Numbers have as many digits as reading them back needs.

    Raises:
        WriteError: the file cannot be written.
    """
    text = io.StringIO()
    # Text always in quotes: the csv module may leave a bare carriage return unquoted, which would end the row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*_KEYS, *scores.metrics])
    for (variant, seed), run in scores.runs.items():
        for image, (name, group) in enumerate(zip(scores.ids, scores.groups, strict=True)):
            fold = run.folds[image]
            key = [variant, seed, "" if fold is None else fold, name, group]
            for place, label in enumerate(scores.classes):
                values = [float(run.columns[metric][image, place]) for metric in scores.metrics]
                writer.writerow([*key, label, *("" if math.isnan(value) else value for value in values)])
    write_text(path, text.getvalue())


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote, also where it was compressed since (`.gz`).

    Raises:
        DataError: the file is missing or damaged, or its runs do not hold the same images.
    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        if tuple(header[: len(_KEYS)]) != _KEYS or not rows:
            raise ValueError("the header is another, or there is no row")
        return _parsed(tuple(header[len(_KEYS) :]), rows)
    except (OSError, EOFError, zlib.error, ValueError, IndexError, csv.Error) as error:
        raise DataError(
            f"{path}: not the scores of a study ({error}). Write them anew by the command that made the study."
        ) from error


def _parsed(metrics: tuple[str, ...], rows: Sequence[Sequence[str]]) -> Scores:
    by_run = {key: list(group) for key, group in groupby(rows, key=lambda row: (row[0], int(row[1])))}
    first = next(iter(by_run.values()))
    classes = tuple(row[5] for row in first if row[3] == first[0][3])
    images = [tuple(row[3:5]) for row in first[:: len(classes)]]
    expected = [(*image, label) for image in images for label in classes]
    runs = {}
    for (variant, seed), lines in by_run.items():
        if [tuple(row[3:6]) for row in lines] != expected:
            raise ValueError(f"{variant} seed {seed} has other images or classes than the first run")
        cells = np.array([[float(cell) if cell else math.nan for cell in row[len(_KEYS) :]] for row in lines])
        values = cells.reshape(len(images), len(classes), len(metrics))
        folds = tuple(int(row[2]) if row[2] else None for row in lines[:: len(classes)])
        runs[variant, seed] = RunScores(folds, {name: values[:, :, place] for place, name in enumerate(metrics)})
    ids, groups = zip(*images, strict=True)
    return Scores(ids, groups, classes, metrics, runs)
