"""Patterns with `*`, `?`, `[` or `**` instead of names of files."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from seg_scse.data.files.signatures import holds_image
from seg_scse.data.listing.folders import contents
from seg_scse.data.names import shown
from seg_scse.errors import ConfigError

_WILD = re.compile(r"[*?\[]")


def is_pattern(text: str) -> bool:
    """Tell whether a name that is no file may stand for several."""
    return _WILD.search(text) is not None


def matching(pattern: Path) -> tuple[Path, list[Path]]:
    """Return the fixed part of a pattern, and the images that match and those below folders that do.

    Hidden files and folders never match. What links to folders lead to a second time is left out.

    Raises:
        ConfigError: it is no pattern.
        DataError: a folder cannot be listed.
    """
    parts = pattern.parts
    first = next(at for at, part in enumerate(parts) if is_pattern(part))
    base = Path(*parts[:first])
    found: list[Path] = []
    try:
        for path in base.glob("/".join(parts[first:])) if base.is_dir() else ():
            if any(part.startswith(".") for part in path.relative_to(base).parts):
                continue
            found += contents(path).files if path.is_dir() else [path]
    except ValueError as error:
        raise ConfigError(f"--input {shown(pattern)}: {error}. Write **/*.png for **.png.") from None
    return base, [path for path in _by_one_way(found) if holds_image(path)]


def _by_one_way(files: Iterable[Path]) -> list[Path]:
    """Drop what is reached twice by links to folders, as `contents` does; links to files are files of their own."""
    folders: dict[Path, tuple[str, bool]] = {}
    kept: dict[tuple[str, str], Path] = {}
    for path in sorted(set(files)):
        if path.parent not in folders:
            real = os.path.realpath(path.parent)
            folders[path.parent] = real, real == os.path.abspath(path.parent)  # noqa: PTH100 - Path.absolute keeps `..`
        real, direct = folders[path.parent]
        if direct or (real, path.name) not in kept:  # its own name goes before that of a link
            kept[real, path.name] = path
    return sorted(kept.values())
