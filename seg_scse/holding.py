"""Files that processes hold: among several that would do the same work, one does it.

The operating system releases a file however its holder ends. Where a file system knows no locks, nobody is refused.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from seg_scse.files import explained


@contextmanager
def alone(path: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold a file among processes that want to do the same, and tell whether it was possible.

    Args:
        path: the file.
        patience: seconds to wait for another process.

    Raises:
        WriteError: the file cannot be written.
    """
    with opened(path) as stream:
        yield wait_for(lambda: lock(stream, fcntl.LOCK_EX), patience)


def hold(path: Path) -> IO[str] | None:
    """Hold a file until it is closed; None where another process holds it.

    Raises:
        WriteError: the file cannot be written.
    """
    stream = _open(path)
    if lock(stream, fcntl.LOCK_EX):
        return stream
    stream.close()
    return None


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """Open a file to be held, in folders that are made for it.

    Raises:
        WriteError: it cannot be written.
    """
    with _open(path) as stream:
        yield stream


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise explained(path, error) from error


def lock(stream: IO[str], kind: int) -> bool:
    """Hold an open file, alone (`fcntl.LOCK_EX`) or with others (`fcntl.LOCK_SH`), and tell whether it was possible."""
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def wait_for(condition: Callable[[], bool], patience: float) -> bool:
    """Ask until a condition holds, or for `patience` seconds; return whether it holds."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True
