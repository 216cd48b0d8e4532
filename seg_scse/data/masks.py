"""Mask files to class indices, by the declared encoding: nothing is guessed, and never by brightness of colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.names import shown
from seg_scse.data.reading import Opened, Pixels, colours, open_image, same_channels
from seg_scse.errors import DataError

_INDEX_MODES = {"1", "L", "I", "I;16", "I;16B", "I;16L"}
_MOST_VALUES_SHOWN = 8


def _level(opened: Opened, path: Path, config: DataConfig) -> Pixels:
    """Brightness `(H, W)` of a file whose colour channels are equal, so that brightness is not a guess."""
    if opened.image.mode == "P":
        raise DataError(f"{shown(path)}: is a palette image; set data.mask.encoding=palette and data.mask.values.")
    if opened.image.mode in _INDEX_MODES - {"1", "L"}:
        raise DataError(f"{shown(path)}: is a 16- or 32-bit mask; set data.mask.encoding=index and data.mask.values.")
    pixels, _ = colours(opened, path, config.alpha)
    if not same_channels(pixels):
        raise DataError(
            f"{shown(path)}: is a colour mask, and colour-coded classes are not read by this version. "
            f"Convert it to one channel of class indices (data.mask.encoding=index)."
        )
    return pixels[..., 0]


def _foreground(path: Path, opened: Opened, config: DataConfig) -> Pixels:
    level = _level(opened, path, config)
    threshold = config.mask.threshold
    highest = int(level.max())
    if 0 < highest <= threshold:
        raise DataError(
            f"{shown(path)}: no pixel is above data.mask.threshold={threshold}; values go up to {highest}. "
            f"Set data.mask.threshold={highest - 1}{' or lower' if highest > 1 else ''}, or data.mask.encoding=index."
        )
    return (level > threshold).astype(np.uint8)


def _suggestion(found: list[int], classes: int) -> str:
    """Propose the line to put into the configuration."""
    targets = list(range(len(found)))
    if len(found) == classes + 1 and found[-1] == IGNORE_INDEX:
        targets[-1] = IGNORE_INDEX
    if len(found) == 1:  # one class alone: its index cannot be told from this file
        return f"declare it, such as `data.mask.values: {{0: 0, {found[0]}: 1}}` ({IGNORE_INDEX} as class: ignore)"
    if targets[-1] >= classes and targets[-1] != IGNORE_INDEX:
        return f"declare every value in `data.mask.values` ({IGNORE_INDEX} as class: ignore) or name more data.classes"
    pairs = ", ".join(f"{value}: {target}" for value, target in zip(found, targets, strict=True))
    return f"put `data.mask.values: {{{pairs}}}` into the configuration"


def _refuse_values(path: Path, opened: Opened, counts: dict[int, int], unknown: list[int], config: DataConfig) -> None:
    shown_counts = ", ".join(f"{value} ({count} pixels)" for value, count in list(counts.items())[:_MOST_VALUES_SHOWN])
    more = f" and {len(counts) - _MOST_VALUES_SHOWN} more" if len(counts) > _MOST_VALUES_SHOWN else ""
    found = f"{shown(path)}: undeclared mask value {', '.join(map(str, unknown[:_MOST_VALUES_SHOWN]))}; "
    found += f"found {shown_counts}{more}"
    if opened.format == "JPEG" or any(240 <= value < 255 for value in unknown):
        raise DataError(
            f"{found}. This is a lossy mask (values near 0 and 255 are compression noise): "
            f"set data.mask.encoding=binary and data.mask.threshold=127."
        )
    raise DataError(f"{found}. If that is right, {_suggestion(list(counts), len(config.classes))}.")


def _indices(path: Path, opened: Opened, config: DataConfig) -> NDArray[np.integer]:
    mode, wanted = opened.image.mode, config.mask.encoding
    if wanted == "palette" and mode != "P":
        raise DataError(f"{shown(path)}: is a {mode} image without a palette; set data.mask.encoding=index or binary.")
    if wanted == "index" and mode == "P":
        raise DataError(f"{shown(path)}: is a palette image; set data.mask.encoding=palette (class = palette index).")
    if wanted == "index" and mode not in _INDEX_MODES:
        raise DataError(
            f"{shown(path)}: is a {mode} image, not one channel of integers as data.mask.encoding=index says. "
            f"Set data.mask.encoding=binary if it is black and white, else convert it to one channel."
        )
    pixels = np.asarray(opened.image)
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels


def _map_values(path: Path, opened: Opened, config: DataConfig) -> Pixels:
    """Translate the values in the file to class indices."""
    raw = _indices(path, opened, config)
    declared = config.mask.values or {index: index for index in range(len(config.classes))}
    values, counts = np.unique(raw, return_counts=True)
    unknown = [int(value) for value in values if int(value) not in declared]
    if unknown:
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        _refuse_values(path, opened, found, unknown, config)
    targets = np.array([declared[int(value)] for value in values], np.uint8)
    return targets[np.searchsorted(values, raw)]


def _read_one(path: Path, image: Path, shape: tuple[int, int], config: DataConfig) -> Pixels:
    opened = open_image(path, config.max_pixels)
    width, height = opened.image.size
    if (height, width) != shape:
        raise DataError(
            f"{shown(path)}: the mask is {width} x {height} pixels, but its image {shown(image)} is "
            f"{shape[1]} x {shape[0]}. Correct one of them, or leave the sample out with data.exclude."
        )
    decode = _foreground if config.mask.encoding in ("binary", "objects") else _map_values
    return decode(path, opened, config)


def read_mask(paths: Sequence[Path], image: Path, shape: tuple[int, int], config: DataConfig) -> Pixels:
    """Read the mask of one image.

    Args:
        paths: the mask file; for `encoding=objects` any number of files, whose union is class 1 (none: no object).
        image: the image the mask belongs to, for messages.
        shape: `(H, W)` of that image.
        config: `mask`, `classes`, `alpha` and `max_pixels` are used.

    Returns:
        uint8 `(H, W)` class indices, with 255 where `mask.values` says ignore.

    Raises:
        DataError: the file cannot be read, has another size than the image, another encoding than declared, or values
            that are not declared.
    """
    if config.mask.encoding != "objects":
        return _read_one(paths[0], image, shape, config)
    union = np.zeros(shape, np.uint8)
    for path in paths:
        union |= _read_one(path, image, shape, config)
    return union
