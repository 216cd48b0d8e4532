"""Archives of data sets: unpacked into the cache once, completely or not at all, and never outside it."""

import hashlib
import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from seg_scse.data.cache import cannot_write, complete_folder
from seg_scse.data.names import shown
from seg_scse.data.signatures import describe
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
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{shown(info.filename)} is a link or device, which an archive of images does not need")
        if info.flag_bits & 1:
            raise DataError(f"{shown(info.filename)} is encrypted")
        yield _Member(info.filename, info.is_dir(), lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if not (info.isfile() or info.isdir()):
            raise DataError(f"{shown(info.name)} is a link or device, which an archive of images does not need")
        yield _Member(info.name, info.isdir(), lambda info=info: archive.extractfile(info))  # type: ignore[misc]


class _Names:
    """Checks member names: inside the target, and different on file systems that ignore case."""

    def __init__(self) -> None:
        self._spelled: dict[str, str] = {}
        self._files: set[str] = set()

    def path(self, member: _Member) -> PurePosixPath:
        """Return the member's path below the target."""
        path = PurePosixPath(member.name)
        outside = path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member.name)
        if outside or "\\" in member.name or "\0" in member.name:
            raise DataError(f"{shown(member.name)} would be written outside the target folder")
        for part in (path, *path.parents):
            folded = unicodedata.normalize("NFC", str(part)).casefold()
            if self._spelled.setdefault(folded, str(part)) != str(part):
                raise DataError(f"{shown(member.name)} and {shown(self._spelled[folded])} differ in case only")
        if not member.is_folder:
            if str(path) in self._files:
                raise DataError(f"{shown(member.name)} is there twice")
            self._files.add(str(path))
        if len(self._spelled) > MAX_FILES:
            raise DataError(f"it holds more than {MAX_FILES} files")
        return path


def _copy(source: IO[bytes], target: Path, budget: int) -> int:
    """Copy a member and return what is left of the budget in bytes; the sizes an archive declares are not trusted."""
    with target.open("xb") as out:
        while block := source.read(_BLOCK):
            budget -= len(block)
            if budget < 0:
                raise DataError(f"it unpacks to more than {MAX_RATIO} times its size, as a decompression bomb does")
            out.write(block)
    return budget


def _unpack(members: Iterator[_Member], target: Path, budget: int) -> None:
    names = _Names()
    for member in members:
        path = target / names.path(member)
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is not None:
            with source:
                budget = _copy(source, path, budget)


def _unpack_archive(archive: Path, target: Path) -> None:
    budget = min(MAX_BYTES, archive.stat().st_size * MAX_RATIO + _SLACK)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _unpack(_zip_members(opened), target, budget)
    elif _is_tar(archive):
        with tarfile.open(archive) as tar:
            _unpack(_tar_members(tar), target, budget)
    else:
        with archive.open("rb") as stream:
            start = stream.read(512)
        what = "damaged or cut off" if start[:2] in (b"PK", b"\x1f\x8b") else describe(start)
        raise DataError(f"it is {what}, not a complete zip or tar archive")


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except (*_DAMAGE, OSError):
        return False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fill(folder: Path, archive: Path) -> None:
    """Unpack the archive and note its SHA-256, or explain why not."""
    try:
        _unpack_archive(archive, folder)
        (folder / _HASH_FILE).write_text(file_sha256(archive), encoding="ascii")
    except DataError as error:
        raise DataError(f"{shown(archive)}: refused: {error}. Get the archive from its source again.") from error
    except _DAMAGE as error:
        raise DataError(f"{shown(archive)}: is damaged or cut off ({error}). Get the archive again.") from error
    except OSError as error:
        if error.errno is None:  # gzip reports damage as an OSError without a number
            raise DataError(f"{shown(archive)}: is damaged ({error}). Get the archive again.") from error
        raise cannot_write(folder, error) from error


def extract(archive: Path, cache: Path) -> tuple[Path, str]:
    """Unpack a zip or tar archive into the cache, unless that was done for this name, size and time of change.

    Args:
        archive: the file; its folder may be read-only.
        cache: folder for the result.

    Returns:
        the folder with the content, and the SHA-256 of the archive.

    Raises:
        DataError: damaged, cut off, no archive, or unsafe: absolute names, `..`, links, devices, names that differ in
            case only, more than 200 times its size. Nothing is left behind.
        WriteError: the cache cannot be written.
    """
    status = archive.stat()
    key = hashlib.sha256(f"{archive.name}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
    target = cache / "archives" / f"{archive.name.split('.')[0]}-{key.hexdigest()[:16]}"
    if not target.is_dir():
        with complete_folder(target) as folder:
            _fill(folder, archive)
    return target, (target / _HASH_FILE).read_text(encoding="ascii")
