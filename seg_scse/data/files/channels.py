"""What the bands of a file are as an image: grey, colours or named bands, alpha, and where there is no data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.decoding import all_hold
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.names import shown
from seg_scse.errors import DataError

Valid = NDArray[np.bool_] | None

_FOUR = ("red", "green", "blue", "nir")
_MOST_PROPOSED = 30


def _proposed(raster: Raster, count: int, known: Sequence[str] = ()) -> str:
    """Names for a file's bands, as the line for the configuration: the file's own, those known, or numbers."""
    names = list(raster.names or known or (_FOUR if count == len(_FOUR) else ()))[:count]
    names += [f"band{number + 1}" for number in range(len(names), count)]
    if count > _MOST_PROPOSED:
        names[2:-1] = ["..."]
    return f"data.bands: [{', '.join(shown(name) for name in names)}]"


def _opaque(dtype: np.dtype[Any]) -> float:
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def _split(raster: Raster) -> tuple[Array, Array | None]:
    """Return colours (of a palette or a 1-bit image: what the values stand for) and alpha."""
    pixels, alpha = raster.pixels, None
    if raster.alpha:
        pixels, alpha = pixels[..., :-1], pixels[..., -1]
    if raster.palette is not None:
        pixels = raster.palette[pixels[..., 0]]
        pixels = pixels[..., :1] if raster.kind == "gray" else pixels
    return pixels, alpha


def _check_alpha(raster: Raster, alpha: Array) -> None:
    opaque = _opaque(alpha.dtype)
    transparent = int((alpha != opaque).sum())
    if not transparent:
        return
    count = raster.pixels.shape[2]
    other = (
        f" Set {_proposed(raster, count)} if it is a band, such as near infrared." if raster.format == "TIFF" else ""
    )
    raise DataError(
        f"{transparent} pixels of the alpha channel are not {opaque:g}. "
        f"Set data.alpha=drop if that channel may be ignored.{other}"
    )


def _with_valid(pixels: Array, valid: Valid, nodata: float | None) -> Valid:
    invalid = np.zeros(pixels.shape[:2], bool) if valid is None else ~valid
    if nodata is not None:
        invalid |= all_hold(pixels, nodata)
    if pixels.dtype.kind == "f":
        invalid |= ~np.isfinite(pixels).all(axis=2)
    return ~invalid if invalid.any() else None


@dataclass(frozen=True)
class Channels:
    """How the rasters of one file become the channels of an image: decided once, applied to each window.

    Attributes:
        config: `channels`, `bands`, `use`, `alpha` and `nodata` are used.
        facts: what is done to the pixels, such as `are grey, repeated to 3 channels`.
        count: channels of the image.
        dtype: type of its pixels.
    """

    config: DataConfig
    facts: tuple[str, ...]
    count: int
    dtype: str

    @classmethod
    def decide(cls, raster: Raster, config: DataConfig, trained: bool = False) -> "Channels":
        """Look at any part of a file and decide.

        Args:
            raster: the part.
            config: what is declared.
            trained: a network exists that takes these bands: no other ones can be declared.

        Raises:
            DataError: bands that nobody named, another number or order of them than declared.
        """
        dtype = "uint8" if raster.palette is not None else raster.pixels.dtype.name
        facts = ["are turned upright by their EXIF orientation"] if raster.turned else []
        if config.bands is not None:
            _check_bands(raster, config.bands, trained)
            if raster.alpha and raster.format != "TIFF":  # of a TIFF that says nothing: bands are often marked so
                facts.append(f"carry an alpha channel, which is taken as the band {config.bands[-1]}")
            return cls(config, tuple(facts), len(config.slice_bands), dtype)
        if raster.kind == "bands":
            count = raster.pixels.shape[2]
            axes = " (an array is read as height x width x bands)" if raster.format == "NPY" else ""
            cure = _taken(config.band_names) if trained else f"Name them: {_proposed(raster, count)}."
            raise DataError(f"has {count} bands{axes}. {cure}")
        if raster.alpha:
            facts.append(f"carry an {'opaque ' if config.alpha == 'opaque' else ''}alpha channel, dropped")
        if config.channels == "rgb" and raster.kind == "gray":
            facts.append("are grey, repeated to 3 channels")
        return cls(config, tuple(facts), 3 if config.channels == "rgb" else 1, dtype)

    def apply(self, raster: Raster) -> tuple[Array, Valid]:
        """Return the channels `(h, w, C)` of a window, and where it has data: None where everywhere.

        Raises:
            DataError: alpha against the rule, or a colour image where grey was declared.
        """
        colours, alpha = _split(raster)
        if self.config.bands is not None:
            if alpha is not None:
                colours = np.concatenate([colours, alpha[..., None]], axis=2)
            used = [self.config.bands.index(name) for name in self.config.slice_bands]
            colours = colours if used == list(range(len(self.config.bands))) else colours[..., used]
        else:
            if alpha is not None and self.config.alpha == "opaque":
                _check_alpha(raster, alpha)
            colours = self._coloured(colours)
        return np.ascontiguousarray(colours), _with_valid(colours, raster.valid, self.config.nodata)

    def _coloured(self, colours: Array) -> Array:
        if colours.shape[2] == 1:
            return np.repeat(colours, self.count, axis=2) if self.count > 1 else colours
        if self.count == 3:
            return colours
        if not (colours == colours[..., :1]).all():
            raise DataError("is a colour image, but data.channels=gray. Set data.channels=rgb.")
        return colours[..., :1]


def _taken(names: Sequence[str]) -> str:
    """What to do where a network exists."""
    return (
        f"The network takes {len(names)}: {', '.join(names)}. Choose another run, or write these bands to a file of "
        "their own."
    )


def _check_bands(raster: Raster, names: tuple[str, ...], trained: bool) -> None:
    count = raster.pixels.shape[2] + (2 if raster.kind == "palette" else 0)
    if count != len(names):
        bands = "1 band" if count == 1 else f"{count} bands"
        if trained:
            raise DataError(f"has {bands}. {_taken(names)}")
        raise DataError(
            f"has {bands}, but data.bands names {len(names)} ({', '.join(names)}). "
            f"Set {_proposed(raster, count, names)}."
        )
    found = [shown(name).strip() for name in raster.names or ()]
    wanted = [name.casefold() for name in names]
    actual = [name.casefold() for name in found]
    if sorted(wanted) == sorted(actual) and wanted != actual:
        cure = "Write them in that order." if trained else f"Set data.bands: [{', '.join(found)}]."
        raise DataError(f"names its bands {', '.join(found)}, but data.bands says {', '.join(names)}. {cure}")
