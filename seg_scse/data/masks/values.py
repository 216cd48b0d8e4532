"""Pixel values of one mask file to class indices: nothing is guessed, and never by the brightness of colours."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.config.wording import counted
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.files.reading import same_channels
from seg_scse.data.masks.colours import colour_codes, colour_indices, colour_line
from seg_scse.data.masks.layers import Layer
from seg_scse.data.names import shown
from seg_scse.errors import DataError

Pixels = NDArray[np.uint8]

LOSSY = "This is a lossy mask (values near 0 and 255 are compression noise)"

_MOST_VALUES_SHOWN = 8
_MOST_SPAN = 1 << 16  # values this close together are counted in a table; others are sorted


def decode_values(raster: Raster, path: Path, config: DataConfig) -> Pixels:
    """Translate the pixels of one mask file.

    Args:
        raster: the decoded file, or some pixels of it: each is translated by itself.
        path: the file, for messages.
        config: `mask`, `classes` and `alpha` are used. The encodings `objects` and `files` have binary files.

    Returns:
        uint8 `(H, W)`: class indices, 255 for ignore; of a binary file 1 for foreground.

    Raises:
        DataError: another encoding than declared, or values that are not declared.
    """
    if config.mask.encoding in ("index", "palette"):
        return _map_values(raster, path, config)
    if config.mask.encoding == "colours":
        return colour_indices(_codes(raster, path, config), path, raster.format, config)
    return foreground(_channel(raster, path, config), raster, path, config)


def foreground(level: Array, raster: Raster, path: Path, config: DataConfig) -> Pixels:
    """Tell foreground from background by `mask.threshold`.

    Args:
        level: `(H, W)` of integers: one band of the file.
        raster: the file.
        path: its name, for messages.
        config: `mask.threshold` and `mask.ignore` are used.

    Returns:
        uint8 `(H, W)`: 1 above the threshold, else 0; 255 at the values to ignore.

    Raises:
        DataError: no pixel is above the threshold though some are above 0, a value is negative, or values to ignore
            are declared for a JPEG.
    """
    mask = config.mask
    if mask.ignore and raster.format == "JPEG":
        raise DataError(
            f"{shown(path)}: is a JPEG, in which no value is exact: data.mask.ignore={list(mask.ignore)} has no "
            "meaning. Leave it out, or get the mask in a lossless format."
        )
    ignored = np.isin(level, mask.ignore) if mask.ignore else None
    highest, lowest = int(level.max(initial=0, where=True if ignored is None else ~ignored)), int(level.min(initial=0))
    if lowest < 0:
        raise DataError(
            f"{shown(path)}: holds negative values, down to {lowest}, which data.mask.encoding={mask.encoding} does "
            "not explain. Set data.mask.encoding=index and data.mask.values."
        )
    threshold = 0 if _is_one_bit(raster) else mask.threshold
    if 0 < highest <= threshold:
        raise DataError(
            f"{shown(path)}: no pixel is above data.mask.threshold={threshold}; values go up to {highest}. "
            f"Set data.mask.threshold={highest - 1}{' or lower' if highest > 1 else ''}, or data.mask.encoding=index."
        )
    result = (level > threshold).astype(np.uint8)
    if ignored is not None:
        result[ignored] = IGNORE_INDEX
    return result


def each_band(raster: Raster, path: Path, config: DataConfig) -> Iterator[Layer]:
    """Yield the foreground of each band of a file as one class.

    Args:
        raster: the decoded file, with one band for each of `classes` after the first.
        path: its name, for messages.
        config: `classes`, `alpha` and `mask.threshold` are used.

    Raises:
        DataError: another number of bands, or values that are no foreground and background.
    """
    wanted = len(config.classes) - 1
    names = ", ".join(map(shown, config.classes[1:]))
    pixels = raster.pixels if raster.pixels.shape[2] == wanted else _without_alpha(raster, path, config)
    if raster.kind == "palette" or pixels.shape[2] != wanted:
        found = "a palette" if raster.kind == "palette" else f"{pixels.shape[2]} bands"
        raise DataError(
            f"{shown(path)}: has {found}, but data.mask.encoding=bands needs {wanted}: one each for {names}."
        )
    for index in range(wanted):
        level = integers(pixels[..., index], path)
        yield index + 1, foreground(level, raster, path, config) == 1


def _is_one_bit(raster: Raster) -> bool:
    """Tell whether the file has one bit per pixel, whose 1 is white and no faint grey: the reader then says so."""
    return raster.kind == "gray" and raster.palette is not None


def integers(values: Array, path: Path) -> NDArray[np.integer]:
    """Return the same values as integers; NIfTI and GeoTIFF labels are often stored as floats.

    Raises:
        DataError: fractions, NaN or infinity.
    """
    if values.dtype.kind != "f":
        return values
    whole = np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) < 2**31)
    if not whole.all():
        wrong = values[~whole]
        raise DataError(
            f"{shown(path)}: {wrong.size} of {values.size} pixels hold no integer, such as {wrong.flat[0]:g}: labels "
            "are integers. It may have been resampled with interpolation, or be a picture or a probability map: get "
            "the labels themselves."
        )
    return values.astype(np.int32)


def _layout(raster: Raster) -> str:
    """Name what the file holds, such as `a RGB image`."""
    names = {"palette": "a palette image", "gray": "a grey image", "colour": "a RGB image"}
    return names.get(raster.kind, f"an image of {raster.pixels.shape[2]} bands") + (
        " with alpha" if raster.alpha else ""
    )


def _without_alpha(raster: Raster, path: Path, config: DataConfig) -> Array:
    """Pixels `(H, W, C)` less an alpha channel, which must follow the rule; a palette's has no say over indices."""
    if not raster.alpha:
        return raster.pixels
    alpha = raster.pixels[..., -1]
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    transparent = int((alpha != opaque).sum())
    if transparent and config.alpha == "opaque":
        raise DataError(
            f"{shown(path)}: {transparent} pixels of the alpha channel are not {opaque}. "
            "Set data.alpha=drop if that channel may be ignored."
        )
    return raster.pixels[..., :-1]


def _channel(raster: Raster, path: Path, config: DataConfig) -> NDArray[np.integer]:
    """The one channel `(H, W)` of integers; equal colour channels are one, so that nothing is guessed."""
    wanted = config.mask.encoding
    if raster.kind == "palette":
        hint = " (class = palette index)" if wanted == "index" else " and data.mask.values"
        raise DataError(f"{shown(path)}: is a palette image; set data.mask.encoding=palette{hint}.")
    pixels = _without_alpha(raster, path, config)
    if raster.kind == "colour" and not same_channels(pixels):
        raise DataError(_is_colour(raster, pixels, path, config))
    if raster.kind == "bands" and pixels.shape[2] > 1:
        raise DataError(
            f"{shown(path)}: has {pixels.shape[2]} bands, not the one that data.mask.encoding={wanted} takes. "
            "Set data.mask.encoding=bands if each band is a class."
        )
    return integers(pixels[..., 0], path)


def _is_colour(raster: Raster, pixels: Array, path: Path, config: DataConfig) -> str:
    text = f"{shown(path)}: is a colour mask, not one channel of integers as data.mask.encoding={config.mask.encoding} "
    text += "takes. "
    if raster.format == "JPEG" or pixels.dtype != np.uint8:
        return text + "Get the masks as PNG, with one colour or one index for each class."
    line = colour_line(colour_codes(pixels), len(config.classes))
    return f"{text}{line[0].upper()}{line[1:]}, each class with its own colour."


def _codes(raster: Raster, path: Path, config: DataConfig) -> NDArray[np.uint32]:
    """Colours `(H, W)` as numbers; a palette is expanded here and nowhere else, for here colours are what counts."""
    pixels = _without_alpha(raster, path, config)
    if pixels.dtype != np.uint8 or raster.kind == "bands":
        raise DataError(
            f"{shown(path)}: is {_layout(raster)} of {pixels.dtype}, which data.mask.encoding=colours does not take: "
            "colours are 8-bit RGB, grey or palette."
        )
    if raster.palette is not None:
        return colour_codes(raster.palette)[pixels[..., 0]]
    if raster.kind == "gray":
        pixels = np.repeat(pixels, 3, axis=-1)
    return colour_codes(pixels)


def _map_values(raster: Raster, path: Path, config: DataConfig) -> Pixels:
    """Translate the values in the file to class indices."""
    raw = _palette_indices(raster, path) if config.mask.encoding == "palette" else _channel(raster, path, config)
    declared = _declared(config)
    values, counts = _counted(raw)
    unknown = [value for value in values if value not in declared]
    if unknown:
        raise DataError(_undeclared(path, raster, dict(zip(values, counts, strict=True)), unknown, config))
    targets = np.array([declared[value] for value in values], np.uint8)
    if values[-1] - values[0] >= _MOST_SPAN:
        return targets[np.searchsorted(np.array(values), raw)]
    table = np.zeros(values[-1] - values[0] + 1, np.uint8)
    table[np.array(values) - values[0]] = targets
    return np.asarray(table[raw - values[0]] if values[0] else table[raw], np.uint8)


def _counted(raw: NDArray[np.integer]) -> tuple[list[int], list[int]]:
    """The values in ascending order, and how many pixels have each."""
    low = int(raw.min())
    if int(raw.max()) - low >= _MOST_SPAN:
        values, counts = np.unique(raw, return_counts=True)
        return values.tolist(), counts.tolist()
    counts = np.bincount((raw.astype(np.int64) - low).ravel())  # 20 times as fast as sorting
    steps = np.flatnonzero(counts)
    return (steps + low).tolist(), counts[steps].tolist()


def _palette_indices(raster: Raster, path: Path) -> NDArray[np.integer]:
    if raster.kind != "palette":
        cure = "index or binary" if raster.kind == "gray" else "colours or bands"
        raise DataError(f"{shown(path)}: is {_layout(raster)} without a palette; set data.mask.encoding={cure}.")
    indices: NDArray[np.integer] = raster.pixels[..., 0]
    return indices


def _declared(config: DataConfig) -> dict[int, int]:
    """Class index of each value that may be in the file."""
    mask = config.mask
    values = mask.values or {index - mask.offset: index for index in range(len(config.classes))}
    return values | dict.fromkeys(mask.ignore, IGNORE_INDEX)


def looks_lossy(values: Iterable[int]) -> bool:
    """Tell whether 8-bit values, other than palette indices, look like black and white after a lossy compression."""
    return any(240 <= value < IGNORE_INDEX for value in values)


def _undeclared(path: Path, raster: Raster, counts: dict[int, int], unknown: list[int], config: DataConfig) -> str:
    shown_counts = ", ".join(
        f"{value} ({counted(count, 'pixel')})" for value, count in list(counts.items())[:_MOST_VALUES_SHOWN]
    )
    more = f" and {len(counts) - _MOST_VALUES_SHOWN} more" if len(counts) > _MOST_VALUES_SHOWN else ""
    found = f"{shown(path)}: undeclared mask value {', '.join(map(str, unknown[:_MOST_VALUES_SHOWN]))}; "
    found += f"found {shown_counts}{more}"
    noisy = raster.pixels.dtype == np.uint8 and raster.kind != "palette" and looks_lossy(unknown)
    if raster.format == "JPEG" or noisy:
        return f"{found}. {LOSSY}: set data.mask.encoding=binary and data.mask.threshold=127."
    return f"{found}. If that is right, {_suggestion(list(counts), len(config.classes))}."


def _suggestion(found: list[int], classes: int) -> str:
    """Propose the line to put into the configuration."""
    targets = list(range(len(found)))
    if len(found) == classes + 1 and found[-1] == IGNORE_INDEX:
        targets[-1] = IGNORE_INDEX
    if len(found) == 1:  # one class alone: its index cannot be told from this file
        return f"declare it, such as `data.mask.values: {{0: 0, {found[0]}: 1}}` ({IGNORE_INDEX} as class: ignore)"
    if targets[-1] >= classes and targets[-1] != IGNORE_INDEX:
        counted = " Where the values count objects, set data.mask.encoding=binary and data.mask.threshold=0"
        return (
            f"declare every value in `data.mask.values` ({IGNORE_INDEX} as class: ignore) or name more data.classes"
            + (f".{counted}" if classes == 2 else "")
        )
    pairs = ", ".join(f"{value}: {target}" for value, target in zip(found, targets, strict=True))
    return f"put `data.mask.values: {{{pairs}}}` into the configuration"
