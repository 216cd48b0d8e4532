"""From values of any range to [0, 1], as `data.scale` declares it: never by chance of what a file holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import DataConfig, ScaleConfig
from seg_scse.data.bands import Number
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike, Window, Windowed
from seg_scse.data.samples import Sample
from seg_scse.errors import ConfigError, DataError

_LITTLE = 0.25  # of the range of uint16: below it, most of the network's input range would stay empty


@dataclass(frozen=True)
class Scaling:
    """How the bands of an image become numbers in [0, 1].

    Attributes:
        low: value of each band that becomes 0, as do all below it.
        high: value of each band that becomes 1, as do all above it.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, pixels: Array) -> NDArray[np.float32]:
        """Scale pixels `(..., C)` of any type to float32 in [0, 1]."""
        # float32 holds integers of 24 bits exactly
        exact: type[np.floating] = np.float64 if pixels.dtype in (np.uint32, np.int32) else np.float32
        low, width = np.array(self.low, exact), np.subtract(self.high, self.low).astype(exact)
        scaled = np.subtract(pixels, low, dtype=exact)
        scaled /= width
        return np.clip(scaled, 0, 1, out=scaled).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Scaled(Windowed):
    """An image that is scaled to float32 in [0, 1] as it is read."""

    pixels: ArrayLike
    scaling: Scaling

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def __getitem__(self, window: Window, /) -> NDArray[np.float32]:
        """Scaled pixels of a window."""
        return self.scaling.apply(np.asarray(self.pixels[window]))


@dataclass(frozen=True)
class Scales:
    """The scaling of each image of a data set.

    Attributes:
        each: by position; None for all where images are 8-bit and stay so (their range is 0 to 255).
        shared: the one scaling that was measured over the training split or declared, else None.
        notes: what is scaled how, in words.
    """

    each: tuple[Scaling | None, ...]
    shared: Scaling | None = None
    notes: tuple[str, ...] = ()

    def as_state(self) -> dict[str, list[float]] | None:
        """What a checkpoint keeps: low and high of each band; None where each file tells by itself."""
        return None if self.shared is None else {"low": list(self.shared.low), "high": list(self.shared.high)}


def from_state(state: Mapping[str, Sequence[float]] | None) -> Scaling | None:
    """Return the scaling that a checkpoint keeps."""
    return None if state is None else Scaling(tuple(state["low"]), tuple(state["high"]))


def declared_range(config: DataConfig) -> Scaling | None:
    """Return the scaling of `method: range`, or None for other methods.

    Raises:
        ConfigError: not one number for all bands or one each.
    """
    if config.scale.method != "range":
        return None
    names = config.slice_bands
    try:
        pairs = config.scale.pairs(len(names))
    except ValueError as error:
        raise ConfigError(f"data.scale: {error}: {', '.join(names)}.") from None
    if len(pairs) != len(names):
        raise ConfigError(f"data.scale has ranges for {len(pairs)} bands, but there is one: {names[0]}.")
    slices = len(config.band_names) // len(names)  # neighbouring ones are scaled alike
    return between(*zip(*pairs * slices, strict=True))


def between(low: Sequence[float], high: Sequence[float]) -> Scaling:
    """Build a scaling; a band with one value only becomes 0."""
    return Scaling(
        tuple(float(value) for value in low),
        tuple(float(b) if b > a else float(a) + 1 for a, b in zip(low, high, strict=True)),
    )


def of_type(dtype: str, bands: int) -> Scaling | None:
    """Scaling by the range of a type; None for signed integers, which have no lowest value that means black."""
    highest = {"uint8": 255.0, "uint16": 65535.0, "uint32": 4294967295.0, "float32": 1.0}.get(dtype)
    return None if highest is None else Scaling((0.0,) * bands, (highest,) * bands)


def by_type(samples: Sequence[Sample], entries: Sequence[Entry], train: Sequence[int]) -> Scales:
    """Scale every image by the range of its type, `method: dtype`.

    Raises:
        DataError: signed integers, or floats beyond [0, 1]: what range matters must be declared.
    """
    if all(entry.dtype == "uint8" for entry in entries):
        return Scales((None,) * len(entries))
    unscaled = without_range(entries)
    if unscaled:
        raise DataError(_without_range([samples[i] for i in unscaled], [entries[i] for i in unscaled], len(entries)))
    scalings = [of_type(entry.dtype, entry.shape[2]) for entry in entries]
    return Scales(tuple(scalings), None, tuple(_type_notes([entries[index] for index in train or range(len(entries))])))


def without_range(entries: Sequence[Entry]) -> list[int]:
    """Positions of the images that `method: dtype` cannot scale."""
    return [
        position
        for position, entry in enumerate(entries)
        if of_type(entry.dtype, 1) is None
        or (entry.dtype == "float32" and (min(entry.minima) < 0 or max(entry.maxima) > 1))
    ]


def _without_range(samples: Sequence[Sample], entries: Sequence[Entry], count: int) -> str:
    low, high = min(min(entry.minima) for entry in entries), max(max(entry.maxima) for entry in entries)
    types = " and ".join(sorted({entry.dtype for entry in entries}))
    unit = 10.0 ** (math.floor(math.log10(high - low)) - 1) if high > low else 1.0
    lowest, highest = math.floor(low / unit) * unit, math.ceil(high / unit) * unit
    rule = "floats must be in [0, 1]" if "float32" in types else "a signed type has no range that means black to white"
    return (
        f"data.scale.method = dtype: {len(entries)} of {count} images are {types} with values {_number(low)} to "
        f"{_number(high)}, such as {samples[0].id}; {rule}. Declare the range that matters, such as "
        f"`data.scale: {{method: range, low: {_number(lowest)}, high: {_number(highest)}}}`."
    )


def _number(value: Number) -> str:
    return f"{value:.10g}"


def _type_notes(entries: Sequence[Entry]) -> list[str]:
    types = {entry.dtype for entry in entries}
    words = {"uint8": "0 to 255", "uint16": "0 to 65535", "uint32": "0 to 4294967295", "float32": "0 to 1"}
    notes = [f"scale by type: {kind} from {words[kind]} to 0 to 1" for kind in sorted(types)]
    highest = max((max(entry.maxima) for entry in entries if entry.dtype == "uint16"), default=65535)
    if highest < _LITTLE * 65535:
        notes.append(
            f"the uint16 values go up to {_number(highest)} only, so the network sees numbers up to "
            f"{highest / 65535:.2g}: `data.scale: {{method: percentile}}` would use the whole range"
        )
    return notes


def scale_notes(config: ScaleConfig, bands: Sequence[str], scaling: Scaling) -> list[str]:
    """Say which value of each band becomes 0 and 1."""
    parts = (
        f"{name} {low:.6g} to {high:.6g}" for name, low, high in zip(bands, scaling.low, scaling.high, strict=True)
    )
    return [f"scale by {config.method}: {', '.join(parts)} become 0 to 1"]
