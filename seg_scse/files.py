"""Files that are complete or absent: written beside their place, flushed to the disk, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seg_scse.errors import WriteError

TEMPORARY_SUFFIX = ".partial"


def _explain(path: Path, error: OSError) -> WriteError:
    if error.errno == errno.ENOSPC:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(existing).free
        return WriteError(f"{path}: the disk is full ({free / 2**20:.0f} MiB free). Free some room, then resume.")
    reason = error.strerror or str(error)
    return WriteError(f"{path}: cannot be written ({reason}). Choose another folder or correct its rights.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is flushed and renamed to `path`.

    The previous file at `path` survives any failure. The temporary file is in the same folder because a rename
    across file systems is a copy, which is not atomic.

    Raises:
        WriteError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _explain(path, error) from error
    finally:
        with suppress(OSError):  # an unreachable folder was reported above
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def require_writable(folder: Path) -> None:
    """Create `folder` and prove that a file can be written in it.

    Raises:
        WriteError: it cannot.
    """
    probe = folder / ".writable"
    write_bytes(probe, b"")
    probe.unlink()
