"""Images and masks that are read from their files when a part of them is asked for.

They stand in for arrays `(H, W, C)` or `(H, W)`: `.shape`, `.dtype`, `image[rows, columns]` with slices, and
`np.asarray`.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.bands import Valid
from seg_scse.data.entries import Entry, Mask
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.samples import Sample

_KEPT_BYTES = 512_000_000
Window = tuple[slice, slice]


class ArrayLike(Protocol):
    """What a store gives: an array, or something that becomes one, whole or by windows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)` of an image, `(H, W)` of a mask."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        ...

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window."""
        ...

    def __array__(self) -> Array:
        """All pixels."""
        ...


class _Recent:
    """Decoded files that can only be read whole: the last ones, up to a number of bytes, at least one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[object, tuple[Array, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> tuple[Array, ...] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: object, arrays: tuple[Array, ...]) -> None:
        with self._lock:
            self._kept[key] = arrays
            while len(self._kept) > 1 and sum(a.nbytes for kept in self._kept.values() for a in kept) > self._most:
                self._kept.popitem(last=False)


_recent = _Recent(_KEPT_BYTES)


class Windowed:
    """The whole is the window that holds everything."""

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window."""
        raise NotImplementedError

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All pixels."""
        array = self[:, :]
        return array if dtype is None else array.astype(dtype, copy=False)


def _bounds(window: Window, shape: tuple[int, ...]) -> tuple[Window, Window]:
    """Split a window into one without gaps and the steps within it."""
    (top, bottom, down), (left, right, across) = (
        part.indices(length) for part, length in zip(window, shape, strict=False)
    )
    rows, columns = slice(top, max(top, bottom)), slice(left, max(left, right))
    return (rows, columns), (slice(None, None, down), slice(None, None, across))


@dataclass(frozen=True)
class FileImage(Windowed):
    """An image that is not kept in the cache, in the file's units, with pixels without data filled.

    Attributes:
        sample: its files.
        config: how they are read.
        entry: what was measured when it was decoded once.
    """

    sample: Sample
    config: DataConfig
    entry: Entry

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.entry.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels in the file."""
        return np.dtype(self.entry.dtype)

    def read(self, window: Window) -> tuple[Array, Valid | None]:
        """Pixels (h, w, C) of a window without steps, and which of them hold data."""
        key = ("image", self.sample, self.entry.image_digest)
        kept = _recent.get(key)
        if kept is None:
            with open_picture(self.sample, self.config) as picture:
                if picture.windowed:
                    return picture.read(*window)
                height, width, _ = picture.shape
                pixels, valid = picture.read(slice(0, height), slice(0, width))
            kept = (pixels,) if valid is None else (pixels, valid)
            _recent.put(key, kept)
        return kept[0][window], kept[1][window] if len(kept) > 1 else None

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window; only that part of the file is read where its format allows."""
        solid, steps = _bounds(window, self.shape)
        pixels, valid = self.read(solid)
        if valid is not None and not valid.all():
            pixels = np.where(valid[..., None], pixels, np.array(self.entry.fill, pixels.dtype))
        return pixels[steps]


@dataclass(frozen=True)
class FileMask(Windowed):
    """The mask of a `FileImage`, uint8, ignored where the image holds no data."""

    image: FileImage

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W)`."""
        return self.image.entry.shape[:2]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def _whole(self) -> Mask:
        key = ("mask", self.image.sample, self.image.entry.mask_digest)
        kept = _recent.get(key)
        if kept is None:
            entry = self.image.entry
            kept = (read_mask(self.image.sample, entry.shape[:2], entry.place, self.image.config),)
            _recent.put(key, kept)
        return kept[0]

    def __getitem__(self, window: Window, /) -> Array:
        """Values of a window."""
        solid, steps = _bounds(window, self.shape)
        values = self._whole()[solid]
        if self.image.entry.valid < self.image.entry.pixels:
            _, valid = self.image.read(solid)
            values = values if valid is None else np.where(valid, values, np.uint8(IGNORE_INDEX))
        return values[steps]
