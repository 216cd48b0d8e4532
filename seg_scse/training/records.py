"""The logs of a run: `steps.csv`, `epochs.csv` and TensorBoard events.

Logs only grow while a run goes on. A resumed run first drops the rows after its checkpoint, so that a log reads as
if the run had never been interrupted.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from torch.utils.tensorboard import SummaryWriter

from seg_scse.errors import WriteError
from seg_scse.files import write_text

Value = float | int | None


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
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in self.rows(path) if int(row[key]) < keep_below)
        write_text(path, text.getvalue())
        self._stream: TextIO = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, columns, lineterminator="\n")

    @staticmethod
    def rows(path: Path) -> list[dict[str, str]]:
        """Return the complete rows of a log; a last line cut short by a kill is left out."""
        if not path.exists():
            return []
        complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
        return list(csv.DictReader(io.StringIO(complete)))

    def add(self, row: Mapping[str, Value]) -> None:
        """Append a row; None is an empty cell."""
        try:
            self._writer.writerow({name: _cell(row.get(name)) for name in self.columns})
            self._stream.flush()
        except OSError as error:
            raise WriteError(
                f"{self.path}: cannot be written ({error.strerror}). Free some room, then resume."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _cell(value: Value) -> str | int:
    # repr of a float reads back to the same bits.
    return "" if value is None else value if isinstance(value, int) else repr(float(value))


class Records:
    """All logs of a run.

    Args:
        folder: the run folder.
        loss_terms: names of the parts of the loss.
        epoch: first epoch that will be written.
        step: first step that will be written.
        tensorboard: also write TensorBoard events.
    """

    SCORES = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled")

    def __init__(self, folder: Path, loss_terms: tuple[str, ...], epoch: int, step: int, tensorboard: bool) -> None:
        step_columns = ("step", "epoch", "lr", "loss", *(f"loss_{term}" for term in loss_terms), "grad_norm", "seconds")
        epoch_columns = ("epoch", "step", "lr", "train_loss", "val_loss", *self.SCORES, "seconds")
        self.steps = CsvLog(folder / "steps.csv", step_columns, "step", step)
        self.epochs = CsvLog(folder / "epochs.csv", epoch_columns, "epoch", epoch)
        self._losses = [float(row["loss"]) for row in CsvLog.rows(self.steps.path) if int(row["epoch"]) == epoch]
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step) if tensorboard else None

    def add_step(self, row: Mapping[str, Value]) -> None:
        """Log an optimizer step; `loss` must be given."""
        self.steps.add(row)
        self._losses.append(float(row["loss"] or 0.0))
        self._event("step", row, int(row["step"] or 0))

    def add_epoch(self, row: Mapping[str, Value]) -> float:
        """Log an epoch and return the mean loss of all its steps, also when it was resumed in the middle."""
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        self.epochs.add({**row, "train_loss": mean})
        self._event("epoch", {**row, "train_loss": mean}, int(row["step"] or 0))
        return mean

    def _event(self, group: str, row: Mapping[str, Value], step: int) -> None:
        if self._events is None:
            return
        for name, value in row.items():
            if value is not None and name not in ("step", "epoch"):
                self._events.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        self.steps.close()
        self.epochs.close()
        if self._events is not None:
            self._events.close()
