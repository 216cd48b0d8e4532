"""The logs of a run: `steps.csv`, `epochs.csv`, `timing.csv` and the loggers beside them.

Logs only grow while a run goes on. A resumed run first drops the rows after its checkpoint, so that a log reads as
if the run had never been interrupted. What a clock says is in `timing.csv` alone: the other two are the same bytes
whenever, and however often, a run was interrupted.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import WriteError
from seg_scse.files import explained, write_text
from seg_scse.training.loggers import Logger
from seg_scse.training.meter import Timing

Value = float | int | None

LOGGED_EVERY = 10
"""Steps between points that loggers get: their pages show a thousand points a curve; `steps.csv` has all."""

STEPS, EPOCHS, TIMING = "steps.csv", "epochs.csv", "timing.csv"


class CsvLog:
    """A growing CSV file with fixed columns.

    Args:
        path: the file.
        columns: its header.
        key: the counting column by which rows are dropped.
        keep_below: rows whose key is at least this are dropped; 0 starts afresh.

    Raises:
        WriteError: the file cannot be written.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], key: str, keep_below: int) -> None:
        self.path, self.columns = path, columns
        text = io.StringIO()
        # Columns that an earlier version wrote besides are left out, missing ones are empty.
        writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in self.rows(path) if int(row[key]) < keep_below)
        write_text(path, text.getvalue())
        with self._explained():
            self._stream: TextIO = path.open("a", encoding="utf-8", newline="")

    @staticmethod
    def rows(path: Path) -> list[dict[str, str]]:
        """Return the complete rows of a log; a last line cut short by a kill is left out."""
        if not path.exists():
            return []
        complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
        return list(csv.DictReader(io.StringIO(complete)))

    def add(self, row: Mapping[str, Value]) -> None:
        """Append a row, which `flush` hands to the system; None is an empty cell."""
        with self._explained():
            self._stream.write(",".join([_cell(row.get(name)) for name in self.columns]) + "\n")

    def flush(self, durable: bool = False) -> None:
        """Hand all rows to the system, which keeps them if this process is killed.

        Args:
            durable: wait until they are on the disk, which keeps them if the machine is switched off.
        """
        with self._explained():
            self._stream.flush()
            if durable:
                os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        with self._explained():
            self._stream.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explained(self.path, error) from error


def _cell(value: Value) -> str:
    # repr of a float reads back to the same bits; no number needs a quote
    return "" if value is None else str(value) if isinstance(value, int) else repr(float(value))


class Records:
    """All logs of a run, written by the main process.

    Args:
        folder: the run folder.
        loss_terms: names of the parts of the loss.
        epoch: first epoch that will be written.
        step: first step that will be written.
        loggers: get the values of the files, as `step/<name>` (every `LOGGED_EVERY` steps) and `epoch/<name>`; closed
            with them.

    Raises:
        WriteError: the folder cannot be written.
    """

    SCORES = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled")
    TIMES = ("seconds", "train_seconds", "val_seconds", "samples_per_second", "peak_memory")

    def __init__(
        self, folder: Path, loss_terms: tuple[str, ...], epoch: int, step: int, loggers: Sequence[Logger] = ()
    ) -> None:
        step_columns = ("step", "epoch", "lr", "loss", *(f"loss_{term}" for term in loss_terms), "grad_norm")
        epoch_columns = ("epoch", "step", "lr", "train_loss", "val_loss", *self.SCORES)
        self.loggers = tuple(loggers)
        self.steps = CsvLog(folder / STEPS, step_columns, "step", step)
        self.epochs = CsvLog(folder / EPOCHS, epoch_columns, "epoch", epoch)
        self.timing = CsvLog(folder / TIMING, ("epoch", "step", *self.TIMES), "epoch", epoch)
        self._rows: list[Mapping[str, Value]] = []
        # Read back, so that the mean over an epoch is that of all its steps, whatever process made them.
        self._losses = [float(row["loss"]) for row in CsvLog.rows(self.steps.path) if int(row["epoch"]) == epoch]

    def add_step(self, row: Mapping[str, Value]) -> None:
        """Log an optimizer step; `loss` must be given. It waits for `flush`: a kill before it loses the row."""
        self._rows.append(row)
        self._losses.append(float(row["loss"] or 0.0))

    def _write_rows(self) -> None:
        # Many at once take half the time of one after each step, and the threads of loggers are woken up less often.
        rows, self._rows = self._rows, []
        for row in rows:
            self.steps.add(row)
            step = int(row["step"] or 0)
            if step % LOGGED_EVERY == 0:
                self._send("step", row, step)

    def add_epoch(self, row: Mapping[str, Value], timing: Timing) -> float:
        """Log the end of an epoch; return the mean loss of all its steps, also where it was resumed in the middle.

        Args:
            row: `epoch`; `step`, the steps done; and the columns of `epochs.csv` that are known.
            timing: what it took.
        """
        self._write_rows()  # loggers take steps in order
        mean, step = sum(self._losses) / len(self._losses), int(row["step"] or 0)
        times = {name: getattr(timing, name) for name in self.TIMES}
        row = {**row, "train_loss": mean}
        self.epochs.add(row)
        self.timing.add({"epoch": row["epoch"], "step": step, **times})
        self._send("epoch", {**row, **times}, step)
        self.flush(durable=True)
        self._losses.clear()
        return mean

    def add_images(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Give pictures, uint8 (H, W, 3) by name, to the loggers; the files hold none."""
        for name, pixels in pictures.items():
            for logger in self.loggers:
                logger.image(name, pixels, step)

    def flush(self, durable: bool = False) -> None:
        """Hand everything to the system; `durable`: and to the disk, as it must be before a checkpoint is saved."""
        self._write_rows()
        for log in (self.steps, self.epochs, self.timing):
            log.flush(durable)
        if durable:
            for logger in self.loggers:
                logger.flush()

    def _send(self, group: str, row: Mapping[str, Value], step: int) -> None:
        if not self.loggers:
            return
        values = {
            f"{group}/{name}": float(value)
            for name, value in row.items()
            if value is not None and name not in ("step", "epoch")
        }
        for logger in self.loggers:
            logger.scalars(values, step)

    def close(self) -> None:
        """Close files and loggers; what cannot be written any more has been reported, or was flushed before."""
        with suppress(WriteError):
            self._write_rows()
        for log in (self.steps, self.epochs, self.timing):
            with suppress(WriteError):
                log.close()
        for logger in self.loggers:
            logger.close()
