"""A table of measured numbers by image and class: distances between boundaries, objects, centre lines."""

import csv
import io
import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError
from seg_scse.files import write_text
from seg_scse.metrics.merging import join

Floats = NDArray[np.float64]

KEYS = ("id", "class")


class MeasureTable:
    """What was measured in a set of images, in the order they were added. NaN: nothing to measure.

    Args:
        names: the measures M, in the order of their columns.
        num_classes: number of classes K of every image.
    """

    def __init__(self, names: Sequence[str], num_classes: int) -> None:
        self.names = tuple(names)
        self.num_classes = num_classes
        self._rows: dict[str, Floats] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in table order."""
        return tuple(self._rows)

    def add(self, sample_id: str, values: Floats) -> None:
        """Append one image.

        Args:
            sample_id: id of the image.
            values: float64 (K, M), NaN where there is nothing to measure.

        Raises:
            DataError: the id is in the table, or the shape is another.
        """
        if sample_id in self._rows:
            raise DataError(f"sample {sample_id!r} was measured twice: every image must be scored once.")
        if values.shape != (self.num_classes, len(self.names)):
            raise DataError(
                f"sample {sample_id!r} was measured with shape {values.shape}, the table holds {self.num_classes} "
                f"classes and {', '.join(self.names)}: use one class list and the same measures for all images."
            )
        self._rows[sample_id] = values.astype(np.float64)  # a copy: later changes of the caller's array stay outside

    def values(self, sample_id: str) -> Floats:
        """What was measured in one image, float64 (K, M)."""
        return self._rows[sample_id].copy()

    def column(self, name: str) -> Floats:
        """One measure of all images, float64 (N, K), images in table order.

        Raises:
            ValueError: it is not among the names.
        """
        position = self.names.index(name)
        return np.array([row[:, position] for row in self._rows.values()]).reshape(-1, self.num_classes)

    @classmethod
    def merge(cls, tables: Sequence[Self], ids: Sequence[str]) -> Self:
        """Join the tables of several processes into the one that a single process would have made.

        Args:
            tables: at least one, with the same names and classes and no image in common.
            ids: every sample id, in the order of the result.

        Raises:
            DataError: an image is in two tables, in no table, or not in `ids`; or the tables hold different measures.
        """
        names = tables[0].names
        for table in tables:
            if table.names != names:
                raise DataError(
                    f"tables of other measures: one holds {', '.join(names)}, another {', '.join(table.names)}"
                )
        found = join([{sample_id: table.values(sample_id) for sample_id in table.ids} for table in tables], ids)
        merged = cls(names, tables[0].num_classes)
        for sample_id in ids:
            merged.add(sample_id, found[sample_id])
        return merged

    def to_csv(self, path: Path) -> None:
        """Write the table: one row per image and class (by index); the file is complete or absent.

        A number has as many digits as reading it back needs; an empty cell is NaN.

        Raises:
            WriteError: the file cannot be written.
        """
        write_text(path, self._csv_text())

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table written by `to_csv`; the names and the number of classes come from the file.

        Raises:
            DataError: the file is missing, damaged or without images.
        """
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                header, *rows = csv.reader(stream)
            images = [(sample_id, list(group)) for sample_id, group in groupby(rows, key=itemgetter(0))]
            table = cls(tuple(header[len(KEYS) :]), num_classes=len(images[0][1]))
            for sample_id, group in images:
                cells = [[float(cell) if cell else math.nan for cell in row[len(KEYS) :]] for row in group]
                table.add(sample_id, np.array(cells, np.float64))
            if list(csv.reader(io.StringIO(table._csv_text(), newline=""))) != [header, *rows]:
                raise ValueError("a row is missing, or a cell not as it was written")
        except (OSError, ValueError, IndexError, csv.Error, DataError) as error:
            raise DataError(f"{path}: not a table of measures ({error}). Evaluate again to write it anew.") from error
        return table

    def _csv_text(self) -> str:
        """The file's content."""
        buffer = io.StringIO()
        # Text always in quotes: the csv module may leave a bare carriage return unquoted, which would end the row.
        writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([*KEYS, *self.names])
        for sample_id, values in self._rows.items():
            for index, row in enumerate(values.tolist()):
                writer.writerow([sample_id, index, *("" if math.isnan(value) else value for value in row)])
        return buffer.getvalue()
