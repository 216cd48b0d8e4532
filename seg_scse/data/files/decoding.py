"""What every decoder shares: warnings while it runs, limits before it starts, and the pixel types that are kept."""

import threading
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.data.files.raster import DTYPES, Array
from seg_scse.errors import DataError

MOST_VALUES = 16
"""A file may hold this many values (pixels times bands, voxels) for each pixel of `data.max_pixels`."""

_KEPT = {"bool": "uint8", "int8": "int16", "float16": "float32", "float64": "float32"}
_WIDE = ("int64", "uint64")


class _Decoding:
    """While a thread is inside, Pillow's warnings are errors, its own size limit rests, and other libraries are quiet.

    Warning filters and that limit belong to the whole process, so the first thread in sets them and the last one out
    restores them. Our own limit comes first. rasterio warns of every file without georeference; nibabel and pydicom of
    headers that they repair.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._warnings: AbstractContextManager[object] = warnings.catch_warnings()
        self._limit: int | None = None

    def __enter__(self) -> Self:
        with self._lock:
            if self._inside == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("error", module=r"PIL\b")
                warnings.filterwarnings("ignore", module=r"(pydicom|nibabel)\b")
                warnings.filterwarnings("ignore", message="Dataset has no geotransform")
                warnings.filterwarnings("ignore", message="The given matrix is equal to Affine.identity")
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                Image.MAX_IMAGE_PIXELS = self._limit
                self._warnings.__exit__(None, None, None)


decoding = _Decoding()
"""The one guard: `with decoding:` around everything that a library decodes."""


def check_size(width: int, height: int, values: int, max_pixels: int) -> None:
    """Refuse what is too large, before memory is taken for it.

    Args:
        width: of the image.
        height: of the image.
        values: numbers in the whole file: pixels times bands, or voxels.
        max_pixels: `data.max_pixels`.

    Raises:
        DataError: empty, more pixels than `max_pixels`, or more values than `MOST_VALUES` times as many.
    """
    if min(width, height, values) < 1:
        raise DataError(f"is {width} x {height} pixels large. Get the file again.")
    if width * height > max_pixels:
        raise DataError(
            f"{width} x {height} pixels are more than data.max_pixels={max_pixels}. "
            f"Raise data.max_pixels if the image is meant to be this large."
        )
    if values > MOST_VALUES * max_pixels:
        raise DataError(
            f"{values} values are more than {MOST_VALUES} times data.max_pixels={max_pixels}. "
            f"Raise data.max_pixels if the file is meant to be this large."
        )


def kept_dtype(dtype: np.dtype[Any]) -> str | None:
    """Return the type of `DTYPES` that values of a type are kept in; None for 64-bit integers, whose values decide.

    Raises:
        DataError: complex numbers, text, records or objects.
    """
    name = dtype.newbyteorder("=").name
    if name in _WIDE:
        return None
    kept = _KEPT.get(name, name)
    if kept not in DTYPES:
        raise DataError(f"holds values of the type {name}, which are not read. Store {', '.join(DTYPES)}.")
    return kept


def _narrow(values: Array) -> str:
    low, high = int(values.min()), int(values.max())
    for name in ("int32", "uint32"):
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return name
    raise DataError(f"holds 64-bit integers from {low} to {high}, more than 32 bits hold. Store them as float32.")


def kept(values: Array) -> Array:
    """Return values in a type of `DTYPES`, every integer unchanged; float64 is rounded to float32.

    Raises:
        DataError: another kind of number, or one that the kept type cannot hold.
    """
    name = kept_dtype(values.dtype) or _narrow(values)
    with np.errstate(over="ignore"):
        result = values.astype(name, copy=False)
    if values.dtype.itemsize == 8 and name == "float32" and (np.isinf(result) & np.isfinite(values)).any():
        raise DataError("holds float64 values beyond the range of float32. Scale them first.")
    return result


def all_hold(pixels: Array, value: float) -> NDArray[np.bool_]:
    """Tell where all bands of `(H, W, C)` hold one value, which may be NaN; nowhere if their type cannot hold it."""
    if pixels.dtype.kind != "f":
        same = pixels == value
    elif np.isnan(value):
        same = np.isnan(pixels)
    else:
        with np.errstate(over="ignore"):  # a value beyond float32 became infinite in the file's pixels too
            same = pixels == np.float32(value)
    everywhere: NDArray[np.bool_] = np.logical_and.reduce(same, axis=2)
    return everywhere


def unread(what: str, cure: str) -> DataError:
    """Make the error for a file whose layout is known, and not read."""
    return DataError(f"is {what}, which is not read. {cure}")


def missing(library: str, extra: str, what: str) -> DataError:
    """Make the error for a file that needs a library that is not installed."""
    return DataError(f'{what} is read by {library}, which is not installed. Run `pip install "seg-scse[{extra}]"`.')


def product(numbers: Iterable[int]) -> int:
    """Multiply, without the overflow of fixed-size integers."""
    result = 1
    for number in numbers:
        result *= int(number)
    return result
