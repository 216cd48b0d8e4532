"""Files that are complete or absent: written beside their place, flushed to the disk, then renamed."""

import errno
import os
import secrets
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
def replacing_path(path: Path, flushed: bool) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is renamed to `path`, else removed.

    The name is drawn, because threads, processes and machines may write the same file of a shared folder at once.

    Args:
        path: the file that is complete or absent; its folder exists.
        flushed: to the disk before it is renamed, so that a power cut cannot damage it either.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        if flushed:
            _flush(temporary)
        temporary.replace(path)
        if flushed:
            _flush(path.parent)
    finally:
        with suppress(OSError):  # an unreachable folder was reported
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is flushed and renamed to `path`.

    The previous file at `path` survives any failure. The temporary file is in the same folder because a rename
    across file systems is a copy, which is not atomic.

    Raises:
        WriteError: the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(path, flushed=True) as temporary:
            yield temporary
    except OSError as error:
        raise _explain(path, error) from error


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
