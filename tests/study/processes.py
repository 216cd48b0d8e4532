"""Processes of studies without the seconds that Python and torch take to start: copies of the test's own process."""

import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import pytest

from seg_scse.study import child


class Forked:
    """A process that calls a function; with the methods of `subprocess.Popen` that a study uses."""

    def __init__(self, function: Callable[[], int], output: Path | IO[str], environment: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        given = dict(environment)  # it may be that of this process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which wait for nothing here
            self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._call(function, output, given))

    @staticmethod
    def _call(function: Callable[[], int], output: Path | IO[str], environment: Mapping[str, str]) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        stream = output.open("a", encoding="utf-8") if isinstance(output, Path) else output
        sys.stdout = sys.stderr = stream
        try:
            return function()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            stream.flush()

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, patience: float = 60.0) -> int:
        until(lambda: self.poll() is not None, patience)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def until(condition: Callable[[], bool], patience: float = 60.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def fork_runs(patch: pytest.MonkeyPatch) -> None:
    """Let the runs of studies be copies of this process, which do all that the commands do."""
    for name in ("training.run", "report", "evaluation.evaluate", "evaluation.frozen", "report.curves"):
        importlib.import_module(f"seg_scse.{name}")  # once, not in every copy

    def start(words: Sequence[str], log: IO[str], environment: Mapping[str, str], held: IO[str]) -> Forked:
        def run() -> int:
            from seg_scse.cli import main

            if sys.platform == "linux":
                child._end_with_parent()
            return main(list(words))

        log.write(f"$ {' '.join(words)}\n")
        log.flush()
        return Forked(run, Path(log.name), environment)

    patch.setattr(child, "_popen", start)


def stand_in(patch: pytest.MonkeyPatch, journal: Path, **environment: str) -> None:
    """Let the runs of studies be those of `stand_in.py`."""
    script = str(Path(__file__).with_name("stand_in.py"))
    patch.setattr(child, "command_of", lambda words: [sys.executable, "-I", "-S", script, *words])
    for name, value in {"JOURNAL": str(journal), **environment}.items():
        patch.setenv(name, value)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
