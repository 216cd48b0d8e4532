"""A file that is being downloaded: its bytes so far, and what must still hold for the rest to fit them."""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from seg_scse.data.names import shown
from seg_scse.data.sets.web import Answer, Unreliable
from seg_scse.errors import DataError, WriteError
from seg_scse.files import TEMPORARY_SUFFIX, atomic_path, write_text


def not_written(path: Path, error: OSError) -> WriteError:
    """Turn a failure to write into an error that names the cure."""
    if error.errno == errno.ENOSPC:
        return WriteError(f"{shown(path)}: the disk is full. Free some room and repeat: the download goes on.")
    reason = error.strerror or str(error)
    return WriteError(f"{shown(path)}: cannot be written ({reason}). Choose another folder or correct its rights.")


def require_room(folder: Path, needed: int) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: an existing folder.
        needed: bytes.

    Raises:
        WriteError: names the free and the needed room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"{needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free"
        raise WriteError(f"{shown(folder)}: the disk has no room: {sizes}. Free some room or choose another folder.")


class Partial:
    """The bytes of `target` so far, beside it as `NAME.partial`, and in `NAME.partial.json` where they came from."""

    def __init__(self, target: Path, out: IO[bytes]) -> None:
        """Take over what an earlier download left."""
        self.target = target
        self.path = target.with_name(target.name + TEMPORARY_SUFFIX)
        self._note = self.path.with_name(self.path.name + ".json")
        self._out = out
        self.size = out.seek(0, 2)
        self.source = self._read_note()

    def _read_note(self) -> dict[str, str | int | None]:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    @property
    def is_complete(self) -> bool:
        """All bytes that the server announced are there."""
        return self.size > 0 and self.size == self.source.get("total")

    def request(self, url: str, any_version: bool) -> dict[str, str]:
        """Return the headers that ask for the rest; none, and nothing is kept, where no rest could be fitted.

        Args:
            url: where the rest is to come from.
            any_version: a checksum will tell whether the parts belong together.
        """
        version = self._version
        if self.source.get("url") != url or not (version or any_version):
            self.discard()
        if not self.size:
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        return {**headers, "If-Range": version} if version else headers

    @property
    def _version(self) -> str | None:
        """The server's name of this version of the file; weak ones do not promise equal bytes."""
        etag, modified = self.source.get("etag"), self.source.get("modified")
        if etag and not str(etag).startswith("W/"):
            return str(etag)
        return str(modified) if modified else None

    def take(self, url: str, answer: Answer) -> None:
        """Get ready for the body of an answer: after the bytes that are there, or from the start.

        Raises:
            Unreliable: the answer does not fit the bytes; nothing is kept, and the next request starts again.
        """
        version: dict[str, str | int | None] = {
            "url": url, "etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified"),
        }  # fmt: skip
        if answer.status == 200:
            self.discard()
            self.source = {**version, "total": answer.length}
            write_text(self._note, json.dumps(self.source))
            return
        unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
        span, _, total = rest.partition("/")
        remembered = self.source.get("total")
        fits = unit == "bytes" and (remembered is None or total in ("*", str(remembered)))
        same = all(None in (value, self.source.get(key)) or value == self.source[key] for key, value in version.items())
        if answer.status == 416 and total == str(self.size) and fits:
            self.source["total"] = self.size  # every byte is there; only the length had not been announced
        elif answer.status != 206 or not span.startswith(f"{self.size}-") or not fits or not same:
            self.discard()
            raise Unreliable("the file changed on the server")

    def append(self, block: bytes) -> None:
        """Add bytes."""
        self._out.write(block)
        self.size += len(block)

    def discard(self) -> None:
        """Forget all bytes."""
        self._out.truncate(0)
        self._note.unlink(missing_ok=True)
        self.size, self.source = 0, {}

    def start(self) -> bytes:
        """Return the first bytes, to tell what the file is."""
        self._out.flush()
        with self.path.open("rb") as stream:
            return stream.read(512)

    def commit(self) -> None:
        """Become the target, durably."""
        self._out.flush()
        with atomic_path(self.target) as temporary:
            self.path.rename(temporary)
        self._note.unlink(missing_ok=True)


@contextmanager
def partial_file(target: Path) -> Iterator[Partial]:
    """Yield the bytes of `target` so far, for one process at a time; bytes that were not discarded stay for later.

    Raises:
        DataError: another process downloads the file.
        WriteError: the folder cannot be written, or the disk is full.
    """
    path = target.with_name(target.name + TEMPORARY_SUFFIX)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            try:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"{shown(target)}: another process is downloading it. Wait for it to end.") from error
            partial = Partial(target, out)
            try:
                yield partial
            finally:
                if not partial.size:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(target, error) from error
