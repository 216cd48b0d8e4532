"""Annotation files (JSON and CSV), read and parsed once however many images they describe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from seg_scse.data.files.signatures import describe
from seg_scse.data.names import shown
from seg_scse.data.recent import Recent
from seg_scse.errors import DataError

MOST_BYTES = 1_000_000_000
"""Larger annotation files are refused: parsed, they take several times their size in memory."""

T = TypeVar("T")

_MOST_FILES = 8  # kept parsed: those of three splits, and then some


_recent: Recent[object] = Recent(_MOST_FILES)


def parsed(path: Path, parse: Callable[..., T], *arguments: object) -> T:
    """Return `parse(path, content, *arguments)`, computed once for each state of the file; a refusal is remembered too.

    Args:
        path: the annotation file.
        parse: a function of the module level; it gets the path, the bytes and the arguments.
        arguments: hashable; another value is another result.

    Raises:
        DataError: the file cannot be read, is larger than `MOST_BYTES`, or `parse` refuses it.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    key = (str(path), state.st_size, state.st_mtime_ns, parse, arguments)

    def attempt() -> object:
        try:
            return parse(path, _content(path, state.st_size), *arguments)
        except DataError as error:
            return error

    found = _recent.get(key, attempt)
    if isinstance(found, DataError):
        raise DataError(str(found))  # a new one: a traceback must not grow with every caller
    return cast(T, found)


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{shown(path)}: cannot be read ({error.strerror or error}). Restore the file or correct data.masks."
    )


def _content(path: Path, size: int) -> bytes:
    if size > MOST_BYTES:
        raise DataError(
            f"{shown(path)}: {size / 1e9:.1f} GB are more than an annotation file may have "
            f"({MOST_BYTES / 1e9:g} GB). Divide it into several files, such as one for each split."
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not data.strip():
        raise DataError(f"{shown(path)}: is empty. Get the file again.")
    return data


def load_json(path: Path, data: bytes) -> object:
    """Parse JSON strictly: no NaN, no infinity, no bottomless nesting.

    Raises:
        DataError: not JSON, with the place of the mistake.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        raise DataError(f"{shown(path)}: is {describe(data)}, not the JSON of data.mask.encoding=polygons.")
    try:
        document: object = json.loads(data, parse_constant=_refuse_constant)
        return document
    except RecursionError as error:
        raise DataError(f"{shown(path)}: its lists are nested too deeply for an annotation file.") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise DataError(f"{shown(path)}: is no valid JSON ({shown(str(error))}). Get the file again.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
