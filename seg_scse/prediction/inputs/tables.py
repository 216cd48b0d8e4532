"""A table of what to predict: one row per image, with the path of its file or one path per band."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

_MOST_BYTES = 1 << 28
_OUTSIDE = {"", ".", ".."}


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        id: as the column `id` says; empty without it.
        files: one file, or one per band.
    """

    id: str
    files: tuple[Path, ...]


def read_rows(path: Path, bands: Sequence[str] | None) -> list[Row]:
    """Read a CSV table with the columns `image`, or one per band, and perhaps `id`; other columns are not read.

    Args:
        path: the table, UTF-8, its fields divided by commas, semicolons or tabs. Paths in it are relative to its
            folder.
        bands: names of the bands of the images, where the run names them.

    Raises:
        DataError: it cannot be read, lacks these columns or has no rows; a path is empty; or an id is no path below a
            folder.
    """
    columns, lines = _parse(path, bands)
    rows = []
    for number, fields in lines:
        values = [fields[at].strip() if at < len(fields) else "" for at in columns.values()]
        row = dict(zip(columns, values, strict=True))
        id_ = row.pop("id", None)
        if id_ is not None:
            _require_below(path, number, id_)
        empty = [name for name, value in row.items() if not value]
        if empty:
            raise DataError(f"{shown(path)}, line {number}: no file in the column {empty[0]}. Fill it in.")
        rows.append(Row(id_ or "", tuple(path.parent / value for value in row.values())))
    if not rows:
        raise DataError(f"{shown(path)}: has no rows below its head. Add one row per image.")
    return rows


def _parse(path: Path, bands: Sequence[str] | None) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Return the places of the columns that are read, `id` and then the files, and the rows with their lines."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{shown(path)}: is larger than {_MOST_BYTES >> 20} MiB. Divide the table.")
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")  # a path may be of any bytes
        head = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
        names = [name.strip() for name in next(reader, [])]
        lines = [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]
    except (OSError, csv.Error) as error:
        raise DataError(f"{shown(path)}: cannot be read as a CSV table ({error}). Save it as CSV in UTF-8.") from error
    return _columns(path, names, bands), lines


def _columns(path: Path, names: Sequence[str], bands: Sequence[str] | None) -> dict[str, int]:
    for wanted in (("image",), tuple(bands or ())):
        if wanted and set(wanted) <= set(names):
            return {name: names.index(name) for name in (*(("id",) if "id" in names else ()), *wanted)}
    either = f", or one column per band ({', '.join(bands)})" if bands else ""
    there = some([shown(name) or "(empty)" for name in names]) or "nothing"
    raise DataError(f"{shown(path)}: needs the column image{either}, and may have id; its first line has {there}.")


def _require_below(path: Path, number: int, id_: str) -> None:
    """Refuse an id that as a path would lead out of the output folder, or name nothing."""
    parts = id_.replace("\\", "/").split("/")
    if _OUTSIDE & set(parts) or not id_.isprintable() or ":" in parts[0]:
        raise DataError(
            f"{shown(path)}, line {number}: the id {shown(id_)!r} is no name of a result. Write a name, or a path such "
            "as north/tile_1, without `..`, leading `/` or line breaks."
        )


def with_ids(rows: Sequence[Row], table: Path, naming: Callable[[Path], Callable[[Path], str]]) -> list[Row]:
    """Give an id to rows without one: the path of the (first) file below the folder that the files share.

    Args:
        rows: from `read_rows`.
        table: their file; its folder is shared where all files are below it.
        naming: for a folder, returns what makes the id of a file below it.
    """
    folders = {row.files[0].parent for row in rows if not row.id}
    real = {folder: os.path.abspath(folder) for folder in folders}  # noqa: PTH100 - Path.absolute keeps `..`
    base = os.path.abspath(table.parent)  # noqa: PTH100
    if any(os.path.commonpath([base, folder]) != base for folder in real.values()):
        base = os.path.commonpath(list(real.values()))
    name = naming(Path(base))
    return [row if row.id else Row(name(row.files[0]), row.files) for row in rows]
