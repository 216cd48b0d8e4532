"""Rows of an image file that several networks read, each at its own pace."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike, Window, Windowed


class SharedRows:
    """Reads every row of an image once for several readers, each of which asks for rows in their order.

    Rows are kept until all have read them: as many as the fastest is ahead of the slowest.

    Args:
        image: `(H, W, C)`.
        readers: how many there are.
    """

    def __init__(self, image: ArrayLike, readers: int) -> None:
        self.image = image
        self._lock = threading.Lock()
        self._kept = np.empty((0, *image.shape[1:]), image.dtype)
        self._first = 0
        self._passed = [0] * readers

    def reader(self, number: int) -> ArrayLike:
        """The image as one of the readers, counted from 0, sees it."""
        return _Reader(self, number)

    def read(self, number: int, rows: slice) -> Array:
        """Rows (h, W, C) for a reader, which will not ask for earlier ones again."""
        with self._lock:
            self._extend(rows.start, rows.stop)
            found = self._kept[rows.start - self._first : rows.stop - self._first]
            self._passed[number] = rows.stop
            done = max(0, min(self._passed) - self._first)
            self._kept, self._first = self._kept[done:], self._first + done
        return found

    def _extend(self, start: int, stop: int) -> None:
        """Read what is missing before and behind the rows that are kept."""
        if not len(self._kept):
            self._first = start
        end = self._first + len(self._kept)
        parts = [
            *([np.asarray(self.image[start : self._first, :])] if start < self._first else []),
            *([self._kept] if len(self._kept) else []),
            *([np.asarray(self.image[end:stop, :])] if stop > end else []),
        ]
        self._kept = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._first = min(self._first, start)


@dataclass(frozen=True)
class _Reader(Windowed):
    shared: SharedRows
    number: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shared.image.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.shared.image.dtype

    def __getitem__(self, window: Window, /) -> Array:
        start, stop, _ = window[0].indices(self.shape[0])
        return self.shared.read(self.number, slice(start, stop))[:, window[1]]
