"""What a process finished, and what failed: kept as records, and counted for the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seg_scse.data.names import shown
from seg_scse.errors import DataError, SegScseError, is_out_of_memory
from seg_scse.prediction.folder import Folder, display_name
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.records import Record, Records, name_of
from seg_scse.prediction.writing.areas import ClassCounts
from seg_scse.prediction.writing.summary import SummaryRow

_MEMORY = (
    "out of memory. Set evaluation.batch_size=1; a network takes what its tiles take, other images what they decode to"
)


@dataclass(frozen=True)
class Task:
    """An item to predict.

    Attributes:
        item: what.
        fingerprint: of its files and the settings, taken before it is read.
        shared: it is a scene of which every process predicts a part.
    """

    item: Item
    fingerprint: str
    shared: bool = False


@dataclass(frozen=True)
class Result:
    """What was found in an item, for its record.

    Attributes:
        outputs: the files.
        counts: pixels and areas of the classes.
        area_unit: of the areas.
        height: of the image, or of the slices of a volume as the file has them.
        width: likewise.
        slices: of a volume.
        seconds: that reading, predicting and writing took in this process.
        strips: of a scene, who predicted each strip.
    """

    outputs: Sequence[Path]
    counts: ClassCounts
    area_unit: str
    height: int
    width: int
    seconds: float
    slices: int | None = None
    strips: Sequence[str] = ()


@dataclass
class Ledger:
    """The books of one process. Its methods may be called by any thread.

    Attributes:
        records: where the records of items are.
        folder: of the results.
        process: name of this process in records.
        debug: whether errors nobody thought of end the work.
        done: ids of the items that were finished.
        failures: why items failed, by id.
        notes: what should be said once, in order.
    """

    records: Records
    folder: Folder
    process: str
    debug: bool = False
    done: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def attempt(self, task: Task) -> Iterator[None]:
        """Do something for an item; what is wrong with it is noted, and the work goes on.

        Raises:
            SegScseError: of all kinds but DataError: what would be wrong with all items.
        """
        try:
            yield
        except DataError as error:
            self._fail(task, str(error))
        except SegScseError:
            raise
        except Exception as error:  # of a library, at a file that nobody thought of
            if self.debug:
                raise
            if is_out_of_memory(error):
                self._free()
                self._fail(task, f"{display_name(task.item)}: {_MEMORY}.")
            else:
                words = f"{type(error).__name__}: {error}"
                self._fail(task, f"{display_name(task.item)}: internal error: {words}. See it with --debug.")

    def _free(self) -> None:
        """Give back what the cache of a GPU holds: the next item may need it in other pieces."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fail(self, task: Task, error: str) -> None:
        item = task.item
        self.failures[item.id] = error
        outputs = self._outputs_before(item)  # --overwrite must find them
        row = {"input": display_name(item)}
        self.records.write(
            Record(item.id, "failed", task.fingerprint, outputs, row, process=self.process, error=shown(error))
        )

    def _outputs_before(self, item: Item) -> tuple[str, ...]:
        """The results that an earlier version of the item's files left."""
        record = self.records.read(name_of(item.id))
        return () if record is None else record.outputs

    def finish(self, task: Task, result: Result) -> None:
        """Keep that all results of an item are there.

        Raises:
            WriteError: the record cannot be written.
        """
        item = task.item
        row: dict[str, Any] = {
            "input": display_name(item),
            "height": result.height,
            "width": result.width,
            "slices": result.slices,
            "counts": result.counts.record(),
            "area_unit": result.area_unit,
            "seconds": round(result.seconds, 3),
        }
        outputs = tuple(self.folder.relative(path) for path in result.outputs)
        strips = tuple(result.strips)
        for old in set(self._outputs_before(item)) - set(outputs):  # a PNG, where the file now has a georeference
            with suppress(OSError):
                (self.records.root / old).unlink()
        self.records.write(Record(item.id, "done", task.fingerprint, outputs, row, strips, self.process))
        self.failures.pop(item.id, None)
        self.done.append(item.id)


def summary_row(record: Record) -> SummaryRow:
    """Return the line of the summary that a record gives."""
    row = {**record.row}
    counts = row.pop("counts", None)
    return SummaryRow(
        id=record.id,
        status=record.status,
        counts=None if counts is None else ClassCounts.of(counts),
        error=record.error,
        **row,
    )
