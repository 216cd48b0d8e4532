"""The folder of a prediction's results: what lies where, and what may not be mixed or overwritten in it."""

import glob
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seg_scse.data.names import shown
from seg_scse.errors import ConfigError, DataError, numbered
from seg_scse.files import TEMPORARY_SUFFIX, remove_leftovers, require_writable, write_text
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.left_out import FACTS
from seg_scse.prediction.records import RECORDS, Records, name_of
from seg_scse.prediction.settings import KINDS, Kind, differences, digest_of

SUMMARY = "summary.csv"
OWNERS = ".by"
"""Behind the name of a scene's strips: the folder that says who predicted them."""

_STRIPS = ".strips"
_LONGEST = 210  # bytes of a name: most file systems take 255, with its ending and that of a file under way
_IMAGES, _VOLUMES = (".png", ".tif", ".tiff"), (".nii", ".nii.gz")


def is_file_name(output: Path) -> bool:
    """Tell whether an output is named as one label map, not as a folder of results."""
    return output.name.lower().endswith((*_IMAGES, *_VOLUMES)) and not output.is_dir()


@dataclass(frozen=True)
class Folder:
    """Where results go.

    Attributes:
        root: the folder; of a single label map one beside it, which goes away when that is written.
        target: the file of a single label map, or None.
    """

    root: Path
    target: Path | None = None

    @classmethod
    def of(cls, output: Path) -> "Folder":
        """Return the folder of an output, which may be that of a single file."""
        if not is_file_name(output):
            return cls(output)
        return cls(output.with_name(f".{output.name}.predict"), output)

    @property
    def hidden(self) -> Path:
        """Folder of records and locks."""
        return self.root / RECORDS

    def strips(self, item_id: str) -> Path:
        """Folder of the strips of a scene that is not finished."""
        return self.root / _STRIPS / name_of(item_id)

    def forget_strips(self, finished: Iterable[str]) -> None:
        """Remove all that is kept while a scene is under way of those that are finished, by their ids."""
        names = {name_of(item_id) for item_id in finished}
        with suppress(OSError):  # none is, or another process is doing the same
            for path in (self.root / _STRIPS).iterdir():
                if path.stem in names:
                    _remove(path)

    def path(self, kind: Kind, item_id: str, suffix: str) -> Path:
        """Return where a result belongs.

        Raises:
            DataError: the id would lead out of the folder, or is too long for the name of a file.
        """
        if self.target is not None and kind == "labels":
            return self.target
        parts = PurePosixPath(item_id)
        if parts.is_absolute() or ".." in parts.parts or not parts.name:
            raise DataError(f"{shown(item_id)}: this id leads out of the folder {shown(self.root)}: name it otherwise.")
        longest = max(len(os.fsencode(part)) for part in parts.parts)
        if longest > _LONGEST:
            raise DataError(
                f"{shown(item_id)[:60]}...: {longest} bytes are too long for the names of results, which may have "
                f"{_LONGEST}. Name it otherwise: by the column id of a CSV table."
            )
        return self.root / kind / f"{item_id}{suffix}"

    def relative(self, path: Path) -> str:
        """Return a result's path as records keep it."""
        return os.path.relpath(path, self.root)

    def records(self, settings: Mapping[str, Any]) -> Records:
        """Return the records of items that were predicted with these settings."""
        return Records(self.root, digest_of(settings))

    def check(self, settings: Mapping[str, Any], overwrite: bool) -> bool:
        """Refuse a folder that may not hold results of these settings; nothing is written.

        Args:
            settings: all that the results depend on.
            overwrite: what was predicted earlier may be removed.

        Returns:
            whether it holds results of the same settings, to which others are added.

        Raises:
            ConfigError: it holds results of other settings, or files that no prediction made.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"--output {self.root}: is a file. Name a folder, or a label map such as map.tif.")
        old = self._facts()
        self._protect(old is not None, overwrite)
        if old is None or overwrite:
            return False
        changed = differences(old.get("settings", {}), settings)
        if changed:
            raise ConfigError(
                f"{self.root}: holds results of other settings:\n{numbered(changed)}\nChoose another --output, or "
                "replace them by --overwrite."
            )
        return True

    def claim(self, settings: Mapping[str, Any], facts: Mapping[str, Any], overwrite: bool) -> Records:
        """Make the folder that of these settings, and remove earlier results where these are to be replaced.

        Args:
            settings: all that the results depend on.
            facts: what else `predict.json` says.
            overwrite: as for `check`.

        Raises:
            ConfigError: as `check`.
            WriteError: it cannot be written.
        """
        records = self.records(settings)
        if not self.check(settings, overwrite):
            require_writable(self.root)
            if overwrite:
                self._empty(records)
            write_text(self.root / FACTS, json.dumps({"settings": settings, **facts}, indent=2))
        return records

    def _facts(self) -> dict[str, Any] | None:
        try:
            facts: dict[str, Any] = json.loads((self.root / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return facts

    def _protect(self, known: bool, overwrite: bool) -> None:
        """Refuse to write among files that somebody else put there, such as the masks of a data set."""
        if self.target is not None and self.target.exists() and not overwrite and not known:
            raise ConfigError(f"--output {self.target}: exists. Name another file, or replace it by --overwrite.")
        taken = [kind for kind in KINDS if not known and _any_in(self.root / kind)]
        if taken:
            raise ConfigError(
                f"--output {self.root}: holds files in {', '.join(taken)} that no prediction made, for there is no "
                f"{FACTS}. Choose another folder."
            )

    def _empty(self, records: Records) -> None:
        """Remove what records name, and the records."""
        for file in records.folder.glob("*.json"):
            record = records.read(file.stem)
            for output in () if record is None else record.outputs:
                with suppress(OSError):
                    (self.root / output).unlink()
            file.unlink(missing_ok=True)
        shutil.rmtree(self.root / _STRIPS, ignore_errors=True)
        (self.root / SUMMARY).unlink(missing_ok=True)

    def clear_leftovers(self) -> None:
        """Remove what killed writers left; nobody else may write here."""
        remove_leftovers(self.root)
        for own in (*KINDS, RECORDS, _STRIPS):  # what else is in the folder is not ours, and may be large
            for folder, _, files in os.walk(self.root / own):
                if any(name.startswith(".") for name in files):
                    remove_leftovers(Path(folder))
        if self.target is not None:  # others may be writing beside it
            for leftover in self.target.parent.glob(f".{glob.escape(self.target.name)}.*{TEMPORARY_SUFFIX}"):
                leftover.unlink(missing_ok=True)

    def finish(self, failed: bool) -> None:
        """Remove the folder that stood beside a single label map, unless a scene that failed may go on from there."""
        if self.target is not None and not (failed and _any_in(self.root / ".strips")):
            shutil.rmtree(self.root, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _any_in(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def display_name(item: Item) -> str:
    """Return the input of an item for tables: its file, or the folder of a series."""
    first = item.files[0]
    return shown(first.parent if item.kind == "series" else first)
