"""What the run says and writes while it goes on: every step, every epoch, and why it had to stop."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from seg_scse import checkpoint
from seg_scse.config.schema import Config
from seg_scse.errors import DivergedError
from seg_scse.training.records import Records, Value

SYNC_EVERY = 20
"""Steps between reads of the loss from a GPU; each read makes the host wait for it."""


CURE = "Lower optimizer.lr, set trainer.clip_grad_norm, or use trainer.precision=fp32."


@dataclass(frozen=True)
class StepResult:
    """What an optimizer step leaves behind.

    Attributes:
        step: number of the step, from 0.
        lr: its learning rate.
        indices: samples it saw, by index.
        values: float32 tensor on the device: gradient norm, total loss, then each loss term.
        seconds: time the host spent on it.
    """

    step: int
    lr: float
    indices: list[int]
    values: Tensor
    seconds: float


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

    def step(self, result: StepResult) -> None:
        """Take the result of a step; it is read from a GPU only every `SYNC_EVERY` steps."""
        self._pending.append(result)
        if not result.values.is_cuda or len(self._pending) >= SYNC_EVERY:
            self.flush()

    def flush(self) -> None:
        """Read all pending results.

        Raises:
            DivergedError: a loss or gradient is not finite. No checkpoint is written after it.
        """
        for result in self._pending:
            norm, total, *terms = result.values.tolist()
            parts = dict(zip(self.config.loss.terms, terms, strict=True))
            # In fp16 an infinite gradient is normal: the scaler skips the step and lowers its scale.
            if not math.isfinite(total) or not (math.isfinite(norm) or self.precision == "fp16"):
                raise DivergedError(self._diverged(result, total, norm, parts))
            self.last_loss = total
            if self.records is not None:
                epoch = result.step // self.steps_per_epoch
                row: dict[str, Value] = {"step": result.step, "epoch": epoch, "lr": result.lr, "loss": total}
                row |= {f"loss_{name}": value for name, value in parts.items()}
                self.records.add_step(row | {"grad_norm": norm, "seconds": result.seconds})
        self._pending.clear()

    def epoch(self, row: Mapping[str, Value], improved: bool | None) -> None:
        """Log an epoch and print its line; `improved` is None where it was not validated."""
        if self.records is None:
            return
        train_loss = self.records.add_epoch(row)
        words = [f"epoch {int(row['epoch'] or 0) + 1:>3}  step {row['step']:>6}  train_loss {train_loss:.4f}"]
        if improved is not None:
            monitor = self.config.trainer.monitor
            words.append(f"val_loss {row['val_loss']:.4f}  {monitor} {score_text(row[monitor])}")
            words.append("(best)" if improved else "      ")
        print("  ".join([*words, f"{row['seconds']:.0f} s"]), flush=True)

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
