"""`summary.csv`: one line for each item that was to be predicted."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_scse.data.names import shown
from seg_scse.files import write_text
from seg_scse.prediction.writing.areas import ClassCounts

_FORMULA = ("=", "+", "-", "@")
_FIRST = ("id", "input", "status", "height", "width")
_LAST = ("area_unit", "seconds", "error")


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """What became of one item.

    Attributes:
        id: of the item.
        input: its file, or its folder.
        status: `done` or `failed`.
        height: of a label map, pixels; None where it is not known.
        width: as height.
        slices: of a volume; None for an image.
        counts: of its label map; None where there is none.
        area_unit: of the areas.
        seconds: that it took, or None.
        error: why it failed; empty where it did not.
    """

    id: str
    input: str
    status: str
    height: int | None = None
    width: int | None = None
    slices: int | None = None
    counts: ClassCounts | None = None
    area_unit: str = ""
    seconds: float | None = None
    error: str = ""


def write_summary(path: Path, rows: Sequence[SummaryRow], classes: Sequence[str]) -> None:
    """Write the table as CSV, complete or absent.

    A name or message is one line of printable text, and never a formula: where it starts like one, an apostrophe is
    put before it. What is not known is empty.

    Args:
        path: the file.
        rows: the items, in the order of the table. The column `slices` is there where one of them is a volume.
        classes: their names. One that would give a column twice (a class `nodata`) gets its index appended.

    Raises:
        WriteError: the file cannot be written.
    """
    volumes = any(row.slices is not None for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_header(classes, volumes))
    writer.writerows(list(_cells(row, len(classes), volumes)) for row in rows)
    write_text(path, text.getvalue())


def _header(classes: Sequence[str], volumes: bool) -> list[str]:
    columns = [*_FIRST, *(["slices"] if volumes else []), "nodata_pixels"]
    for index, name in enumerate(classes):
        stem = harmless(name)
        if f"{stem}_pixels" in columns:
            stem = f"{stem}_{index}"
        columns += [f"{stem}_pixels", f"{stem}_area"]
    return [*columns, *_LAST]


def _cells(row: SummaryRow, classes: int, volumes: bool) -> Iterator[str | int | None]:
    yield from (harmless(row.id), harmless(row.input), row.status, row.height, row.width)
    if volumes:
        yield row.slices
    counts = row.counts
    yield None if counts is None else counts.nodata
    for index in range(classes):
        yield None if counts is None else counts.pixels[index]
        yield None if counts is None else f"{counts.area[index]:.12g}"  # what the order of adding changes is left out
    yield row.area_unit if counts is not None else None
    yield None if row.seconds is None else f"{row.seconds:.3f}"
    yield harmless(row.error)


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, in one line (OWASP, *CSV Injection*)."""
    line = shown(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line
