"""What is known about each item: a small file, written when all of its results are there, by which it is skipped."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from seg_scse.data.names import shown
from seg_scse.errors import DataError
from seg_scse.files import explained, replacing_path
from seg_scse.prediction.inputs.items import Item

RECORDS = ".items"
"""Folder of the records, below that of the results."""

_NAME = 20  # hexadecimal digits of a file's name: 80 bits tell millions of ids apart


@dataclass(frozen=True)
class Record:
    """One item as it was left.

    Attributes:
        id: of the item.
        status: whether all of its results are there.
        fingerprint: of its files and of the settings.
        outputs: paths of the results below the folder of all results.
        row: what the summary says of it.
        strips: of a scene, which process predicted each strip.
        process: which process finished it, such as `2/4`.
        error: why it failed.
    """

    id: str
    status: Literal["done", "failed"]
    fingerprint: str
    outputs: tuple[str, ...] = ()
    row: dict[str, Any] = field(default_factory=dict)
    strips: tuple[str, ...] = ()
    process: str = "1/1"
    error: str = ""


def name_of(item_id: str) -> str:
    """Return the file name, without suffix, that stands for an item; ids may hold anything."""
    return hashlib.sha256(item_id.encode(errors="surrogateescape")).hexdigest()[:_NAME]


def fingerprint(item: Item, settings: str) -> str:
    """Return what changes when a file of the item or a setting changes: names, sizes, times; not the folder above.

    Args:
        item: its files are looked at, not read.
        settings: the digest of the settings.

    Raises:
        DataError: a file is not there any more.
    """
    facts: list[object] = [settings]
    for path in item.files:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror}).") from error
        facts.append([shown(path.name), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class Records:
    """The records of a folder of results, `.items/<hash>.json`.

    Attributes:
        root: the folder of results.
        settings: digest of the settings that records must agree with.
    """

    root: Path
    settings: str

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self.root / RECORDS

    def finished(self, item: Item) -> Record | None:
        """Return the record of an item that need not be predicted again, else None.

        It must be made with the same settings from files that did not change since, and its results must be there.
        """
        record = self.read(name_of(item.id))
        if record is None or record.status != "done" or record.id != item.id:
            return None
        try:
            unchanged = record.fingerprint == fingerprint(item, self.settings)
        except DataError:  # said when the item is predicted
            return None
        return record if unchanged and self._all_there(record.outputs) else None

    def _all_there(self, outputs: Sequence[str]) -> bool:
        return all((self.root / output).is_file() for output in outputs)

    def read(self, name: str) -> Record | None:
        """Return the record of a name, None where there is none or it is damaged."""
        try:
            content = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            content |= {key: tuple(content[key]) for key in ("outputs", "strips")}
            return Record(**content)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: Record) -> None:
        """Keep a record.

        Raises:
            WriteError: the file cannot be written.
        """
        path = self.folder / f"{name_of(record.id)}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not flushed: the results are, and a record that a power cut damages costs one item.
            with replacing_path(path, flushed=False) as temporary:
                temporary.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        except OSError as error:
            raise explained(path, error) from error

    def of(self, items: Sequence[Item]) -> Iterator[Record]:
        """Yield the records of items that have one, in their order."""
        for item in items:
            record = self.read(name_of(item.id))
            if record is not None and record.id == item.id:
                yield record
