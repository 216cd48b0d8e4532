"""NumPy files (`.npy`): `(H, W)` or `(H, W, C)`, checked by their header before a pixel is read; never pickles."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seg_scse.data.files.decoding import check_size, kept, kept_dtype, product, unread
from seg_scse.data.files.pillow_files import BLACK_WHITE
from seg_scse.data.files.raster import Array, Raster
from seg_scse.errors import DataError

_PARSING = threading.Lock()  # NumPy parses a header by `ast`, which on Python 3.11 fails at times in several threads


@dataclass(frozen=True)
class ArrayHeader:
    """What an array file holds: `(H, W)` or `(H, W, C)` values of `dtype` from byte `offset` on."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int


def _parse(stream: BinaryIO) -> ArrayHeader:
    major, _ = np.lib.format.read_magic(stream)
    readers: dict[int, Callable[..., Any]] = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }
    if major not in readers:
        raise unread(f"a NumPy file of version {major}", "Save it with plain numbers.")
    with _PARSING:
        shape, fortran, dtype = readers[major](stream)
    return ArrayHeader(tuple(int(length) for length in shape), dtype, bool(fortran), stream.tell())


def read_array_header(stream: BinaryIO, size: int, max_pixels: int) -> ArrayHeader:
    """Read and check the header of an array file.

    Args:
        stream: the file at its start.
        size: its length in bytes.
        max_pixels: larger arrays are refused.

    Raises:
        DataError: objects, records or text instead of numbers, another number of axes than 2 or 3, too large, cut off,
            or more bytes than the header says.
    """
    header = _parse(stream)
    if header.dtype.hasobject:
        raise unread("a NumPy file of Python objects", "Save plain numbers: a file of objects can run programs.")
    kept_dtype(header.dtype)
    if len(header.shape) not in (2, 3):
        raise unread(f"an array of shape {header.shape}", "Save (H, W) or (H, W, C).")
    height, width = header.shape[:2]
    check_size(width, height, product(header.shape), max_pixels)
    expected = header.offset + product(header.shape) * header.dtype.itemsize
    if size < expected:
        raise DataError(f"the NPY file is cut off ({size} of {expected} bytes). Get the file again.")
    if size > expected:
        raise DataError(
            f"holds {size - expected} bytes after its array of shape {header.shape}. Save one array a file."
        )
    return header


def _raster(values: Array, one_bit: bool) -> Raster:
    pixels = kept(values if values.ndim == 3 else values[..., None])
    bands = pixels.shape[2]
    kind = {1: "gray", 3: "colour"}.get(bands, "bands")
    palette = BLACK_WHITE if one_bit and bands == 1 else None
    return Raster(np.ascontiguousarray(pixels), "NPY", kind, palette=palette)  # type: ignore[arg-type]


def decode_array(stream: BinaryIO, size: int, max_pixels: int) -> Raster:
    """Read an array file. bool becomes a 1-bit image; one band is grey, three are colours, others are bands.

    Raises:
        DataError: as `read_array_header`.
    """
    header = read_array_header(stream, size, max_pixels)
    flat = np.frombuffer(stream.read(), header.dtype)
    return _raster(flat.reshape(header.shape, order="F" if header.fortran else "C"), header.dtype == np.bool_)


class ArrayWindows:
    """An array file mapped into memory, of which windows are read.

    Attributes:
        shape: `(H, W, C)`.
        dtype: type of `DTYPES` of its pixels.
        partial: False: such a file says nothing about pixels without data.
    """

    partial = False

    def __init__(self, path: Path, header: ArrayHeader) -> None:
        order: Any = "F" if header.fortran else "C"
        mapped = np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
        self._values: Array | None = mapped
        height, width, bands = (*header.shape, 1)[:3]
        self.shape = (height, width, bands)
        self.dtype = kept_dtype(header.dtype) or ""
        self._one_bit = header.dtype == np.bool_

    def read(self, rows: slice, columns: slice) -> Raster:
        """Read one window."""
        if self._values is None:
            raise ValueError("closed")
        return _raster(np.array(self._values[rows, columns]), self._one_bit)

    def close(self) -> None:
        """Let the file go."""
        self._values = None
