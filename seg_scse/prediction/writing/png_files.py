"""Label maps as PNG, row by row: the encoders at hand want the whole image in memory.

PNG: ISO/IEC 15948:2004. Rows are not filtered, as the standard advises for palettes.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.files import HashingStream, atomic_stream
from seg_scse.prediction.writing.rows import regrouped

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_PORTION = 1 << 22  # bytes of rows that are compressed at once


def write_png(
    path: Path,
    strips: Iterable[NDArray[np.uint8]],
    shape: tuple[int, int],
    palette: NDArray[np.uint8] | None,
    clear: int | None = None,
) -> None:
    """Write 8-bit indices, or grey levels, as one PNG: complete or absent.

    Args:
        path: the file.
        strips: uint8 (h, W), from the top to the bottom.
        shape: (H, W) of the image.
        palette: uint8 (n, 3), the colours of the indices 0 to n - 1; None: grey levels.
        clear: the index or the level that is transparent.

    Raises:
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    height, width = shape
    colour_type = _GREY if palette is None else _PALETTE
    with atomic_stream(path) as stream:
        stream.write(_SIGNATURE)
        _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        if palette is not None:
            _chunk(stream, b"PLTE", palette.tobytes())
        if clear is not None:
            _chunk(stream, b"tRNS", struct.pack(">H", clear) if palette is None else b"\xff" * clear + b"\0")
        for data in _compressed(regrouped(strips, shape, max(1, _PORTION // width))):
            _chunk(stream, b"IDAT", data)
        _chunk(stream, b"IEND", b"")


def _compressed(portions: Iterable[NDArray[np.uint8]]) -> Iterator[bytes]:
    """Deflate the rows, each behind the number of its filter, 0."""
    deflate = zlib.compressobj()
    for rows in portions:
        data = deflate.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
        if data:
            yield data
    yield deflate.flush()


def _chunk(stream: HashingStream, kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind)
    stream.write(data)
    stream.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
