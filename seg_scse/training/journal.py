"""What the run says and writes while it goes on: every step, every epoch, and why it had to stop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_scse import checkpoint
from seg_scse.config.schema import Config
from seg_scse.errors import DivergedError
from seg_scse.training.meter import Timing
from seg_scse.training.records import Records, Value

SYNC_EVERY = 20
"""Steps between reads of the loss from a GPU, each of which makes the host wait for it; and between writes of
`steps.csv`."""


CURE = "Lower optimizer.lr, set trainer.clip_grad_norm, or use trainer.precision=fp32."


@dataclass(frozen=True)
class StepResult:
    """What an optimizer step leaves behind.

    Attributes:
        step: number of the step, from 0.
        epoch: number of its epoch, from 0.
        lr: its learning rate.
        indices: samples it saw, by index.
        values: float32 (2 + terms,) on the device: gradient norm, total loss, then each loss term.
    """

    step: int
    epoch: int
    lr: float
    indices: list[int]
    values: Tensor


class Journal:
    """Takes results of steps, refuses non-finite ones, and hands the others to the logs.

    Args:
        folder: the run folder.
        config: the configuration of the run.
        steps_per_epoch: optimizer steps of an epoch.
        precision: fp32, bf16 or fp16.
        names: sample ids by index, for messages.
        records: the logs; None in processes that do not write.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        steps_per_epoch: int,
        precision: str,
        names: Callable[[int], str],
        records: Records | None,
    ) -> None:
        self.folder, self.config, self.steps_per_epoch = folder, config, steps_per_epoch
        self.precision, self.names, self.records = precision, names, records
        self.last_loss = math.nan
        self._pending: list[StepResult] = []
        self._unwritten = 0

    def step(self, result: StepResult) -> None:
        """Take the result of a step; from a GPU it is read every `SYNC_EVERY` steps only.

        Raises:
            DivergedError: a loss or gradient is not finite.
            WriteError: `steps.csv` cannot be written.
        """
        self._pending.append(result)
        self._unwritten += 1
        due = self._unwritten >= SYNC_EVERY
        if due or not result.values.is_cuda:
            self._read()
        if due:
            self._write(durable=False)

    def flush(self) -> None:
        """Read all pending results and put them on the disk, as must be done before a checkpoint is saved.

        Raises:
            DivergedError: a loss or gradient is not finite. No checkpoint is written after it.
            WriteError: `steps.csv` cannot be written.
        """
        self._read()
        self._write(durable=True)

    def _write(self, durable: bool) -> None:
        self._unwritten = 0
        if self.records is not None:
            self.records.flush(durable)

    def _read(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        read = torch.stack([result.values for result in pending]).tolist()  # one copy, one wait
        for result, (norm, total, *terms) in zip(pending, read, strict=True):
            parts = dict(zip(self.config.loss.terms, terms, strict=True))
            # In fp16 an infinite gradient is normal: the scaler skips the step and lowers its scale.
            if not math.isfinite(total) or not (math.isfinite(norm) or self.precision == "fp16"):
                raise DivergedError(self._diverged(result, total, norm, parts))
            self.last_loss = total
            if self.records is not None:
                row: dict[str, Value] = {"step": result.step, "epoch": result.epoch, "lr": result.lr, "loss": total}
                row |= {f"loss_{name}": value for name, value in parts.items()}
                self.records.add_step(row | {"grad_norm": norm})

    def epoch(self, row: Mapping[str, Value], improved: bool | None, timing: Timing) -> None:
        """Log an epoch and print its line.

        Args:
            row: `epoch` (from 0), `step` (steps done), `lr`, and where it was validated `val_loss` and the scores.
            improved: whether it is the best so far; None where it was not validated.
            timing: what it took.
        """
        if self.records is None:
            return
        total = str(self._epochs())
        number = f"{int(row['epoch'] or 0) + 1:>{len(total)}}/{total}"
        train_loss = self.records.add_epoch(row, timing)
        words = [f"epoch {number}  step {row['step']:>6}  train_loss {train_loss:.4f}"]
        if improved is not None:
            monitor = self.config.trainer.monitor
            words.append(f"val_loss {row['val_loss']:.4f}  {monitor} {score_text(row[monitor])}")
            words.append("(best)" if improved else "      ")
        print("  ".join([*words, timing.text()]), flush=True)

    def _epochs(self) -> int:
        """Return the epochs of the whole run; the last one may be shorter."""
        settings = self.config.trainer
        if settings.max_steps is None:
            return settings.max_epochs
        return min(settings.max_epochs, math.ceil(settings.max_steps / self.steps_per_epoch))

    def images(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        """Give pictures, uint8 (H, W, 3) by name, to the loggers."""
        if self.records is not None:
            self.records.add_images(pictures, step)

    def _diverged(self, result: StepResult, total: float, norm: float, parts: Mapping[str, float]) -> str:
        files = ", ".join(self.names(index) for index in result.indices)
        terms = ", ".join(f"{name} {value:g}" for name, value in parts.items())
        return (
            f"step {result.step}: the loss or its gradient is not finite (loss {total:g}: {terms}; gradient norm "
            f"{norm:g}; lr {result.lr:g}, {self.precision}) on samples {files}.\n"
            f"{CURE} {kept(self.folder)}"
        )


def kept(folder: Path) -> str:
    """Say which checkpoint a run that has to stop leaves behind."""
    last = folder / checkpoint.LAST
    return f"Kept: {last}." if last.exists() else "No checkpoint was written yet."


def score_text(score: Value) -> str:
    """Return a score with four decimals, or n/a."""
    return "n/a" if score is None else f"{score:.4f}"
