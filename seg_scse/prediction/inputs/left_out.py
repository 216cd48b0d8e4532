"""What lies among the inputs and is none: results of this prediction or of an earlier one; and what may be none."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg_scse.config.wording import counted
from seg_scse.data.names import shown
from seg_scse.errors import ConfigError

FACTS = "predict.json"
"""Settings of a prediction; by it a folder of results is known."""


def require_other_file(output: Path, files: Iterable[Path]) -> None:
    """Refuse to write a label map over its own image.

    Raises:
        ConfigError: the output is one of the inputs.
    """
    if output.is_file() and any(os.path.realpath(file) == os.path.realpath(output) for file in files):
        raise ConfigError(f"{shown(output)}: is the image itself, which would be overwritten. Name another file.")


def without_results(files: Sequence[Path], base: Path, output: Path, notes: list[str]) -> list[Path]:
    """Leave out what lies in the output folder, or in the results of another prediction, and say so in the notes.

    Args:
        files: below `base`.
        base: where was searched. Where it is inside of results itself, these are meant.
        output: where the results go.
        notes: to which is added.
    """
    results = _Results(base, output)
    kept, left = [], defaultdict[Path, int](int)
    for file in files:
        folder = results.around(file.parent)
        if folder is None:
            kept.append(file)
        else:
            left[folder] += 1
    for folder, count in left.items():
        which = "this" if _real(folder) == _real(output) else "an earlier"
        notes.append(f"{counted(count, 'file')} in {shown(folder)} left out: results of {which} prediction")
    return kept


class _Results:
    """Folders of results at or below a folder; each is looked at once."""

    def __init__(self, base: Path, output: Path) -> None:
        self._base, self._output = base, _real(output)
        self._meant = f"{_real(base)}{os.sep}".startswith(f"{self._output}{os.sep}")
        self._known: dict[Path, Path | None] = {}

    def around(self, folder: Path) -> Path | None:
        """The folder of results that a folder is or lies in, or None."""
        if folder not in self._known:
            above = None if folder in (self._base, folder.parent) else self.around(folder.parent)
            self._known[folder] = above or (folder if self._is_one(folder) else None)
        return self._known[folder]

    def _is_one(self, folder: Path) -> bool:
        if _real(folder) == self._output:
            return not self._meant
        return (folder / FACTS).is_file()


def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def masks_beside(ids: Iterable[str]) -> list[str]:
    """Note folders that hold files of the same names, one of which may hold the masks of the other."""
    folders: dict[str, set[str]] = defaultdict(set)
    for id_ in ids:
        folder, _, name = id_.rpartition("/")
        folders[folder].add(name)
    alike: dict[frozenset[str], list[str]] = defaultdict(list)
    for folder, names in folders.items():
        alike[frozenset(names)].append(folder or ".")
    return [
        f"{' and '.join(sorted(same))} hold files of the same names: all are predicted. If some are masks, name the "
        "folder of the images"
        for same in alike.values()
        if len(same) > 1
    ]
