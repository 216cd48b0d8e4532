"""What is in an archive: zip, tar (plain, gzip, bzip2, xz) and single gzip files, with what is refused by its name."""

import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from seg_scse.data.files.signatures import describe
from seg_scse.data.names import shown
from seg_scse.errors import DataError

DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)
"""What the readers of archives raise for a damaged or cut one, besides an OSError without a number."""

_GZIP = b"\x1f\x8b"
_STARTS = (b"PK", _GZIP, b"BZh", b"\xfd7zXZ\0")
"""First bytes of zip, gzip, bzip2 and xz."""
_BY_HAND = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x {}"),
    b"Rar!\x1a\x07": ("a RAR archive", "unrar x {}"),
    b"PK\x07\x08": ("the first part of a zip in several files", "zip -s 0 NAME.zip --out whole.zip"),
}
"""First bytes of what is not unpacked here, and the command that does it by hand."""

_PART = re.compile(r"(?i)\.(?:z\d\d|(?:zip|tar|7z|gz)\.\d{3}|part\d+\.rar)$")


@dataclass(frozen=True)
class Member:
    """One entry of an archive."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes] | gzip.GzipFile | None]


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{shown(info.filename)} is a link or device, which an archive of images does not need")
        if info.flag_bits & 1:
            raise DataError(f"{shown(info.filename)} is encrypted")
        yield Member(info.filename, info.is_dir(), lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if not (info.isfile() or info.isdir()):
            raise DataError(f"{shown(info.name)} is a link or device, which an archive of images does not need")
        yield Member(info.name, info.isdir(), lambda info=info: archive.extractfile(info))  # type: ignore[misc]


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except (*DAMAGE, OSError):
        return False


def _is_last_part(archive: Path) -> bool:
    """Tell whether a zip is the last of several files: its directory then names a disk other than 0."""
    with archive.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 2**16 - 22))
        end = stream.read()
    place = end.rfind(b"PK\x05\x06")
    if place < 0 or len(end) < place + 6:
        return False
    (disk,) = struct.unpack_from("<H", end, place + 4)
    return disk not in (0, 0xFFFF)


def _refuse(archive: Path, start: bytes) -> None:
    """Explain what a file is that cannot be unpacked here, and how to do it by hand."""
    for magic, (kind, command) in _BY_HAND.items():
        if start.startswith(magic):
            raise DataError(f"it is {kind}. Unpack it by hand (`{command.format(shown(archive.name))}`)")
    if _PART.search(archive.name) or _is_last_part(archive):
        raise DataError(
            "it is one of several parts. Put them together by hand (`cat NAME.zip.* > NAME.zip` for .001, .002 ...; "
            "`zip -s 0 NAME.zip --out whole.zip` for .z01, .z02 ...)"
        )


def _gzip_member(archive: Path) -> Member:
    """Return the one file in a .gz, which is named without that end."""
    name = archive.name[:-3] if archive.name.lower().endswith(".gz") else f"{archive.name}.unpacked"
    return Member(name, False, lambda: gzip.open(archive))


@contextmanager
def open_members(archive: Path) -> Iterator[Iterator[Member]]:
    """Yield the members of an archive, which can be read while the block runs.

    Raises:
        DataError: no archive that is unpacked here, or a link, device or encrypted member; the text goes on "it ...".
        OSError: the file cannot be read; without a number where gzip data are damaged.
        Exception: one of `DAMAGE`.
    """
    with archive.open("rb") as stream:
        start = stream.read(512)
    _refuse(archive, start)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
    elif _is_tar(archive):
        with tarfile.open(archive) as tar:
            yield _tar_members(tar)
    elif start.startswith(_GZIP) and not re.search(r"(?i)\.(tar\.gz|tgz)$", archive.name):
        yield iter([_gzip_member(archive)])
    else:
        what = "damaged or cut off" if start.startswith(_STARTS) else describe(start)
        raise DataError(f"it is {what}, not a complete zip or tar archive")
