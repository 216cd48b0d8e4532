"""Archives of data sets: unpacked completely or not at all, and never outside their folder."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from gzip import GzipFile
from pathlib import Path, PurePosixPath
from typing import IO

from seg_scse.data.cache import cannot_write, complete_folder
from seg_scse.data.names import shown
from seg_scse.data.sets.members import DAMAGE, Member, open_members
from seg_scse.errors import DataError

MAX_RATIO = 200
"""Unpacked bytes per archive byte; image archives have about 1, a decompression bomb 1000 and more."""
MAX_BYTES = 200 * 2**30
"""Unpacked bytes of one archive."""
MAX_FILES = 2_000_000
"""Members of one archive."""

_SLACK = 2**20  # bytes that any archive may unpack to, however small it is
_BLOCK = 2**20
_HASH_FILE = ".sha256"


class _Names:
    """Checks member names: inside the target, and different on file systems that ignore case."""

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {}
        self._files: set[PurePosixPath] = set()
        self._folders: set[PurePosixPath] = set()

    def path(self, member: Member, base: PurePosixPath) -> PurePosixPath:
        """Return the member's path below the target; `base` is the folder that its archive is in."""
        path = PurePosixPath(member.name)
        outside = path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member.name)
        if outside or "\\" in member.name or "\0" in member.name:
            raise DataError(f"{shown(member.name)} would be written outside the target folder")
        path = base / path
        for part in (path, *path.parents):
            folded = unicodedata.normalize("NFC", str(part)).casefold()
            if self._spelled.setdefault(folded, str(part)) != str(part):
                raise DataError(f"{shown(member.name)} and {shown(self._spelled[folded])} differ in case only")
        self._note(path, member)
        if len(self._spelled) > MAX_FILES:
            raise DataError(f"it holds more than {MAX_FILES} files")
        return path

    def _note(self, path: PurePosixPath, member: Member) -> None:
        """Refuse a path that is a file already, or is to be a file and a folder."""
        files, folders = ([], [path]) if member.is_folder else ([path], [])
        folders += path.parents
        if self._files.intersection(files):
            raise DataError(f"{shown(member.name)} is there twice")
        if self._files.intersection(folders) or self._folders.intersection(files):
            raise DataError(f"{shown(member.name)} is a file and a folder")
        self._files.update(files)
        self._folders.update(folders)


def _copy(source: IO[bytes] | GzipFile, target: Path, budget: int) -> int:
    """Copy a member and return what is left of the budget in bytes; the sizes an archive declares are not trusted."""
    with target.open("xb") as out:
        while block := source.read(_BLOCK):
            budget -= len(block)
            if budget < 0:
                raise DataError(f"it unpacks to more than {MAX_RATIO} times its size, as a decompression bomb does")
            out.write(block)
    return budget


class _Unpacking:
    """One archive, with those inside it, on its way into a folder."""

    def __init__(self, archive: Path, target: Path) -> None:
        self._target = target
        self._names = _Names()
        self._budget = min(MAX_BYTES, archive.stat().st_size * MAX_RATIO + _SLACK)

    def unpack(self, archive: Path, base: PurePosixPath) -> None:
        """Write the members of an archive below `base`."""
        with open_members(archive) as members:
            for member in members:
                self._write(member, self._target / self._names.path(member, base))

    def _write(self, member: Member, path: Path) -> None:
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is not None:
            with source:
                self._budget = _copy(source, path, self._budget)

    def unpack_inner(self, patterns: Iterable[str]) -> None:
        """Unpack the declared archives that came out, each into the folder it lies in, and remove them."""
        for pattern in patterns:
            found = sorted(path for path in self._target.glob(pattern) if path.is_file())
            if not found:
                raise DataError(f"it holds no {pattern}, which should be unpacked too")
            for inner in found:
                name = inner.relative_to(self._target)
                try:
                    self.unpack(inner, PurePosixPath(name.parent.as_posix()))
                except DataError as error:
                    raise DataError(f"{shown(name)} in it: {error}") from error
                inner.unlink()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, nested: Iterable[str] = ()) -> str:
    """Unpack an archive into an empty folder, which the caller removes when this fails.

    Args:
        archive: zip, tar (plain, gzip, bzip2, xz) or a single gzip file.
        folder: where the content goes.
        nested: patterns of paths in the archive that are archives themselves and are unpacked where they lie; those
            inside them are not.

    Returns:
        SHA-256 of the archive.

    Raises:
        DataError: damaged, cut off, no archive, 7z, RAR, one of several parts, or unsafe: absolute names, `..`, links,
            devices, encrypted files, names that differ in case only, more than 200 times its size.
        OSError: the folder cannot be written.
    """
    try:
        unpacking = _Unpacking(archive, folder)
        unpacking.unpack(archive, PurePosixPath())
        unpacking.unpack_inner(nested)
        return file_sha256(archive)
    except DataError as error:
        cure = "" if "by hand" in str(error) else " Get the archive from its source again."
        raise DataError(f"{shown(archive)}: refused: {error}.{cure}") from error
    except DAMAGE as error:
        raise DataError(f"{shown(archive)}: is damaged or cut off ({error}). Get the archive again.") from error
    except OSError as error:
        if error.errno is None:  # gzip reports damage as an OSError without a number
            raise DataError(f"{shown(archive)}: is damaged ({error}). Get the archive again.") from error
        raise


def extract(archive: Path, cache: Path, nested: Sequence[str] = ()) -> tuple[Path, str]:
    """Unpack an archive into the cache, unless that was done for this name, size and time of change.

    Args:
        archive: the file; its folder may be read-only.
        cache: folder for the result.
        nested: as `unpack`.

    Returns:
        the folder with the content, and the SHA-256 of the archive.

    Raises:
        DataError: as `unpack`. Nothing is left behind.
        WriteError: the cache cannot be written.
    """
    status = archive.stat()
    facts = (archive.name, status.st_size, status.st_mtime_ns, *nested)
    key = hashlib.sha256("\0".join(map(str, facts)).encode(errors="surrogateescape"))
    target = cache / "archives" / f"{archive.name.split('.')[0]}-{key.hexdigest()[:16]}"
    if not target.is_dir():
        with complete_folder(target) as folder:
            try:
                sha256 = unpack(archive, folder, nested)
                (folder / _HASH_FILE).write_text(sha256, encoding="ascii")
            except OSError as error:
                raise cannot_write(folder, error) from error
    return target, (target / _HASH_FILE).read_text(encoding="ascii")
