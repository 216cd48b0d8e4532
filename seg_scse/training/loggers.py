"""Loggers beside the CSV files: TensorBoard, and the services of `services`.

The files are the record of a run; a logger is a view of it. So a logger that fails while training is left out with
one warning, and a run that is resumed goes on in the same place, without a point lost or there twice.
"""

import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]  # has no stubs
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]
from torch.utils.tensorboard import SummaryWriter

from seg_scse.config.schema import Config, TrainerConfig
from seg_scse.errors import ConfigError
from seg_scse.files import write_text
from seg_scse.training.services import MLflow, WandB

IDS = "loggers.json"
"""Names under which the run is known to Weights & Biases and to MLflow."""

_LONGEST = 500  # characters of a foreign package's message that are shown


class Logger(Protocol):
    """Somewhere that values and pictures of a run are sent to."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Take values by name, all of one group: `step/...` or `epoch/...`, in which `step` only grows."""

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Take a picture, uint8 (H, W, 3)."""

    def flush(self) -> None:
        """Put everything where a kill of this process does not reach it: a checkpoint will be saved."""

    def close(self) -> None:
        """End; nothing is taken after it."""


def open_loggers(config: Config, folder: Path, step: int, in_epoch: int = 0) -> list[Logger]:
    """Open the loggers that the configuration asks for; for the main process, before the first step.

    Args:
        config: the configuration of the run.
        folder: the run folder; `loggers.json` in it makes a resumed run the same one elsewhere.
        step: optimizer steps done so far: values of later ones, which a kill may have left, are withdrawn.
        in_epoch: those of the current epoch; 0 says that the epoch before has been logged.

    Raises:
        ConfigError: a package is not installed, or a service refuses a new run; names the cure.
        WriteError: `loggers.json` cannot be written.
    """
    require_loggers(config.trainer)
    opened: list[Logger] = []
    if config.trainer.tensorboard:
        opened.append(_Guarded("TensorBoard", TensorBoard(folder / "tensorboard", step, in_epoch)))
    for name, wanted, kind in _services(config.trainer):
        service = _open_service(name, kind, config, folder) if wanted else None
        if service is not None:
            opened.append(_Guarded(name, service))
    return opened


def require_loggers(config: TrainerConfig) -> None:
    """Refuse loggers whose package is not installed; needs neither a folder nor a network.

    Raises:
        ConfigError: naming the key and how to install the package.
    """
    for name, wanted, _ in _services(config):
        if wanted:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ConfigError(
                    f"trainer.{name}=true, but the package {name} cannot be imported ({error}). Install it "
                    f"(pip install 'seg-scse[{name}]'), or set trainer.{name}=false."
                ) from error


def _services(config: TrainerConfig) -> tuple[tuple[str, bool, type[WandB] | type[MLflow]], ...]:
    return ("wandb", config.wandb, WandB), ("mlflow", config.mlflow, MLflow)


def _open_service(name: str, kind: type[WandB] | type[MLflow], config: Config, folder: Path) -> Logger | None:
    """Continue the run known to a service, or begin one; None where a resumed run has to go on without it."""
    path = folder / IDS
    ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    try:
        service = kind(config, folder, ids.get(name))
    except Exception as error:  # whatever a foreign package raises
        if name in ids:  # a restart at night must not end because a network is down
            _warn(name, error)
            return None
        raise ConfigError(
            f"trainer.{name}=true, but {name} cannot begin a run ({_short(error)}). {kind.CURE}, or set "
            f"trainer.{name}=false."
        ) from error
    write_text(path, json.dumps({**ids, name: service.id}, indent=2) + "\n")
    return service


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST]


def _warn(name: str, error: Exception) -> None:
    print(f"warning: {name} failed ({_short(error)}); training goes on without it.", file=sys.stderr, flush=True)


class _Guarded:
    """A logger that is left out after its first failure, which is said once: a lost point is not a lost result."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name = name
        self._logger: Logger | None = logger

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._try(lambda logger: logger.scalars(values, step))

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._try(lambda logger: logger.image(name, pixels, step))

    def flush(self) -> None:
        self._try(lambda logger: logger.flush())

    def close(self) -> None:
        self._try(lambda logger: logger.close())
        self._logger = None

    def _try(self, call: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            call(self._logger)
        except Exception as error:  # whatever a foreign package raises
            self._logger = None
            _warn(self._name, error)


class TensorBoard:
    """Event files for TensorBoard, `steps/` and `epochs/` below a folder.

    They are two because TensorBoard withdraws values by their step alone: a checkpoint at the end of an epoch and one
    just before have the same step, but only the first is after the epoch's values.

    Args:
        folder: where the event files are.
        step: optimizer steps done; values of steps from it on are withdrawn.
        in_epoch: those of the current epoch.
    """

    def __init__(self, folder: Path, step: int, in_epoch: int) -> None:
        # An epoch's values stand at the number of steps done: those of the last one at `step`, where it has ended.
        first = step if in_epoch else step + 1
        self._steps = _EventFile(folder / "steps", step)
        self._epochs: Any = SummaryWriter(str(folder / "epochs"), purge_step=first)  # its `file_writer` has no type

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See `Logger`."""
        # one event for all of them: with `add_scalar` for each a step would take four times as long
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        if next(iter(values)).startswith("step/"):
            self._steps.add(Event(wall_time=time.time(), step=step, summary=summary))
        else:
            self._epochs.file_writer.add_summary(summary, step)

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """See `Logger`."""
        self._epochs.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """See `Logger`."""
        self._steps.flush()
        self._epochs.flush()

    def close(self) -> None:
        """See `Logger`."""
        self._steps.close()
        self._epochs.close()


class _EventFile:
    """Writes events at once; the thread of `SummaryWriter` shares the interpreter with the loop, so it saves no time.

    Args:
        folder: where the file is.
        first: values of earlier files from this step on are withdrawn.
    """

    def __init__(self, folder: Path, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._stream = (folder / name).open("ab")
        self._records = RecordWriter(self._stream)
        self.add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self.add(Event(wall_time=time.time(), step=first, session_log=start))
        self.flush()

    def add(self, event: Event) -> None:
        """Append an event."""
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Hand everything to the system, which keeps it if this process is killed."""
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
