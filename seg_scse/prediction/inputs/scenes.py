"""Which inputs are scenes that several processes may share, told by the heads of their files."""

from pathlib import Path

from seg_scse.data.files.arrays import read_array_header
from seg_scse.data.files.decoding import kept_dtype
from seg_scse.data.files.raster_files import checked_header, window_dtype
from seg_scse.data.files.reading import opened
from seg_scse.errors import DataError
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.outputs import is_large

_LEAST_BYTES = 1_000_000
"""Smaller files are not looked into: a hundred thousand tiles cost nothing, and a scene in one is nearly empty."""

_ANY_SIZE = 1 << 40


def is_scene(item: Item) -> bool:
    """Tell whether an item is a large image that is read by windows; what cannot be read is none."""
    if item.kind != "image":
        return False
    try:
        if sum(path.stat().st_size for path in item.files) < _LEAST_BYTES:
            return False
        return all(_by_windows(path) for path in item.files)
    except (OSError, DataError):  # said when the item is predicted
        return False


def _by_windows(path: Path) -> bool:
    with opened(path) as (stream, size, format_):
        if format_ == "TIFF":
            header = checked_header(stream, size, _ANY_SIZE)
            return is_large(header.shape) and window_dtype(header) is not None
        if format_ == "NPY":
            array = read_array_header(stream, size, _ANY_SIZE)
            return is_large(array.shape) and kept_dtype(array.dtype) is not None
    return False
