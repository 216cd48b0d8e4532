"""One folder of results, one call; or the calls that share it by `--shard`, each of them once."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from seg_scse.errors import ConfigError
from seg_scse.holding import lock, opened, wait_for

_PATIENCE = 20.0  # seconds, for which a call that shares the folder may be preparing it
_CURE = "Wait for it, or choose another --output."


@contextmanager
def held(folder: Path, shard: tuple[int, int], prepare: Callable[[], None]) -> Iterator[None]:
    """Hold a folder of results; the operating system releases it however the process ends.

    Where a file system knows no locks, nothing is held, and nobody is refused.

    Args:
        folder: below that of the results, for the lock files.
        shard: number (from 1) and count of the calls that share the results; (1, 1) shares them with nobody.
        prepare: called where nobody else works in the folder: what killed writers left there may be removed.

    Raises:
        ConfigError: another call works in the folder.
        WriteError: the folder cannot be written.
    """
    number, count = shard
    place = folder.parent
    with opened(folder / "all.lock") as everyone, opened(folder / f"shard{number}.lock") as own:
        if lock(everyone, fcntl.LOCK_EX):
            _say(everyone, f"process {os.getpid()}, one of {count}")
            prepare()
            if count > 1:
                lock(everyone, fcntl.LOCK_SH)
        elif count == 1 or not _share(everyone):
            raise ConfigError(f"{place}: {_said(everyone)} is predicting into this folder. {_CURE}")
        if not _said(everyone).endswith(f"one of {count}"):
            raise ConfigError(f"{place}: --shard {number}/{count}, but {_said(everyone)}, is at work: give the same N.")
        if not lock(own, fcntl.LOCK_EX):
            raise ConfigError(f"{place}: --shard {number}/{count} is at work already: {_said(own)}. {_CURE}")
        _say(own, f"process {os.getpid()}")
        yield


def _share(stream: IO[str]) -> bool:
    if _said(stream).endswith("one of 1"):
        return False
    return wait_for(lambda: lock(stream, fcntl.LOCK_SH), _PATIENCE)


def _say(stream: IO[str], text: str) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()


def _said(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read().strip() or "another process"
