"""The table of pixel counts, a confusion matrix per image, from which every overlap score is computed."""

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from seg_scse.config.masks import Task
from seg_scse.errors import DataError
from seg_scse.files import write_text
from seg_scse.metrics.merging import join
from seg_scse.metrics.pixels import Counts, Integers, count_pixels

__all__ = ["COLUMNS", "CountArrays", "Counts", "CountsTable", "Task", "count_pixels"]

COLUMNS = ("id", "class", "tp", "fp", "fn", "tn", "ignored", "height", "width", "confused")
"""Columns of counts.csv; the last one only where each pixel has one class."""


class CountArrays(NamedTuple):
    """The table as plain arrays, images in table order: (N, K) for counts by class, (N,) for the rest, all int64."""

    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers
    ignored: Integers
    height: Integers
    width: Integers


class _Row(NamedTuple):
    """One image: only the cells of its confusion matrix that are not 0, since K * K per image is much for many K."""

    cells: Integers
    pixels: Integers
    height: int
    width: int


class CountsTable:
    """The counts of a set of images, in the order they were added.

    Args:
        num_classes: number of classes K of every image.
        task: `multiclass`, or `multilabel` where a pixel can have any number of the classes after the first.
    """

    def __init__(self, num_classes: int, task: Task = "multiclass") -> None:
        self.num_classes = num_classes
        self.task: Task = task
        self._shape = (num_classes, num_classes) if task == "multiclass" else (num_classes, 2, 2)
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in table order."""
        return tuple(self._rows)

    def add(self, sample_id: str, counts: Counts) -> None:
        """Append one image.

        Raises:
            DataError: the id is in the table, or the image was counted for another task or number of classes.
        """
        if sample_id in self._rows:
            raise DataError(f"sample {sample_id!r} was counted twice: every image must be scored once.")
        if counts.task != self.task:
            raise DataError(f"sample {sample_id!r} was counted as {counts.task}, the table is {self.task}.")
        if counts.confusion.shape != self._shape:
            raise DataError(
                f"sample {sample_id!r} was counted with {len(counts.confusion)} classes, the table has "
                f"{self.num_classes}: use one class list for all images."
            )
        flat = counts.confusion.ravel()
        cells = np.flatnonzero(flat)
        self._rows[sample_id] = _Row(cells, flat[cells], counts.height, counts.width)

    def counts(self, sample_id: str) -> Counts:
        """The counts of one image, as they were added."""
        row = self._rows[sample_id]
        confusion = np.zeros(self._shape, np.int64)
        confusion.ravel()[row.cells] = row.pixels
        return Counts(confusion, row.height, row.width)

    @property
    def confusion(self) -> Integers | None:
        """Sum over the images, int64 (K, K), rows truth, columns prediction; None for multilabel."""
        if self.task == "multilabel":
            return None
        total = np.zeros(self._shape, np.int64)
        for row in self._rows.values():
            total.ravel()[row.cells] += row.pixels
        return total

    def arrays(self) -> CountArrays:
        """The table as arrays, computed anew on each call."""
        tp, truth, predicted, valid = self._sums()
        sides = [(row.height, row.width) for row in self._rows.values()]
        height, width = np.array(sides, np.int64).reshape(-1, 2).T
        tn = valid[:, None] - truth - predicted + tp
        return CountArrays(tp, predicted - tp, truth - tp, tn, height * width - valid, height, width)

    def _sums(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Pixels right, in the truth and predicted, each (N, K), and pixels that are not ignored, (N,)."""
        rows = list(self._rows.values())
        images = np.repeat(np.arange(len(rows)), [len(row.cells) for row in rows])
        cells = np.concatenate([np.zeros(0, np.int64), *(row.cells for row in rows)])
        pixels = np.concatenate([np.zeros(0, np.int64), *(row.pixels for row in rows)])
        if self.task == "multilabel":
            matrices = np.zeros((len(rows), *self._shape), np.int64)
            matrices.reshape(len(rows), -1)[images, cells] = pixels
            tp, truth, predicted = matrices[..., 1, 1], matrices[..., 1, :].sum(-1), matrices[..., 1].sum(-1)
            return tp, truth, predicted, matrices[:, 0].sum((1, 2))
        tp, truth, predicted = (np.zeros((len(rows), self.num_classes), np.int64) for _ in range(3))
        of_truth, of_prediction = np.divmod(cells, self.num_classes)
        np.add.at(truth, (images, of_truth), pixels)
        np.add.at(predicted, (images, of_prediction), pixels)
        right = of_truth == of_prediction
        tp[images[right], of_truth[right]] = pixels[right]
        return tp, truth, predicted, truth.sum(axis=1)

    @classmethod
    def merge(cls, tables: Sequence[Self], ids: Sequence[str]) -> Self:
        """Join the tables of several processes into the one that a single process would have made.

        Args:
            tables: at least one, with the same task and classes and no image in common.
            ids: every sample id, in the order of the result.

        Raises:
            DataError: an image is in two tables, in no table, or not in `ids`; or tasks or numbers of classes differ.
        """
        found = join([{sample_id: table.counts(sample_id) for sample_id in table.ids} for table in tables], ids)
        merged = cls(tables[0].num_classes, tables[0].task)
        for sample_id in ids:
            merged.add(sample_id, found[sample_id])
        return merged

    def to_csv(self, path: Path) -> None:
        """Write the table: one row per image and class (by index); the file is complete or absent.

        Where each pixel has one class, the last column says where the false negatives went, as `class:pixels` pairs;
        with it the file holds every confusion matrix. A multilabel file has no such column.

        Raises:
            WriteError: the file cannot be written.
        """
        write_text(path, self._csv_text())

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table written by `to_csv`; the columns tell its task.

        Raises:
            DataError: the file is missing, damaged or without images, or its columns contradict each other.
        """
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                header, *rows = csv.reader(stream)
            images = [(sample_id, list(group)) for sample_id, group in groupby(rows, key=itemgetter(0))]
            task: Task = "multiclass" if COLUMNS[-1] in header else "multilabel"
            table = cls(len(images[0][1]), task)
            for sample_id, group in images:
                table.add(sample_id, _parse_image(group, task))
        except (OSError, ValueError, IndexError, OverflowError, csv.Error) as error:
            raise DataError(f"{path}: not a counts table ({error}). Evaluate again to write it anew.") from error
        if list(csv.reader(io.StringIO(table._csv_text(), newline=""))) != [header, *rows]:
            raise DataError(f"{path}: the columns contradict each other. Evaluate again to write it anew.")
        return table

    def _csv_text(self) -> str:
        """The file's content."""
        buffer = io.StringIO()
        # Text always in quotes: the csv module may leave a bare carriage return unquoted, which would end the row.
        writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS if self.task == "multiclass" else COLUMNS[:-1])
        arrays = self.arrays()
        for image, sample_id in enumerate(self.ids):
            confused = _confused(self.counts(sample_id))
            by_image = [int(column[image]) for column in arrays[4:]]
            for index in range(self.num_classes):
                by_class = [int(column[image, index]) for column in arrays[:4]]
                writer.writerow([sample_id, index, *by_class, *by_image, *confused[index]])
        return buffer.getvalue()


def _confused(counts: Counts) -> list[tuple[str, ...]]:
    """Cells of the last column for each class, or none of them for multilabel."""
    if counts.task == "multilabel":
        return [()] * len(counts.confusion)
    return [
        (" ".join(f"{other}:{row[other]}" for other in np.flatnonzero(row) if other != index),)
        for index, row in enumerate(counts.confusion)
    ]


def _parse_image(rows: Sequence[Sequence[str]], task: Task) -> Counts:
    """One image from its K rows; what the redundant columns say is compared by the caller."""
    height, width = (int(rows[0][COLUMNS.index(name)]) for name in ("height", "width"))
    if task == "multilabel":
        order = [COLUMNS.index(name) for name in ("tn", "fp", "fn", "tp")]
        cells = np.array([[int(row[place]) for place in order] for row in rows], np.int64)
        return Counts(cells.reshape(-1, 2, 2), height, width)
    confusion = np.zeros((len(rows), len(rows)), np.int64)
    for index, row in enumerate(rows):
        confusion[index, index] = int(row[COLUMNS.index("tp")])
        for pair in row[COLUMNS.index("confused")].split():
            other, pixels = pair.split(":")
            confusion[index, int(other)] = int(pixels)
    return Counts(confusion, height, width)
