"""Images and masks that are read from their files when a part of them is asked for.

They stand in for arrays `(H, W, C)` or `(H, W)`: `.shape`, `.dtype`, `image[rows, columns]` with slices, and
`np.asarray`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.bands import Valid
from seg_scse.data.entries import Entry
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.measuring import entry_keys
from seg_scse.data.names import shown
from seg_scse.data.recent import Recent
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

_KEPT_BYTES = 512_000_000
_KEY_BYTES = 500  # about what it takes to remember a file
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


def _size(arrays: tuple[Array, ...]) -> int:
    return _KEY_BYTES + sum(array.nbytes for array in arrays)


recent_files: Recent[tuple[Array, ...]] = Recent(most_bytes=_KEPT_BYTES, size=_size)
"""Decoded files that can only be read whole; nothing in place of those that are read by windows."""


class Windowed:
    """The whole is the window that holds everything."""

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window."""
        raise NotImplementedError

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All pixels."""
        array = self[:, :]
        return array if dtype is None else array.astype(dtype, copy=False)


def solid_part(window: Window, shape: Sequence[int]) -> tuple[Window, Window]:
    """Split a window into one without gaps, its start and stop inside the image, and the steps within it."""
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
        key: name of the entry, which changes with the files.
    """

    sample: Sample
    config: DataConfig
    entry: Entry
    key: str

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
        kept = recent_files.get(("image", self.sample, self.entry.image_digest), self._whole)
        if not kept:
            with open_picture(self.sample, self.config) as picture:
                part = picture.read(*window)
            self.require_unchanged()
            return part
        return kept[0][window], kept[1][window] if len(kept) > 1 else None

    def _whole(self) -> tuple[Array, ...]:
        """All pixels and which of them hold data, or nothing where windows can be read."""
        with open_picture(self.sample, self.config) as picture:
            if picture.windowed:
                return ()
            pixels, valid = picture.read(slice(None), slice(None))
        self.require_unchanged()
        return (pixels,) if valid is None else (pixels, valid)

    def require_unchanged(self) -> None:
        """Refuse files that are not those that were checked; asked after reading, so that damage is named as such.

        Raises:
            DataError: size or time of change of a file of the sample is another.
        """
        if entry_keys([self.sample], self.config)[0] != self.key:
            raise DataError(
                f"{self.sample.id}: {', '.join(shown(path) for path in self.sample.files)}: changed since the data "
                "were checked. Start again: changed files are checked anew."
            )

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window; only that part of the file is read where its format allows."""
        solid, steps = solid_part(window, self.shape)
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

    def _whole(self) -> tuple[Array, ...]:
        entry = self.image.entry
        mask = read_mask(self.image.sample, entry.shape[:2], entry.place, self.image.config)
        self.image.require_unchanged()
        return (mask,)

    def __getitem__(self, window: Window, /) -> Array:
        """Values of a window."""
        solid, steps = solid_part(window, self.shape)
        values = recent_files.get(("mask", self.image.sample, self.image.entry.mask_digest), self._whole)[0][solid]
        if self.image.entry.valid < self.image.entry.pixels:
            _, valid = self.image.read(solid)
            values = values if valid is None else np.where(valid, values, np.uint8(IGNORE_INDEX))
        return values[steps]
