"""Run lengths: tables of `start length` pairs as on Kaggle, and the counts of COCO.

Both run down the columns of an image, first column first.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import RunLengthColumns
from seg_scse.data.masks.annotations import parsed
from seg_scse.data.masks.layers import Layer, class_indices, quoted
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

Mask = NDArray[np.bool_]

_MOST_LENGTH = 2**31 - 1
_WORDS = {
    "id": ("image", "img", "id", "file", "name"),
    "rle": ("rle", "pixel", "mask", "run", "encod"),
    "label": ("class", "label", "categ"),
}
"""What the name of a column has in it, by what the column holds."""


@dataclass(frozen=True)
class _Row:
    """One object: line of the table, class name (None: the table has no such column) and run lengths."""

    line: int
    label: str | None
    runs: str


@dataclass(frozen=True)
class _Table:
    rows: dict[str, list[_Row]]
    labels: Counter[str]


def listed_ids(path: Path, columns: RunLengthColumns) -> dict[str, int]:
    """Name every image of a table, in the order of the table, with its number of objects.

    Args:
        path: a CSV table with a header.
        columns: names of its columns.

    Raises:
        DataError: the file cannot be read, or is no such table.
    """
    return {name: len(rows) for name, rows in _table(path, columns).rows.items()}


def run_length_layers(sample: Sample, shape: tuple[int, int], config: DataConfig) -> Iterator[Layer]:
    """Yield the classes of one image from a table of run lengths.

    Args:
        sample: `masks` is the table; `label` the image's id in it (None: its file name).
        shape: `(H, W)` of the image.
        config: `mask.columns`, `mask.labels` and `classes` are used.

    Raises:
        DataError: the table does not name the image, a class is not declared, or runs do not fit the image.
    """
    path, name = sample.masks[0], sample.label or sample.image.name
    table = _table(path, config.mask.columns)
    if name not in table.rows:
        raise DataError(
            f"{shown(path)}: has no row for {shown(name)}. Add one (with empty run lengths where nothing is there), "
            "or leave the sample out with data.exclude."
        )
    rows = table.rows[name]
    names = {row.label for row in rows if row.label is not None}
    indices = class_indices(table.labels, names, path, config)
    targets = [(1 if row.label is None else indices[row.label], row) for row in rows]
    for index in sorted({index for index, _ in targets} - {0}):
        layer = np.zeros(shape, np.bool_)
        for row in (row for target, row in targets if target == index):
            where = f"{shown(path)}, line {row.line} ({shown(name)})"
            layer |= decode_pairs(row.runs, shape, where)
        yield index, layer


def decode_pairs(runs: str, shape: tuple[int, int], where: str) -> Mask:
    """Decode `start length start length ...`: pixels are counted from 1, down the columns.

    Args:
        runs: the text, numbers separated by spaces.
        shape: `(H, W)`.
        where: file and record, for messages.

    Returns:
        bool `(H, W)`.

    Raises:
        DataError: no whole numbers, an odd number of them, or a run outside the image.
    """
    try:
        numbers = np.array([int(word) for word in runs.split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: run lengths must be whole numbers ({shown(str(error))[:120]}).") from error
    if numbers.size % 2:
        raise DataError(
            f"{where}: {numbers.size} numbers are no pairs of start and length. Leave the field empty where there is "
            "no object."
        )
    starts, lengths = numbers[::2], numbers[1::2]
    pixels = shape[0] * shape[1]
    # lengths are bounded first: start + length must not overflow
    wrong = (starts < 1) | (lengths < 0) | (lengths > _MOST_LENGTH) | (starts > pixels)
    wrong |= starts + np.minimum(lengths, _MOST_LENGTH) - 1 > pixels
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{where}: the run `{starts[at]} {lengths[at]}` does not fit an image of {shape[1]} x {shape[0]} pixels, "
            f"which are counted from 1 to {pixels}."
        )
    edges = np.zeros(pixels + 1, np.int32)
    np.add.at(edges, starts - 1, 1)
    np.add.at(edges, starts - 1 + lengths, -1)
    return _upright(np.cumsum(edges[:-1]) > 0, shape)


def decode_counts(counts: ArrayLike, shape: tuple[int, int], where: str) -> Mask:
    """Decode COCO's counts: runs of background and object in turn, down the columns, background first.

    Args:
        counts: the list of whole numbers.
        shape: `(H, W)`.
        where: file and record, for messages.

    Returns:
        bool `(H, W)`.

    Raises:
        DataError: no whole numbers, negative ones, or a sum other than the number of pixels.
    """
    try:
        runs = np.asarray(counts)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: counts of run lengths must be one list of whole numbers.") from error
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise DataError(f"{where}: counts of run lengths must be one list of whole numbers.")
    pixels = shape[0] * shape[1]
    if (runs < 0).any() or (runs > pixels).any() or int(runs.sum()) != pixels:
        found = f"go from {runs.min()} to {runs.max()} and have the sum {sum(runs.tolist())}"
        raise DataError(
            f"{where}: the run lengths {found}, but must be at least 0 and have the sum {pixels} "
            f"({shape[1]} x {shape[0]} pixels)."
        )
    return _upright(np.repeat(np.arange(runs.size) % 2 == 1, runs), shape)


def decode_compressed(text: str, where: str) -> list[int]:
    """Decode COCO's compressed counts: 5 bits a character, least first; from the fourth on, differences.

    Args:
        text: characters from `0` to `o`.
        where: file and record, for messages.

    Returns:
        Counts as `decode_counts` takes them.

    Raises:
        DataError: other characters, or the last number is cut off.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise DataError(f"{where}: {shown(character)!r} does not belong into compressed run lengths.")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0  # the highest bit is the sign
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise DataError(f"{where}: its compressed run lengths are cut off.")
    return counts


def _upright(flat: Mask, shape: tuple[int, int]) -> Mask:
    return flat.reshape(shape[::-1]).T


def _table(path: Path, columns: RunLengthColumns) -> _Table:
    return parsed(path, _parse, columns)


def _parse(path: Path, data: bytes, columns: RunLengthColumns) -> _Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: is no UTF-8 text (byte {error.start}). Save it as CSV in UTF-8.") from error
    rows: dict[str, list[_Row]] = {}
    labels: Counter[str] = Counter()
    for line, name, label, runs in _records(path, text, columns):
        objects = rows.setdefault(name, [])
        if runs:
            objects.append(_Row(line, label, runs))
            labels.update([] if label is None else [label])
    return _Table(rows, labels)


def _records(path: Path, text: str, columns: RunLengthColumns) -> Iterator[tuple[int, str, str | None, str]]:
    """Yield line number, id, class and run lengths of each row."""
    wanted = [columns.id, columns.rle] + ([] if columns.label is None else [columns.label])
    before = csv.field_size_limit(len(text) + 1)  # masks are longer than its default, which is the whole process's
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        at = _positions(path, header, columns, wanted)
        for row in filter(None, reader):
            if len(row) != len(header):
                raise DataError(
                    f"{shown(path)}, line {reader.line_num}: has {len(row)} fields, but the header {len(header)}."
                )
            name, runs, *label = (row[position].strip() for position in at)
            if not name or label == [""]:
                raise DataError(f"{shown(path)}, line {reader.line_num}: its {wanted[2 if name else 0]} is empty.")
            yield reader.line_num, name, label[0] if label else None, runs
    except csv.Error as error:
        raise DataError(f"{shown(path)}: is no valid CSV table ({shown(str(error))}).") from error
    finally:
        csv.field_size_limit(before)


def _positions(path: Path, header: list[str], columns: RunLengthColumns, wanted: list[str]) -> list[int]:
    missing = [name for name in wanted if name not in header]
    if missing:
        raise DataError(
            f"{shown(path)}: has no column {', '.join(map(shown, missing))}; its columns are "
            f"{some([shown(name) for name in header], 8)}. {_column_line(header, columns)}"
        )
    return [header.index(name) for name in wanted]


def _column_line(header: list[str], columns: RunLengthColumns) -> str:
    """Propose which columns of the file are meant, by words that such names have."""
    chosen: dict[str, str] = {}
    for key, name in (("id", columns.id), ("rle", columns.rle), ("label", columns.label)):
        free = [found for found in header if found not in chosen.values()]
        if name in free:
            chosen[key] = name
        elif name is None:  # not asked for: proposed where a column has such a name
            free = [found for found in free if any(word in found.lower() for word in _WORDS[key])]
        if free and key not in chosen:
            chosen[key] = max(free, key=lambda found: _likeness(found, key, name or ""))
    if not {"id", "rle"} <= chosen.keys():
        return "It needs one of image names and one of run lengths, separated by commas."
    line = ", ".join(f"{key}: {quoted(name)}" for key, name in chosen.items())
    return f"If they are meant, put `data.mask.columns: {{{line}}}` into the configuration."


def _likeness(found: str, key: str, wanted: str) -> tuple[int, float]:
    """How much a name is like that of a column: words of its kind less those of others, then letters."""
    hits = {kind: sum(word in found.lower() for word in words) for kind, words in _WORDS.items()}
    return 2 * hits[key] - sum(hits.values()), SequenceMatcher(None, found.lower(), wanted.lower()).ratio()
