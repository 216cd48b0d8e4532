"""Files that are complete or absent: written beside their place, flushed to the disk, then renamed."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from seg_scse.errors import WriteError

TEMPORARY_SUFFIX = ".partial"
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}


def explained(path: Path, error: OSError, needed: int | None = None) -> WriteError:
    """Return the error that says why a file could not be written, and what to do.

    Args:
        path: the file.
        error: of the operating system.
        needed: bytes that were to be written, where they are known.
    """
    if error.errno in _FULL:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        free = f"{shutil.disk_usage(existing).free:,} bytes are free"
        sizes = free if needed is None else f"{needed:,} bytes are needed, {free}"
        return WriteError(f"{path}: {_FULL[error.errno]} ({sizes}). Free some room, then resume.")
    if error.errno == errno.EFBIG and needed is not None:
        return WriteError(
            f"{path}: {needed:,} bytes are more than a file may have here (`ulimit -f`, or the file system). Raise the "
            "limit or choose another folder."
        )
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
        raise explained(path, error) from error


class HashingStream:
    """A binary file to write to that knows its size and SHA-256.

    A failed write, or a signal that ends the program in the middle of one, is remembered, and what follows is only
    counted: torch's writer of archives ends its file in any case and would replace the exception by one of its own. So
    `size` is right even where the disk is full.

    Attributes:
        size: bytes that were to be written so far.
        error: the first failure; `digest` raises it.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self._stream, self._hash = stream, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data` and return its number of bytes."""
        size = memoryview(data).nbytes
        self.size += size
        self._attempt(self._stream.write, data)
        self._attempt(self._hash.update, data)
        return size

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._attempt(self._stream.flush)

    def _attempt(self, function: Callable[..., object], *arguments: bytes | memoryview) -> None:
        if self.error is None:
            try:
                function(*arguments)
            except BaseException as error:  # SystemExit too
                self.error = error

    def digest(self) -> str:
        """Return the SHA-256 of what was written, in hexadecimal.

        Raises:
            OSError: not everything could be written.
        """
        self.flush()
        if self.error is not None:
            raise self.error
        return self._hash.hexdigest()


@contextmanager
def atomic_stream(path: Path) -> Iterator[HashingStream]:
    """Yield a stream into a temporary file; on success it is flushed and renamed to `path`, as by `atomic_path`.

    Nothing is held in memory.

    Raises:
        WriteError: the folder cannot be written or the disk is full; names the bytes that are needed.
    """
    stream = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(path, flushed=True) as temporary, temporary.open("wb") as file:
            stream = HashingStream(file)
            yield stream
            stream.digest()
    except OSError as error:
        raise explained(path, error, None if stream is None else stream.size) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_stream(path) as stream:
        stream.write(data)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that writers which were killed left in `folder`; nobody may write there meanwhile."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}*"):  # GDAL wants a GeoPackage's own ending behind ours
        with suppress(OSError):  # one more file is no reason to stop
            leftover.unlink()


def require_writable(folder: Path) -> None:
    """Create `folder` and prove that a file can be written in it.

    Raises:
        WriteError: it cannot.
    """
    probe = folder / ".writable"
    write_bytes(probe, b"")
    probe.unlink()
