"""An open image as a network sees it: pixels without data filled, values scaled, window by window.

The same numbers as the data store of a run gives for the same file, without an entry in its cache and without the whole
image in memory: what has to be known of the whole file (the mean of a band, a percentile) is measured in one pass, and
only where something asks for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.bands import BandCounter, BandStatistics, Valid, strips
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike, Window, Windowed, solid_part
from seg_scse.data.scale_measuring import Measurable, measured_scaling
from seg_scse.data.scaling import Scaling, declared_range, from_state, of_type
from seg_scse.errors import DataError

_PIECE = 1 << 21  # pixels that are decoded and scaled at a time: what lies beside the result in memory


class Source(Protocol):
    """An open image in the file's units, such as a `Picture`."""

    shape: tuple[int, int, int]
    dtype: str
    facts: tuple[str, ...]

    def read(self, rows: slice, cols: slice) -> tuple[Array, Valid | None]:
        """Pixels `(h, w, C)` of a window, and which of them hold data; None where all do."""
        ...


class Filled(Windowed):
    """An open image in the file's units, with the mean of its band where a pixel has no data.

    Attributes:
        source: the image as its file holds it.
        name: the file, for messages.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self._holes: tuple[Window, Valid | None] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels in the file."""
        return np.dtype(self.source.dtype)

    @cached_property
    def statistics(self) -> BandStatistics:
        """What the bands hold, from one pass over the file when first asked for.

        Raises:
            DataError: the file cannot be decoded.
        """
        height, width, _ = self.source.shape
        counter = BandCounter(self.source.shape, self.source.dtype)
        for rows in strips(height, width):
            pixels, valid = self.source.read(rows, slice(0, width))
            if valid is not None:
                pixels = np.where(valid[..., None], pixels, pixels.dtype.type(0))
            counter.add(pixels, valid)
        return counter.result()

    def read(self, rows: slice, columns: slice) -> tuple[Array, Valid | None]:
        """Filled pixels `(h, w, C)` of a window without steps, and which of them hold data; None where all do.

        Raises:
            DataError: the file cannot be decoded.
        """
        pixels, valid = self.source.read(rows, columns)
        if valid is not None and valid.all():
            valid = None
        if valid is not None:
            pixels = np.where(valid[..., None], pixels, np.array(self.statistics.fill(self.source.dtype), pixels.dtype))
        self._holes = (rows, columns), valid
        return pixels, valid

    def __getitem__(self, window: Window, /) -> Array:
        """Pixels of a window."""
        (rows, columns), steps = solid_part(window, self.shape)
        return self.read(rows, columns)[0][steps]

    def holes(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Like a mask `(h, w)`: ignored where a pixel has no data, else 0; not read again right after its pixels."""
        last, valid = self._holes if self._holes is not None else (None, None)
        if last != (rows, columns):
            _, valid = self.source.read(rows, columns)
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        if valid is not None:
            mask[~valid] = IGNORE_INDEX
        return mask

    def entry(self) -> Entry:
        """What is measured, as for a sample of a run."""
        found = self.statistics
        return Entry(
            shape=self.source.shape,
            dtype=self.source.dtype,
            image_digest=found.digest,
            mask_digest="",
            valid=found.pixels,
            sums=found.sums,
            squares=found.squares,
            minima=found.minima,
            maxima=found.maxima,
            fill=found.fill(self.source.dtype),
            class_pixels={},
            facts=self.source.facts,
            place=None,
            stored=False,
        )


class _Holes(Windowed):
    """The mask that goes with a `Filled`."""

    def __init__(self, filled: Filled) -> None:
        self._filled = filled

    @property
    def shape(self) -> tuple[int, ...]:
        return self._filled.shape[:2]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def __getitem__(self, window: Window, /) -> Array:
        (rows, columns), steps = solid_part(window, self.shape)
        return self._filled.holes(rows, columns)[steps]


def scaling_of(images: Sequence[Filled], config: DataConfig, state: Mapping[str, Any] | None) -> Scaling | None:
    """Choose how an image file is scaled, as the store of the run would (`scale_choice.choose_scales`).

    Args:
        images: the image; of a volume whose scale is measured per file all its slices, which are measured together.
        config: the `data` section of the run, its card resolved.
        state: the scaling that its checkpoint keeps (`Scales.as_state`).

    Returns:
        None where 8-bit values stay as they are.

    Raises:
        ConfigError: ranges do not fit the bands.
        DataError: a type without a range, a file that cannot be decoded, or a scaling that nobody measured.
    """
    declared = config.scale
    if declared.method == "dtype":
        return _by_type(images[0])
    if declared.per == "file":
        return measured_scaling(declared, _measurable(images), range(len(images)))
    shared = declared_range(config) or from_state(state)
    if shared is None:
        raise DataError(
            f"data.scale.method = {declared.method} is measured over the training images, but the checkpoint keeps no "
            "scaling. Train again."
        )
    return shared


def _by_type(image: Filled) -> Scaling | None:
    source = image.source
    if source.dtype == "uint8":
        return None
    scaling = of_type(source.dtype, source.shape[2])
    if scaling is None:
        raise DataError(
            f"{image.name}: holds {source.dtype}, but data.scale.method = dtype: a signed type has no range that means "
            "black to white. Convert it to the type of the training images."
        )
    return scaling


def _measurable(images: Sequence[Filled]) -> Measurable:
    def mask(index: int) -> ArrayLike:
        return _Holes(images[index])

    return Measurable(
        samples=(),
        entries=[image.entry() for image in images],
        image=images.__getitem__,
        mask=mask,
        folder=None,
        progress=False,
    )


class Seen(Windowed):
    """An open image as the network sees it: uint8, or float32 in [0, 1]. For one thread at a time.

    Attributes:
        filled: the same in the file's units.
        scaling: how its values become numbers in [0, 1]; None for 8-bit values that stay as they are.
    """

    def __init__(self, filled: Filled, config: DataConfig, scaling: Scaling | None) -> None:
        self.filled, self.scaling = filled, scaling
        self._unit = config.scale.method == "dtype" and filled.source.dtype == "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.filled.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or float32."""
        return np.dtype(np.uint8 if self.scaling is None else np.float32)

    def __getitem__(self, window: Window, /) -> Array:
        """Scaled pixels of a window.

        Raises:
            DataError: the file cannot be decoded, or holds floats beyond [0, 1] where these are to be.
        """
        (rows, columns), steps = solid_part(window, self.shape)
        return self.read(rows, columns)[0][steps]

    def read(self, rows: slice, columns: slice) -> tuple[Array, Valid | None]:
        """Scaled pixels `(h, w, C)` of a window without steps, and which of them hold data; None where all do.

        Raises:
            DataError: as for a window.
        """
        pieces = list(_pieces(rows, columns))
        if len(pieces) <= 1:
            return self._piece(rows, columns)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pixels, valid = np.empty((*shape, self.shape[2]), self.dtype), None
        for piece in pieces:
            inside = slice(piece.start - rows.start, piece.stop - rows.start)
            pixels[inside], found = self._piece(piece, columns)
            if found is not None:
                valid = np.ones(shape, np.bool_) if valid is None else valid
                valid[inside] = found
        return pixels, valid

    def _piece(self, rows: slice, columns: slice) -> tuple[Array, Valid | None]:
        pixels, valid = self.filled.read(rows, columns)
        if self._unit:
            _require_unit(pixels, self.filled.name)
        return (pixels if self.scaling is None else self.scaling.apply(pixels)), valid


def _pieces(rows: slice, columns: slice) -> Iterator[slice]:
    step = max(1, _PIECE // max(1, columns.stop - columns.start))
    return (slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))


def _require_unit(pixels: Array, name: str) -> None:
    if pixels.size and (pixels.min() < 0 or pixels.max() > 1):
        raise DataError(
            f"{name}: holds float32 values {pixels.min():.6g} to {pixels.max():.6g}, but data.scale.method = dtype: "
            "floats must be in [0, 1], as those of the training were. Convert it."
        )
