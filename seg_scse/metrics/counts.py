"""Pixel counts: one confusion matrix per image, and the table from which every score is computed."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.errors import DataError, numbered
from seg_scse.files import write_text

Labels = NDArray[np.uint8]
Integers = NDArray[np.int64]

COLUMNS = ("id", "class", "tp", "fp", "fn", "tn", "ignored", "height", "width", "confused")

# Pixels counted at a time: the 16-bit and 64-bit copies stay in the cache, and a large scene needs no more memory.
STRIP_PIXELS = 1 << 17


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one image.

    Attributes:
        confusion: int64 (K, K), rows truth, columns prediction, over the pixels that are not ignored.
        height: image height in pixels.
        width: image width in pixels.
    """

    confusion: Integers
    height: int
    width: int

    @property
    def ignored(self) -> int:
        """Number of pixels whose truth is IGNORE_INDEX."""
        return self.height * self.width - int(self.confusion.sum())


def count_pixels(prediction: Labels, truth: Labels, num_classes: int) -> Counts:
    """Count the pixels of one image by true and predicted class, in one pass that does not depend on the classes.

    Args:
        prediction: uint8 (H, W), class indices 0 .. num_classes - 1.
        truth: uint8 (H, W), class indices 0 .. num_classes - 1, or 255 for ignored pixels.
        num_classes: number of classes K, 2 .. 255.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class.
    """
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise DataError(
                f"{name} is {labels.dtype} of shape {labels.shape}: counting needs uint8 class indices of shape (H, W)."
            )
    if prediction.shape != truth.shape:
        raise DataError(
            f"prediction has shape {prediction.shape}, truth {truth.shape}: "
            "scores are taken at the truth's size, so resize the prediction first."
        )
    pairs = _count_pairs(prediction, truth)
    _require_classes("prediction", pairs.sum(axis=0), num_classes)
    _require_classes("truth", pairs[:IGNORE_INDEX].sum(axis=1), num_classes)
    return Counts(pairs[:num_classes, :num_classes].copy(), *truth.shape)


def _count_pairs(prediction: Labels, truth: Labels) -> Integers:
    """Occurrences of each (truth, prediction) pair of bytes, int64 (256, 256): room for all, so none goes astray."""
    pairs = np.zeros(1 << 16, np.int64)
    flat_prediction, flat_truth = prediction.ravel(), truth.ravel()
    for start in range(0, flat_truth.size, STRIP_PIXELS):
        index = flat_truth[start : start + STRIP_PIXELS].astype(np.uint16)
        index <<= 8
        index |= flat_prediction[start : start + STRIP_PIXELS]
        strip = np.bincount(index)
        pairs[: strip.size] += strip
    return pairs.reshape(256, 256)


def _require_classes(name: str, occurrences: Integers, num_classes: int) -> None:
    """Refuse values that are no class, given the number of pixels of each value."""
    strange = np.flatnonzero(occurrences[num_classes:]) + num_classes
    if strange.size:
        value = int(strange[0])
        raise DataError(
            f"{name} holds the value {value} ({int(occurrences[value])} pixels), but the {num_classes} classes are "
            f"0 to {num_classes - 1}: check the class list and how the file was written."
        )


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
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
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
            DataError: the id is in the table, or the image was counted with another number of classes.
        """
        if sample_id in self._rows:
            raise DataError(f"sample {sample_id!r} was counted twice: every image must be scored once.")
        if counts.confusion.shape != (self.num_classes, self.num_classes):
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
        flat = np.zeros(self.num_classes**2, np.int64)
        flat[row.cells] = row.pixels
        return Counts(flat.reshape(self.num_classes, self.num_classes), row.height, row.width)

    @property
    def confusion(self) -> Integers:
        """Sum over the images, int64 (K, K), rows truth, columns prediction."""
        total = np.zeros(self.num_classes**2, np.int64)
        for row in self._rows.values():
            total[row.cells] += row.pixels
        return total.reshape(self.num_classes, self.num_classes)

    def arrays(self) -> CountArrays:
        """The table as arrays, computed anew on each call."""
        shape = (len(self), self.num_classes)
        tp, truth, predicted = (np.zeros(shape, np.int64) for _ in range(3))
        for image, row in enumerate(self._rows.values()):
            of_truth, of_prediction = np.divmod(row.cells, self.num_classes)
            np.add.at(truth[image], of_truth, row.pixels)
            np.add.at(predicted[image], of_prediction, row.pixels)
            right = of_truth == of_prediction
            tp[image, of_truth[right]] = row.pixels[right]
        sides = [(row.height, row.width) for row in self._rows.values()]
        height, width = np.array(sides, np.int64).reshape(-1, 2).T
        valid = truth.sum(axis=1)
        tn = valid[:, None] - truth - predicted + tp
        return CountArrays(tp, predicted - tp, truth - tp, tn, height * width - valid, height, width)

    @classmethod
    def merge(cls, tables: Sequence[Self], ids: Sequence[str]) -> Self:
        """Join the tables of several processes into the one that a single process would have made.

        Args:
            tables: at least one, with the same classes and no image in common.
            ids: every sample id, in the order of the result.

        Raises:
            DataError: an image is in two tables, in no table, or not in `ids`; or the numbers of classes differ.
        """
        found: dict[str, Counts] = {}
        problems = []
        for table in tables:
            problems += [f"{sample_id!r} is in two tables" for sample_id in table.ids if sample_id in found]
            found |= {sample_id: table.counts(sample_id) for sample_id in table.ids}
        problems += [f"{sample_id!r} is in no table" for sample_id in ids if sample_id not in found]
        problems += [f"{sample_id!r} is not in the list of ids" for sample_id in found.keys() - set(ids)]
        if problems:
            raise DataError(f"the tables of the processes do not make one whole:\n{numbered(problems)}")
        merged = cls(tables[0].num_classes)
        for sample_id in ids:
            merged.add(sample_id, found[sample_id])
        return merged

    def to_csv(self, path: Path) -> None:
        """Write the table: one row per image and class (by index); the file is complete or absent.

        The last column says where the false negatives went, as `class:pixels` pairs; with it the file holds every
        confusion matrix.

        Raises:
            WriteError: the file cannot be written.
        """
        write_text(path, self._csv_text())

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table written by `to_csv`.

        Raises:
            DataError: the file is missing, damaged or without images, or its columns contradict each other.
        """
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                header, *rows = csv.reader(stream)
            images = [(sample_id, list(group)) for sample_id, group in groupby(rows, key=itemgetter(0))]
            table = cls(num_classes=len(images[0][1]))
            for sample_id, group in images:
                table.add(sample_id, _parse_image(group))
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
        writer.writerow(COLUMNS)
        arrays = self.arrays()
        for image, sample_id in enumerate(self.ids):
            confusion = self.counts(sample_id).confusion
            by_image = [int(column[image]) for column in arrays[4:]]
            for index, row in enumerate(confusion):
                by_class = [int(column[image, index]) for column in arrays[:4]]
                confused = " ".join(f"{other}:{row[other]}" for other in np.flatnonzero(row) if other != index)
                writer.writerow([sample_id, index, *by_class, *by_image, confused])
        return buffer.getvalue()


def _parse_image(rows: Sequence[Sequence[str]]) -> Counts:
    """One image from its K rows; what the redundant columns say is compared by the caller."""
    confusion = np.zeros((len(rows), len(rows)), np.int64)
    for index, row in enumerate(rows):
        confusion[index, index] = int(row[COLUMNS.index("tp")])
        for pair in row[COLUMNS.index("confused")].split():
            other, pixels = pair.split(":")
            confusion[index, int(other)] = int(pixels)
    return Counts(confusion, int(rows[0][COLUMNS.index("height")]), int(rows[0][COLUMNS.index("width")]))
