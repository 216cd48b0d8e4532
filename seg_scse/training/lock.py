"""One run folder, one writer."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_scse import distributed
from seg_scse.errors import ConfigError, WriteError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for the main process; the operating system releases it however the process ends.

    Raises:
        ConfigError: another process holds it; the message names it.
        WriteError: the folder cannot be written.
    """
    if not distributed.is_main():
        yield
        return
    path = folder / ".lock"
    try:
        opened = path.open("a+", encoding="ascii")
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror}). Choose another --out.") from error
    with opened as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ConfigError(
                f"{folder}: process {holder} is training in this folder. Wait for it, or choose another --out."
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield
