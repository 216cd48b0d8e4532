"""The tables of one evaluation: counts and measures of every image, from which all scores follow."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError, numbered
from seg_scse.files import write_text
from seg_scse.metrics.counts import CountsTable
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.objects import object_columns
from seg_scse.metrics.scores import Empty, image_scores

FORMAT = 2
"""Version of `results.json`."""

RESULTS, COUNTS, GROUPS, PER_IMAGE, PROBABILITIES = (
    "results.json",
    "counts.csv",
    "groups.csv",
    "per_image.csv",
    "probabilities.json",
)
MEASURES = {"surfaces": "surfaces.csv", "centerlines": "centerlines.csv", "objects": "objects.csv"}
"""Files of the tables that an evaluation may have beside its counts."""

Floats = NDArray[np.float64]
Scores = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Tables:
    """What was counted and measured, image by image, all in the order of `counts.ids`.

    Attributes:
        counts: pixels of each image and class.
        groups: the independent unit of each image, such as its patient; the image's id where none is declared.
        surfaces: distances between boundaries (`surfaces.SURFACE_NAMES`), or None where they were not measured.
        centerlines: overlap of skeletons (`cldice`), or None.
        objects: matched and unmatched connected components (`objects.OBJECT_NAMES`), or None.
        results: content of `results.json`; empty for tables that were not read from a folder.
    """

    counts: CountsTable
    groups: tuple[str, ...]
    surfaces: MeasureTable | None = None
    centerlines: MeasureTable | None = None
    objects: MeasureTable | None = None
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in table order."""
        return self.counts.ids

    @property
    def units(self) -> tuple[str, ...] | None:
        """The independent unit of each image; None where every image is one."""
        return None if self.groups == self.ids else self.groups

    def columns(self, empty: Empty) -> dict[str, Floats]:
        """Return every score of every image and class.

        Args:
            empty: policy of the overlap scores for a class in neither truth nor prediction; distances and object
                scores leave such images out in any case.

        Returns:
            By name (`dice`, ..., `hd95`, ..., `cldice`, `object_f1`, `pq`, as far as measured) float64 (N, K), NaN
            where the class is not scored in the image.
        """
        columns = dict(image_scores(self.counts, empty))
        for table in (self.surfaces, self.centerlines):
            if table is not None:
                columns |= {name: table.column(name) for name in table.names}
        if self.objects is not None:
            columns |= object_columns(self.objects)
        return columns

    def write(self, folder: Path) -> None:
        """Write the tables; those that were not measured are removed, so that none of an older evaluation stays.

        Raises:
            WriteError: the folder cannot be written.
        """
        self.counts.to_csv(folder / COUNTS)
        write_groups(folder / GROUPS, self.ids, self.groups)
        for name, file in MEASURES.items():
            table = getattr(self, name)
            if table is None:
                (folder / file).unlink(missing_ok=True)
            else:
                table.to_csv(folder / file)

    @classmethod
    def merge(cls, parts: Sequence[Self], ids: Sequence[str]) -> Self:
        """Join the tables of evaluations of different images, such as the folds of a cross-validation.

        Args:
            parts: at least one, with the same measures and no image in common.
            ids: every sample id, in the order of the result.

        Raises:
            DataError: an image is in two tables, in no table, or not in `ids`; or they do not hold the same measures.
        """
        counts = CountsTable.merge([part.counts for part in parts], ids)
        groups = {id_: group for part in parts for id_, group in zip(part.ids, part.groups, strict=True)}
        measured: dict[str, Any] = {}
        for name, file in MEASURES.items():
            tables = [table for part in parts if (table := getattr(part, name)) is not None]
            if tables and len(tables) < len(parts):
                raise DataError(f"{file} is in {len(tables)} of {len(parts)} evaluations. Score them all in one way.")
            if tables:
                measured[name] = MeasureTable.merge(tables, ids)
        return cls(counts, tuple(groups[id_] for id_ in ids), **measured)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the tables of an evaluation, with its results.

        Raises:
            DataError: a file is missing, damaged, of another version, or does not hold the same images.
        """
        results = read_results(folder)
        counts = CountsTable.from_csv(folder / COUNTS)
        measured: dict[str, Any] = {
            name: MeasureTable.from_csv(folder / file) for name, file in MEASURES.items() if (folder / file).exists()
        }
        groups = read_groups(folder / GROUPS)
        parts: dict[str, Sequence[str]] = {GROUPS: tuple(groups)}
        parts |= {MEASURES[name]: table.ids for name, table in measured.items()}
        problems = [f"{file} has other images than {COUNTS}" for file, ids in parts.items() if tuple(ids) != counts.ids]
        if problems:
            raise DataError(f"{folder}: the tables do not belong together:\n{numbered(problems)}\n{_again(folder)}")
        return cls(counts, tuple(groups.values()), results=results, **measured)


def read_results(folder: Path) -> dict[str, Any]:
    """Read `results.json` of an evaluation.

    Raises:
        DataError: it is missing, damaged, or written by another version.
    """
    path = folder / RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason}). {_again(folder)}") from error
    if not isinstance(results, dict) or "format" not in results:
        raise DataError(f"{path}: is no result of an evaluation. {_again(folder)}")
    if results["format"] != FORMAT:
        raise DataError(f"{path}: has format {results['format']}, this version reads {FORMAT}. {_again(folder)}")
    return results


def _again(folder: Path) -> str:
    """Say how the results are written anew: by scoring the run that the folder lies in, where it lies in one."""
    inside = folder.parent.name == "evaluation"
    return f"Evaluate again: python evaluate.py {folder.parents[1] if inside else 'RUN'}"


def write_groups(path: Path, ids: Sequence[str], groups: Sequence[str]) -> None:
    """Write the independent unit of each image as CSV (`id,group`), complete or absent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "group"), *zip(ids, groups, strict=True)])
    write_text(path, text.getvalue())


def read_groups(path: Path) -> dict[str, str]:
    """Read what `write_groups` wrote: the group of each id.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}). {_again(path.parent)}") from error
    groups = {row[0]: row[-1] for row in rows if row}
    if header != ["id", "group"] or any(len(row) != len(header) for row in rows) or len(groups) != len(rows):
        raise DataError(f"{path}: is no table of groups. {_again(path.parent)}")
    return groups


def write_rows(path: Path, rows: Sequence[Mapping[str, str | int | float | None]]) -> None:
    """Write scores per image as CSV, complete or absent.

    Raises:
        WriteError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
