"""An image file open for prediction: read window by window, as the network sees it, whatever its size."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import DataConfig
from seg_scse.data.bands import Valid
from seg_scse.data.display import DISPLAYED
from seg_scse.data.files.pictures import Picture, open_picture
from seg_scse.data.files.raster import Array, Place
from seg_scse.data.lazy import Window, Windowed, solid_part
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.data.seen import Filled, Seen, scaling_of
from seg_scse.prediction.inputs.items import Item

_KEPT = 64 << 20  # bytes of masks of rows that were read last
_PIECE = 1 << 21  # pixels that are thinned out at a time
_SAMPLED_ROWS = 24  # of a scene, for the range of a picture of it: each decodes a row of blocks
_SAMPLED = 1000  # pixels along a side, for the same


@dataclass(frozen=True)
class Reading:
    """How the files are read: as those of the training.

    Attributes:
        config: the `data` section of the run, its card resolved.
        scale: the scaling that the checkpoint keeps; None where each file tells by itself.
    """

    config: DataConfig
    scale: Mapping[str, Any] | None


class _Known:
    """Which pixels hold data in the whole rows that were read last."""

    def __init__(self) -> None:
        self._parts: deque[tuple[slice, Valid | None]] = deque()
        self._bytes = 0

    def add(self, rows: slice, valid: Valid | None) -> None:
        """Keep what was found; the oldest is forgotten."""
        self._parts.append((rows, valid))
        self._bytes += 0 if valid is None else valid.nbytes
        while self._bytes > _KEPT and len(self._parts) > 1:
            _, old = self._parts.popleft()
            self._bytes -= 0 if old is None else old.nbytes

    def within(self, rows: slice) -> tuple[list[tuple[slice, Valid | None]], list[slice]]:
        """Return what is known of these rows, and which of them are not known."""
        parts = [part for part in self._parts if part[0].start < rows.stop and part[0].stop > rows.start]
        gaps, at = [], rows.start
        for part, _ in sorted(parts, key=lambda known: known[0].start):
            if part.start > at:
                gaps.append(slice(at, part.start))
            at = max(at, part.stop)
        return parts, [*gaps, slice(at, rows.stop)] if at < rows.stop else gaps


def _cut(parts: Iterable[tuple[slice, Valid | None]], rows: slice, columns: slice) -> Valid | None:
    """Put the known rows together: bool (h, w), or None where all pixels hold data."""
    found: Valid | None = None
    for part, valid in parts:
        if valid is None:
            continue
        start, stop = max(part.start, rows.start), min(part.stop, rows.stop)
        cut = valid[start - part.start : stop - part.start, columns]
        if not cut.all():
            if found is None:
                found = np.ones((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
            found[start - rows.start : stop - rows.start] = cut
    return found


class Opened(Windowed):
    """An open image: `image[rows, columns]` is what the network sees, `(h, w, C)`, uint8 or float32 in [0, 1].

    Pixels without data are filled with the mean of their band and values are scaled as the data store of a run does it.
    One call after the other is served, from whatever thread.

    Attributes:
        windowed: a window reads only that part of the file; else the decoded file is in memory.
        place: georeference or size of the pixels, where the file says so.
        nodata: the no-data value that the file declares, or None.
        facts: what was done to the pixels, such as `are grey, repeated to 3 channels`.
    """

    def __init__(self, picture: Picture, seen: Seen) -> None:
        self._picture, self._seen = picture, seen
        self._lock = threading.RLock()
        self._known = _Known()
        self.windowed = picture.windowed
        self.place: Place | None = picture.place
        self.nodata = picture.nodata
        self.facts = picture.facts

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self._seen.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or float32."""
        return self._seen.dtype

    def __getitem__(self, window: Window, /) -> Array:
        """Scaled pixels of a window.

        Raises:
            DataError: the file cannot be decoded, or its values are not as declared.
        """
        (rows, columns), steps = solid_part(window, self.shape)
        return self._read(self._seen, rows, columns)[steps]

    @property
    def pixels(self) -> Windowed:
        """The image in the units of its file, pixels without data filled: for networks that scale it differently."""
        return _InFileUnits(self)

    def _read(self, image: Seen | Filled, rows: slice, columns: slice) -> Array:
        with self._lock:
            pixels, valid = image.read(rows, columns)
            if self._picture.partial and columns == slice(0, self.shape[1]) and self._known.within(rows)[1]:
                self._known.add(rows, valid)
        return pixels

    def valid(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        """Tell which pixels of a window hold data, bool `(h, w)`; None where all do.

        Rows that were read shortly before are not read again.

        Raises:
            DataError: the file cannot be decoded.
        """
        if not self._picture.partial:
            return None
        (rows, columns), _ = solid_part((rows, columns), self.shape)
        with self._lock:
            parts, gaps = self._known.within(rows)
            for gap in gaps:
                for piece in _pieces(gap, self.shape[1], 1):
                    parts.append((piece, self._picture.read(piece, slice(0, self.shape[1]))[1]))
                    self._known.add(*parts[-1])
            return _cut(parts, rows, columns)

    def display(self, rows: slice, columns: slice, step: int = 1) -> NDArray[np.uint8]:
        """Draw a window for people, as `data.display.displayed` draws an image.

        Args:
            rows: of the window.
            columns: of the window.
            step: every how many pixels one is drawn, down and across.

        Returns:
            uint8 `(h, w, 3)`: the first three bands, or the first of fewer in grey; 8-bit values as they are, others
            stretched between two percentiles of the whole image (of some rows of one that is read by windows).
        """
        (rows, columns), _ = solid_part((rows, columns), self.shape)
        count = 3 if self.shape[2] >= 3 else 1
        height, width = (-(-(part.stop - part.start) // step) for part in (rows, columns))
        drawn = np.empty((height, width, 3), np.uint8)
        for piece in _pieces(rows, columns.stop - columns.start, step):
            part = self._read(self._seen, piece, columns)[::step, ::step, :count]
            at = (piece.start - rows.start) // step
            drawn[at : at + len(part)] = self._levels(part)
        return drawn

    def _levels(self, pixels: Array) -> Array:
        if self.dtype == np.uint8:
            return pixels
        low, high = self._range
        spread = np.where(high > low, high - low, 1)
        return np.rint(np.clip((pixels - low) / spread, 0, 1) * 255)

    @cached_property
    def _range(self) -> tuple[Array, Array]:
        """Values of each drawn band that become black and white."""
        count, (height, width, _) = 3 if self.shape[2] >= 3 else 1, self.shape
        step = max(1, max(height, width) // _SAMPLED)
        if self.windowed and height > _SAMPLED_ROWS:
            at = np.linspace(0, height - 1, _SAMPLED_ROWS).astype(int).tolist()
            sampled = np.concatenate([self[row : row + 1, ::step] for row in at])
        else:
            sampled = self[::step, ::step]
        low, high = np.percentile(sampled[..., :count], DISPLAYED, axis=(0, 1))
        return low, high


class _InFileUnits(Windowed):
    """An open image before it is scaled."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @property
    def shape(self) -> tuple[int, ...]:
        return self._opened.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._opened._seen.filled.dtype

    def __getitem__(self, window: Window, /) -> Array:
        (rows, columns), steps = solid_part(window, self.shape)
        return self._opened._read(self._opened._seen.filled, rows, columns)[steps]


def _pieces(rows: slice, width: int, step: int) -> Iterator[slice]:
    """Divide rows into pieces that begin at multiples of the step and are small beside a scene."""
    tall = max(1, _PIECE // max(1, width) // step) * step
    return (slice(start, min(start + tall, rows.stop)) for start in range(rows.start, rows.stop, tall))


@contextmanager
def open_image(item: Item, reading: Reading) -> Iterator[Opened]:
    """Open an image for prediction. It may be opened, read and closed in different threads.

    `data.max_pixels` holds for files that must be decoded whole; those that are read by windows may have any size.

    Args:
        item: an image: one file, or one per band.
        reading: how the run reads its files.

    Raises:
        DataError: with the name of the file: it cannot be read, or is not as the run declares its images.
    """
    sample = Sample(item.id, item.files[0], (), None, item.id, item.files[1:])
    with open_picture(sample, reading.config, trained=True) as picture:
        filled = Filled(picture, shown(item.files[0]))
        yield Opened(picture, Seen(filled, reading.config, scaling_of([filled], reading.config, reading.scale)))
