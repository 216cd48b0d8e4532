"""Arrays of the cache in `.npy` files: written whole or not at all, mapped into memory."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from seg_scse.data.files.raster import Array
from seg_scse.files import replacing_path


@lru_cache(maxsize=1024)
def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """What an `.npy` file of this array begins with."""
    stream = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": description})
    return stream.getvalue()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write beside and rename. Not flushed to the disk: a cache that a power cut damages is found out and redone."""
    with replacing_path(path, flushed=False) as temporary, temporary.open("wb") as stream:
        yield stream


def map_array(path: Path, shape: tuple[int, ...], dtype: str) -> Array:
    """Map an array of the cache into memory, read-only; no file stays open.

    Raises:
        OSError: missing or unreadable.
        ValueError: not the array that was written.
    """
    # compared, not parsed: quicker, and numpy's parser fails at times in several threads of Python 3.11
    header = npy_header(shape, dtype)
    with path.open("rb") as stream:
        if stream.read(len(header)) != header:
            raise ValueError(f"{path}: is not {dtype} {shape}")
        return np.asarray(np.memmap(stream, dtype, "r", len(header), shape))


def is_complete(path: Path, shape: tuple[int, ...], dtype: str) -> bool:
    """Tell whether `map_array` would succeed.

    Raises:
        OSError: missing or unreadable.
    """
    header = npy_header(shape, dtype)
    size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize
    with path.open("rb") as stream:
        return os.fstat(stream.fileno()).st_size == size and stream.read(len(header)) == header
