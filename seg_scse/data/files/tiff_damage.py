"""Damage inside TIFF files that GDAL passes over: checksums of deflate, and JPEG tiles that come out grey."""

import logging
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Self

from seg_scse.data.files.tiff import TiffHeader
from seg_scse.data.names import shown
from seg_scse.errors import DataError

_DEFLATE = {8, 32946}
_STEP = 1 << 20
_MOST_FILES = 256
_sound: dict[tuple[int, ...], set[int]] = {}
"""Blocks found sound, by their offset, of the files checked last: a crop read again is inflated once, not twice."""


class GdalMessages(logging.Handler):
    """What GDAL says in this thread while the block lasts: some failures it only mentions.

    Args:
        level: the least that counts, such as `logging.ERROR`.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._thread = threading.get_ident()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is said in this thread."""
        if record.thread == self._thread:
            self.found.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger("rasterio").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("rasterio").removeHandler(self)


@contextmanager
def refusing_complaints() -> Iterator[None]:
    """Refuse what GDAL warns of while it decodes: a damaged JPEG tile it makes grey.

    Raises:
        DataError: on leaving, where GDAL had something to say.
    """
    messages = GdalMessages(logging.WARNING)
    try:
        with messages:
            yield
    finally:
        if messages.found:
            raise DataError(f"the TIFF file is damaged (GDAL: {shown(messages.found[0])}). Get the file again.")


def check_sums(stream: BinaryIO, header: TiffHeader, rows: slice, columns: slice) -> None:
    """Inflate the blocks of a window to their checksums, which GDAL does not always reach.

    Args:
        stream: the file on disk; its position is left alone.
        header: of the file; other compressions than deflate have no checksums.
        rows: of the window, inside the image.
        columns: the same.

    Raises:
        DataError: a block has no end.
        zlib.error: a block does not fit its checksum.
    """
    if header.compression not in _DEFLATE:
        return
    status = os.fstat(stream.fileno())
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    while len(_sound) >= _MOST_FILES and key not in _sound:
        _sound.pop(next(iter(_sound)), None)
    sound = _sound.setdefault(key, set())
    down, across = header.block
    most = 2 * down * across * header.shape[2] * max(header.bits) // 8 + _STEP
    for offset, length in header.blocks(rows, columns):
        if length and offset not in sound:
            _inflate(os.pread(stream.fileno(), length, offset), most)
            sound.add(offset)


def _inflate(data: bytes, most: int) -> None:
    inflating, found = zlib.decompressobj(), 0
    while data and not inflating.eof and found < most:
        found += len(inflating.decompress(data, _STEP))
        data = inflating.unconsumed_tail
    if not inflating.eof:
        raise DataError("the TIFF file is damaged (a block of pixels has no end). Get the file again.")
