"""One run of a study in a process of its own, so that no crash and no memory that it keeps can touch the others."""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from seg_scse import checkpoint
from seg_scse.files import explained
from seg_scse.study.cells import Cell

_OTHERS = re.compile(r"RANK|WORLD_SIZE|MASTER_(ADDR|PORT)|(LOCAL|GROUP|ROLE)_.*(RANK|SIZE)|ROLE_NAME|TORCHELASTIC_.*")
"""Variables of torchrun: each run is a single process, whatever the study is."""
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
_TAIL = 4000


@dataclass
class Child:
    """The processes of one cell, one after the other: training with its evaluation, then what follows from it.

    Attributes:
        cell: what is made.
        commands: arguments of `python -m seg_scse`, still to be started.
        environment: of the processes.
        log: what they print.
        held: the file that says that the run is being made; the processes hold it too, so that nobody takes the run
            of a study that was killed while they still save.
        process: the current one.
        is_scored: whether the run is trained and has its scores, which no later command can take away.
        started: when the first one was started.
    """

    cell: Cell
    commands: list[list[str]]
    environment: Mapping[str, str]
    log: IO[str]
    held: IO[str]
    process: subprocess.Popen[bytes]
    is_scored: bool = False
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls, cell: Cell, commands: Sequence[Sequence[str]], environment: Mapping[str, str], held: IO[str]
    ) -> Self:
        """Start the first command; what the processes print goes to the end of the cell's log.

        Raises:
            WriteError: the log cannot be written.
        """
        path = cell.beside(".log")
        try:
            log = path.open("a", encoding="utf-8")
        except OSError as error:
            held.close()
            raise explained(path, error) from error
        first, *others = [list(command) for command in commands]
        return cls(cell, others, environment, log, held, _popen(first, log, environment, held))

    def poll(self) -> int | None:
        """Return the exit code of the cell: that of the last command, or of the first that failed; None before."""
        code = self.process.poll()
        self.is_scored = self.is_scored or code == 0
        if code == 0 and self.commands:
            self.process = _popen(self.commands.pop(0), self.log, self.environment, self.held)
            return None
        return code

    def stop(self) -> None:
        """Ask the process to save a checkpoint and end."""
        self.commands.clear()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def seconds(self) -> float:
        """Return how long it has taken."""
        return time.monotonic() - self.started

    def end(self) -> None:
        """Let go of the log and of the run, once the process has ended."""
        self.process.wait()
        self.log.close()
        self.held.close()

    def said(self) -> str:
        """Return why it failed: the signal that killed it, or else the last error in the log, or its last line."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by signal {-code}" + (": was memory short?" if code == -signal.SIGKILL else "")
        self.log.flush()
        lines = _tail(Path(self.log.name)).splitlines()
        errors = [number for number, line in enumerate(lines) if line.startswith(("error: ", "internal error: "))]
        text = lines[errors[-1] :] if errors else lines[-1:]
        return "\n".join(text).strip()


def command_of(arguments: Sequence[str]) -> list[str]:
    """Return the command of a process, from its arguments."""
    return [sys.executable, "-m", "seg_scse", *arguments]


def _popen(
    arguments: Sequence[str], log: IO[str], environment: Mapping[str, str], held: IO[str]
) -> subprocess.Popen[bytes]:
    command = command_of(arguments)
    log.write(f"$ {shlex.join(command)}\n")
    log.flush()
    # A session of its own: Ctrl-C reaches the study alone, which then asks its runs to save and end.
    return subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        pass_fds=(held.fileno(),),
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Let the kernel ask this process to save and end when the study is killed."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read().decode("utf-8", "replace")


def environment(slots: int, device: str | None) -> dict[str, str]:
    """Return the environment of a run that goes on beside others.

    Args:
        slots: how many go on at a time.
        device: the GPU that it sees; None leaves that as it is.
    """
    values = {key: value for key, value in os.environ.items() if not _OTHERS.fullmatch(key)}
    if slots > 1 and "OMP_NUM_THREADS" not in values:
        values["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // slots))
    return values if device is None else {**values, "CUDA_VISIBLE_DEVICES": device}


def training(cell: Cell, split: str, overrides: Sequence[str]) -> list[str]:
    """Return the command that begins a run, or goes on with it, and scores it.

    Args:
        cell: the run.
        split: that is scored.
        overrides: for a run that goes on: where things are now.
    """
    evaluate = ["--evaluate", split]
    if (cell.folder / checkpoint.LAST).exists():
        return ["train", "--resume", str(cell.folder), *evaluate, *overrides]
    return ["train", "--config", str(cell.beside(".yaml")), "--out", str(cell.folder), *evaluate]
