"""Statistics and digest of an image's bands, strip by strip, so that no image need fit into memory."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.raster import Array

Number = int | float
Valid = NDArray[np.bool_]

STRIP_PIXELS = 1 << 22
"""Most pixels of a strip: few enough for memory and for exact counts in float32 (up to 2^24)."""
_ALIGNED = 256  # rows: strips begin at the tiles of a tiled file


def strips(height: int, width: int) -> Iterator[slice]:
    """Divide rows into strips of at most `STRIP_PIXELS`, or of one row where that is more."""
    rows = max(1, STRIP_PIXELS // width)
    rows = rows // _ALIGNED * _ALIGNED or rows
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))


@dataclass(frozen=True)
class BandStatistics:
    """What `BandCounter` found, one number per band, in the file's units, over valid pixels.

    Attributes:
        pixels: valid pixels.
        sums: exact for integers.
        squares: sums of squared values, exact for integers.
        minima: lowest values; 0 where no pixel is valid.
        maxima: highest values.
        digest: SHA-256 of shape and pixels, with 0 at invalid pixels.
    """

    pixels: int
    sums: tuple[Number, ...]
    squares: tuple[Number, ...]
    minima: tuple[Number, ...]
    maxima: tuple[Number, ...]
    digest: str

    def fill(self, dtype: str) -> tuple[Number, ...]:
        """Mean of each band, rounded for integer types: what invalid pixels are filled with."""
        means = [total / self.pixels if self.pixels else 0.0 for total in self.sums]
        return tuple(means) if dtype == "float32" else tuple(round(mean) for mean in means)


class BandCounter:
    """Adds up strips of one image.

    Args:
        shape: `(H, W, C)` of the image.
        dtype: its type, one of `raster.DTYPES`.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: str) -> None:
        # uint8 images without invalid pixels have had this digest from the first version on: runs are told apart by it
        self._digest = hashlib.sha256((f"{shape}" if dtype == "uint8" else f"{shape}{dtype}").encode())
        self._bands = shape[2]
        self._pixels = 0
        self._parts: list[_Part] = []

    def add(self, pixels: Array, valid: Valid | None) -> None:
        """Take the next strip.

        Args:
            pixels: contiguous `(h, W, C)`, 0 at invalid pixels.
            valid: `(h, W)`, or None where all are.
        """
        self._digest.update(pixels.data)
        count = pixels.shape[0] * pixels.shape[1] if valid is None else int(np.count_nonzero(valid))
        if count:
            self._pixels += count
            self._parts.append(_part(pixels, valid))

    def result(self) -> BandStatistics:
        """Statistics of all strips."""
        parts, zeros = self._parts, [0] * self._bands
        return BandStatistics(
            pixels=self._pixels,
            sums=tuple(sum(values) for values in zip(*(part.sums for part in parts), strict=True)) or tuple(zeros),
            squares=tuple(sum(values) for values in zip(*(part.squares for part in parts), strict=True))
            or tuple(zeros),
            minima=tuple(min(values) for values in zip(*(part.minima for part in parts), strict=True)) or tuple(zeros),
            maxima=tuple(max(values) for values in zip(*(part.maxima for part in parts), strict=True)) or tuple(zeros),
            digest=self._digest.hexdigest(),
        )


@dataclass(frozen=True)
class _Part:
    sums: list[Number]
    squares: list[Number]
    minima: list[Number]
    maxima: list[Number]


def _part(pixels: Array, valid: Valid | None) -> _Part:
    if pixels.dtype == np.uint8:
        return _from_histograms(pixels, valid)
    values = pixels.reshape(-1, pixels.shape[2]) if valid is None else pixels[valid]
    bands = [np.ascontiguousarray(values[:, band]) for band in range(values.shape[1])]
    moments = [_moments(band) for band in bands]
    return _Part(
        [total for total, _ in moments],
        [square for _, square in moments],
        [band.min().item() for band in bands],
        [band.max().item() for band in bands],
    )


def _from_histograms(pixels: Array, valid: Valid | None) -> _Part:
    """Exact and quicker than summing: a byte has 256 values."""
    mask, levels = None if valid is None else valid.view(np.uint8), np.arange(256)
    part = _Part([], [], [], [])
    for band in range(pixels.shape[2]):
        histogram = cv2.calcHist([pixels], [band], mask, [256], [0, 256]).ravel().astype(np.int64)
        present = histogram.nonzero()[0]
        part.sums.append(int(histogram @ levels))
        part.squares.append(int(histogram @ levels**2))
        part.minima.append(int(present[0]))
        part.maxima.append(int(present[-1]))
    return part


def _moments(band: Array) -> tuple[Number, Number]:
    """Sum and sum of squares of one band."""
    if band.dtype == np.float32:
        wide = band.astype(np.float64)
        return float(wide.sum()), float(wide @ wide)
    whole = band.astype(np.int64)
    # x = 2^16 high + low: the square of 32 bits, added up, would leave 64 bits
    high, low = whole >> 16, whole & 0xFFFF
    squares = (int(high @ high) << 32) + (int(high @ low) << 17) + int(low @ low)
    return int(whole.sum()), squares
