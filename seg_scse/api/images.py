"""What a network sees of an image that Python gives it: a file, or an array in the units of such files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy import typing as npt

from seg_scse.data.files.raster import Array
from seg_scse.data.files.volumes import is_volume
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.names import shown
from seg_scse.data.scaling import Scaled, Scaling, from_state, of_type
from seg_scse.data.single import find_file, read_scaled
from seg_scse.errors import DataError
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading, open_image

Image = str | Path | npt.ArrayLike
"""A file, `FILE:12` for slice 12 of a volume; or pixels `(H, W, C)`, or `(H, W)` for one band."""


@contextmanager
def opened(image: Image, reading: Reading) -> Iterator[ArrayLike]:
    """Yield pixels `(H, W, C)`, uint8 or float32 in [0, 1], as training saw them.

    Args:
        image: a file, or pixels in the units of the files of the training. An array is taken as it is: where a file
            has pixels without data, these are filled as in training.
        reading: how those files were read.

    Raises:
        DataError: the file cannot be read as declared, or the pixels are not those of such a file.
    """
    if not isinstance(image, str | Path):
        yield _scaled(np.asarray(image), reading)
        return
    path, plane = _existing(str(image))
    if is_volume(path):
        yield read_scaled(path, reading.config, reading.scale, plane)
        return
    with open_image(Item(path.stem, "image", (path,)), reading) as found:
        yield found


def image_item(image: str | Path) -> Item:
    """Name an image file as the command line does.

    Raises:
        DataError: there is no such file, or it is a volume.
    """
    path, _ = _existing(str(image))
    if is_volume(path):
        raise DataError(f"{shown(path)}: is a volume, no image: `seg-scse predict` predicts all of its slices.")
    return Item(path.stem, "image", (path,))


def _existing(name: str) -> tuple[Path, int | None]:
    found = find_file(name)
    if found is None:
        raise DataError(f"{shown(name)}: no such file.")
    return found


def _scaled(pixels: Array, reading: Reading) -> ArrayLike:
    bands = reading.config.band_names
    pixels = pixels[..., None] if pixels.ndim == 2 and len(bands) == 1 else pixels
    if pixels.ndim != 3 or pixels.shape[2] != len(bands):
        raise DataError(
            f"an image of shape {pixels.shape}, but the network sees (H, W, {len(bands)}): "
            f"{', '.join(bands)}, in this order along the last axis."
        )
    if not pixels.size:
        raise DataError(f"an image of shape {pixels.shape} has no pixels.")
    scaling = _scaling(pixels, reading)
    return pixels if scaling is None else Scaled(pixels, scaling)


def _scaling(pixels: Array, reading: Reading) -> Scaling | None:
    if reading.scale is not None:
        _require_numbers(pixels)
        return from_state(reading.scale)
    if reading.config.scale.method != "dtype":
        raise DataError("the network scales each file by its own values: name the file instead of its pixels.")
    _require_range(pixels)
    return None if pixels.dtype == np.uint8 else of_type(str(pixels.dtype), pixels.shape[2])


def _require_numbers(pixels: Array) -> None:
    """Refuse what is no real number; lowest and highest value are taken, since NaN and infinity show in them."""
    if pixels.dtype.kind not in "uif":
        raise DataError(f"pixels of type {pixels.dtype}: give integers or floats.")
    if pixels.dtype.kind == "f" and not np.isfinite([pixels.min(), pixels.max()]).all():
        raise DataError("the pixels hold NaN or infinity: fill them first, or name the file instead of its pixels.")


def _require_range(pixels: Array) -> None:
    if of_type(str(pixels.dtype), 1) is None:
        raise DataError(f"pixels of type {pixels.dtype}: give uint8, uint16, uint32, or float32 in [0, 1].")
    if pixels.dtype == np.float32 and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(f"float32 pixels from {pixels.min():g} to {pixels.max():g}: they must be in [0, 1].")
