"""How a run ended or stopped, in a few lines for the terminal, and what can be done next; reads its files only."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, TypeAdapter

from seg_scse.config.loading import load_config
from seg_scse.config.schema import Config
from seg_scse.report.reading import EPOCHS, Natural, Part, damaged, read_columns, read_json
from seg_scse.report.wording import count, score
from seg_scse.training.meter import duration, size
from seg_scse.training.records import STEPS, TIMING

Columns = dict[str, list[float | None]]

_TAIL = 65_536  # bytes at the end of steps.csv among which its last row is


class _Data(Part):
    samples: dict[str, Natural] = Field(default_factory=dict)


class _Facts(Part):
    """What is needed of `run.json`."""

    steps: Natural
    data: _Data = Field(default_factory=_Data)
    resumed: list[dict[str, object]] = Field(default_factory=list)


@dataclass(frozen=True)
class _History:
    """The validations of a run as its checkpoints count them: the first one is the best until one is better."""

    epochs: int
    step: int
    best_epoch: int | None
    best: float | None
    last: float | None
    bad_validations: int


def summary(folder: Path) -> str:
    """Describe a run that has ended, or was stopped and can be resumed.

    Args:
        folder: the run folder, with `config.yaml`, `run.json` and, from the first epoch on, `epochs.csv`.

    Returns:
        Lines without an end of line: what was done, the best epoch, speed and memory, files, next commands.

    Raises:
        ConfigError: `config.yaml` is no configuration.
        DataError: another file is absent or damaged.
    """
    config, facts = load_config(folder / "config.yaml"), read_json(folder / "run.json", TypeAdapter(_Facts))
    history = _history(folder / EPOCHS, config.trainer.monitor)
    patience = config.trainer.early_stopping
    early = patience is not None and history.bad_validations >= patience
    ended = early or history.step >= facts.steps
    lines = [_done(folder, config, facts, history, early)]
    if history.best_epoch is not None:
        lines.append(_best(config.trainer.monitor, history))
    lines += _cost(folder / TIMING, whole=not facts.resumed)
    lines += [f"files:   {', '.join(['config.yaml', *_files(folder)])} in {folder}", "next:"]
    return "\n".join(lines + [f"  {command}" for command in _next(folder, facts, ended, history)])


def _history(path: Path, monitor: str) -> _History:
    columns: Columns = {"step": [], "val_loss": [], monitor: []}
    if path.exists():
        columns = read_columns(path, tuple(columns))
    best_epoch, best, last, bad = None, None, None, 0
    for epoch, (loss, found) in enumerate(zip(columns["val_loss"], columns[monitor], strict=True), start=1):
        if loss is None:  # not validated
            continue
        last, bad = found, bad + 1
        if best_epoch is None or (found is not None and (best is None or found > best)):
            best_epoch, best, bad = epoch, found, 0
    step = int(columns["step"][-1] or 0) if columns["step"] else 0
    return _History(len(columns["step"]), step, best_epoch, best, last, bad)


def _done(folder: Path, config: Config, facts: _Facts, history: _History, early: bool) -> str:
    epochs, total = count(history.epochs, "epoch"), f"{facts.steps:,} step{'' if facts.steps == 1 else 's'}"
    if early:
        without = count(config.trainer.early_stopping or 0, "validation")
        return f"ended:   after {epochs}, {history.step:,} of {total}: {without} without improvement"
    if history.step >= facts.steps:
        return f"ended:   after {epochs}, {total}"
    step = max(history.step, _last_step(folder / STEPS) + 1)
    return f"stopped: after {epochs}, at step {step:,} of {facts.steps:,}"


def _last_step(path: Path) -> int:
    """Return the number of the last logged step, -1 where there is none; a long file is not read whole."""
    if not path.exists():
        return -1
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
        complete = stream.read().rpartition(b"\n")[0]
    cell = complete.rpartition(b"\n")[2].partition(b",")[0].decode(errors="replace")
    if cell == "step":
        return -1
    if not cell.isdigit():
        raise damaged(path, f"its last row begins with {cell!r}, which is no step.")
    return int(cell)


def _best(monitor: str, history: _History) -> str:
    return f"best:    epoch {history.best_epoch}, {monitor} {score(history.best)} (last: {score(history.last)})"


def _cost(path: Path, whole: bool) -> list[str]:
    """Say how long the epochs took, how fast they were and what they needed, where that is known.

    Of an epoch that was interrupted the file has the time after that alone: then the sum is not the `whole`.
    """
    if not path.exists():
        return []
    columns = read_columns(path, ("seconds", "samples_per_second", "peak_memory"))
    seconds, rates, peaks = ([cell for cell in cells if cell is not None] for cells in columns.values())
    words = [f"{'' if whole else 'at least '}{duration(sum(seconds))}"] if seconds else []
    words += [f"{sorted(rates)[len(rates) // 2]:.3g} img/s in training"] if rates else []
    words += [f"peak memory {size(int(max(peaks)))}"] if peaks else []
    return ["cost:    " + ", ".join(words)] if words else []


def _files(folder: Path) -> list[str]:
    names = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", EPOCHS, "curves.png", "panel")
    return [name for name in names if (folder / name).exists()]


def _next(folder: Path, facts: _Facts, ended: bool, history: _History) -> list[str]:
    """Return the commands that make sense now, as they are typed."""
    run = shlex.quote(str(folder))
    commands = [] if ended else [f"python train.py --resume {run}"]
    if history.best_epoch is None:
        return commands
    split = "test" if facts.data.samples.get("test") else "val"
    chosen = "" if split == "test" else " --split val"
    if not (folder / "evaluation" / split / "results.json").exists():
        commands.append(f"python evaluate.py {run} --split {split}")
    return [*commands, f"seg-scse compare BASELINE {run}{chosen}", f"seg-scse card {run}{chosen}"]
