"""Folders: what lies in them, which of them stand for a split, and what to say where one is missing."""

import os
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names a `{split}` folder may have, in any case, and the split each one stands for."""

_FIELD = "{split}"


@dataclass(frozen=True)
class Contents:
    """What lies below a folder: all files, the folders that hold nothing, and what is a link, each sorted."""

    files: tuple[Path, ...]
    empty: tuple[Path, ...]
    links: tuple[Path, ...]


def visible(folder: Path) -> list[Path]:
    """Entries of a folder sorted by name, without hidden files and `._*` twins that macOS leaves in archives.

    Raises:
        DataError: the folder cannot be listed.
    """
    return [folder / name for name in sorted(_entries(folder))]


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: the folder cannot be listed ({error.strerror}). Check its rights."
        ) from error


def contents(folder: Path) -> Contents:
    """Walk through a folder; one that is reached twice by links is read once, by its own name where that is below.

    Links to nothing count as files, so that whoever reads them says so.

    Raises:
        DataError: a folder cannot be listed.
    """
    files: list[Path] = []
    empty: list[Path] = []
    links: list[Path] = []
    seen: set[str] = set()
    queue = deque([folder])
    while queue:
        current = queue.popleft()
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        entries = _entries(current)
        if not entries:
            empty.append(current)
        for name, entry in entries.items():
            path = current / name
            if entry.is_symlink():
                links.append(path)
            if not _is_folder(entry):
                files.append(path)
            elif entry.is_symlink():
                queue.append(path)  # after all real folders
            else:
                queue.appendleft(path)
    return Contents(tuple(sorted(files)), tuple(sorted(empty)), tuple(sorted(links)))


def leading_out(folder: Path, links: Iterable[Path]) -> list[str]:
    """Name the links that lead out of a folder or to nothing, and where to."""
    base = os.path.realpath(folder)
    found = []
    for link in links:
        target = os.path.realpath(link)
        nothing = "" if os.path.lexists(target) and not os.path.islink(target) else " (nothing is there)"  # noqa: PTH114
        if nothing or os.path.commonpath([base, target]) != base:
            found.append(f"{shown(link.relative_to(folder))} -> {shown(target)}{nothing}")
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _cure(path: Path, key: str) -> str:
    path = path.absolute()
    parent = next((above for above in path.parents if above.is_dir()), None)
    if parent is None:
        return f"Set {key}."
    names = [shown(entry.name) for entry in visible(parent) if entry.is_dir()]
    if any(name.lower() in SPLIT_FOLDERS for name in names) and key != "data.root":
        return f'{shown(parent)} has split folders ({some(names)}): set {key}="{_FIELD}/{shown(path.name)}".'
    wanted = path.relative_to(parent).parts[0]
    near = get_close_matches(wanted, names, n=3) or names
    return f"In {shown(parent)} there {'is ' + some(near) if near else 'are no folders'}. Correct {key}."


def require_folder(folder: Path, key: str) -> Path:
    """Return the folder, or raise a DataError that says what is there instead."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{key}: folder {shown(folder)} {what}. {_cure(folder, key)}")
    return folder


def _require(path: Path, key: str, files: bool) -> Path:
    """Return the folder, or the file where files are as good."""
    return path if files and path.is_file() else require_folder(path, key)


def _split_folder(name: str, folder_names: Mapping[str, str]) -> re.Pattern[str]:
    """Return the expression of all names that a folder such as `{split}annot` may have."""
    before, after = (re.escape(text) for text in name.split(_FIELD, 1))
    names = "|".join(sorted(folder_names, key=len, reverse=True))
    return re.compile(f"{before}({names}){after}", re.IGNORECASE)


def expand_splits(
    root: Path, pattern: str, key: str, folder_names: Mapping[str, str], files: bool = False
) -> dict[str | None, Path]:
    """Find the folders a pattern such as `{split}/images` or `{split}annot` stands for.

    Args:
        root: folder the pattern is relative to.
        pattern: value of data.images or data.masks.
        key: the name of that setting, for messages.
        folder_names: split folder names in lower case and the split each stands for.
        files: whether files, such as annotation files, are as good as folders.

    Returns:
        split -> folder; the key is None for a pattern without `{split}`.

    Raises:
        DataError: a folder is missing, or two folders stand for one split.
    """
    if _FIELD not in pattern:
        return {None: _require(root / pattern, key, files)}
    parts = Path(pattern).parts
    at = next(index for index, part in enumerate(parts) if _FIELD in part)
    parent = require_folder(root.joinpath(*parts[:at]), "data.root")
    expression = _split_folder(parts[at], folder_names)
    found: dict[str | None, Path] = {}
    for entry in visible(parent):
        match = expression.fullmatch(entry.name)
        if match is None or not (entry.is_dir() or files):
            continue
        split = folder_names[match[1].lower()]
        if split in found:
            raise DataError(f"{key}: two folders stand for the split {split} in {shown(parent)}. Remove one of them.")
        below = [part.replace(_FIELD, match[1]) for part in parts[at + 1 :]]
        found[split] = _require(entry.joinpath(*below), key, files)
    if not found:
        there = some([shown(entry.name) for entry in visible(parent)]) or "nothing"
        raise DataError(
            f"{key}={pattern}: no split folder in {shown(parent)}; there is {there}. Name them train, val, test."
        )
    return found
