"""When loader processes die, hang, or run out of shared memory or files: the likely cause and the cure."""

import errno
import os
import re
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from seg_scse.errors import SegScseError

T = TypeVar("T")

_DYING_SECONDS = 1.0  # its last message may fail before a process that was killed has ended

_NONE = "trainer.workers=0 draws in the main process"
_MEMORY = f"the system lets no further process start. Use fewer (trainer.workers) or raise `ulimit -u`; {_NONE}."
_SHARED = (
    "shared memory (/dev/shm) is too small for the batches. Enlarge it (docker run --shm-size=2g), lower "
    f"trainer.workers or trainer.batch_size; {_NONE} and needs none."
)
_FILES = f"too many files are open. Raise the limit (ulimit -n 4096) or lower trainer.workers; {_NONE}."
_CAUSES = {  # in the texts of torch and of the operating system
    r"too many open files|items of ancdata|\[errno 24\]": _FILES,
    r"</torch_|shared memory|\bshm\b|bus error": _SHARED,
    r"resource temporarily unavailable|cannot allocate memory": _MEMORY,
}
_SHARED_EXIT, _FILES_EXIT = 81, 82
_EXITS = {_SHARED: _SHARED_EXIT, _FILES: _FILES_EXIT}
_ENDS = {
    -signal.SIGKILL: "was killed (SIGKILL), most likely by the system because memory ran out (`dmesg` says so). Use "
    f"fewer (trainer.workers) or make memory free; {_NONE}.",
    -signal.SIGBUS: f"ended by SIGBUS: {_SHARED}",
    _SHARED_EXIT: f"ended: {_SHARED}",
    _FILES_EXIT: f"ended: {_FILES}",
}


class LoaderError(SegScseError):
    """The loader processes cannot go on; nothing is wrong with configuration or data."""


def _cause(text: str) -> str | None:
    return next((cause for pattern, cause in _CAUSES.items() if re.search(pattern, text, re.IGNORECASE)), None)


def _end(worker: BaseProcess) -> str:
    code = worker.exitcode or 0
    if code in _ENDS:
        return f"loader process {worker.pid} {_ENDS[code]}"
    if code < 0:
        return (
            f"loader process {worker.pid} crashed ({signal.Signals(-code).name}), most likely in a library that reads "
            "or changes an image. `seg-scse data check` reads them all; if it finds nothing, try again with "
            "trainer.workers=0."
        )
    return f"loader process {worker.pid} ended with code {code}. Try again with trainer.workers=0, which shows why."


def explained(error: Exception, workers: Sequence[BaseProcess] = ()) -> Exception:
    """Return what to raise instead of an error of torch's loader: a `LoaderError` where the cause is known.

    Args:
        error: what the loader raised.
        workers: its processes.
    """
    if workers and not str(error).startswith("Caught "):  # that one was raised in a process, and not by its end
        ended = next(iter(wait([worker.sentinel for worker in workers], _DYING_SECONDS)), None)
        dead = next((worker for worker in workers if worker.sentinel == ended), None)
        if dead is not None:
            dead.join(_DYING_SECONDS)
            return LoaderError(_end(dead))
    limit = isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.EAGAIN, errno.ENOMEM}
    cause = _cause(str(error)) if limit or isinstance(error, RuntimeError) else None
    return error if cause is None else LoaderError(f"loader processes: {cause}")


def watched(batches: Iterator[T], workers: Sequence[BaseProcess], patience: float) -> Iterator[T]:
    """Yield the batches of a loader that times out often, so that it looks after its processes meanwhile.

    Args:
        batches: of the loader.
        workers: its processes.
        patience: seconds to wait for a batch.

    Raises:
        LoaderError: a process died or hangs, or a resource is used up.
    """
    while (batch := _next(batches, workers, patience)) is not None:
        yield batch


def _next(batches: Iterator[T], workers: Sequence[BaseProcess], patience: float) -> T | None:
    ends = time.monotonic() + patience
    while True:
        try:
            return next(batches, None)
        except Exception as error:  # the message of a process that is killed may break off anywhere
            if not str(error).startswith("DataLoader timed out"):
                better = explained(error, workers)
                if better is error:
                    raise
                raise better from error
        if time.monotonic() >= ends:
            raise LoaderError(
                f"the loader processes have delivered nothing for {patience:g} s: one of them hangs, most likely in "
                "reading a file (is a network folder away?). Try again, or with trainer.workers=0."
            )


def end_process(error: Exception, _: object) -> None:
    """End this loader process where its batch cannot be sent: the main process would wait for it for ever."""
    cause = _cause(str(error))
    if cause is None:
        traceback.print_exception(error)
    os._exit(_EXITS.get(cause or "", 1))
