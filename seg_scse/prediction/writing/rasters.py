"""What a prediction leaves as rasters: label maps, probabilities and uncertainty, in the place of their image."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import Task
from seg_scse.data.files.raster import Place
from seg_scse.errors import ConfigError
from seg_scse.prediction.writing.geotiff_files import Layers, write_geotiff
from seg_scse.prediction.writing.png_files import write_png
from seg_scse.report.overlays import class_colour

Labels = NDArray[np.uint8]
Stored = Literal["float32", "uint8", "uint16"]

NODATA = 255
"""Value of a label map where its image has no data."""

PNG, TIFF = (".png",), (".tif", ".tiff")
"""Name ends of label maps, in lower case."""

_NO_COLOUR = (0, 0, 0)


def write_label_map(
    path: Path,
    strips: Iterable[Labels],
    shape: tuple[int, int],
    place: Place | None,
    *,
    classes: Sequence[str],
    task: Task = "multiclass",
    nodata: int | None = None,
) -> None:
    """Write a label map in the format of its name: complete or absent. Memory is bound by a strip.

    `.png`: 8 bits, class indices with a palette; no data is transparent. `.tif`: Cloud Optimized GeoTIFF of the image's
    coordinate system, transform and size (a plain TIFF of that layout where it has no place), overviews of nearest
    pixels, the palette, and the names of the classes as JSON in the tag CLASSES. Multilabel: bits without a palette.

    Args:
        path: ends with `.png`, `.tif` or `.tiff`.
        strips: uint8 (h, W), from the top to the bottom: class indices, or bits of a multilabel task.
        shape: (H, W) of the image.
        place: of the image; None without georeference. A PNG cannot hold it.
        classes: names in index order.
        task: `multiclass` or `multilabel`.
        nodata: `NODATA` where the image has pixels without data, which are so in the strips; declared in the file.

    Raises:
        ConfigError: another suffix, or rasterio is needed and not installed.
        DataError: the coordinate system of the place is not known.
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    suffix = path.suffix.lower()
    colours = None if task == "multilabel" else _palette(len(classes), nodata)
    if suffix in PNG:
        write_png(path, strips, shape, colours, nodata)
        return
    if suffix not in TIFF:
        raise ConfigError(
            f"{path}: label maps are written as {', '.join(PNG + TIFF)}, not {suffix or 'without suffix'}."
        )
    tags = {"CLASSES": json.dumps(list(classes), ensure_ascii=False), "TASK": task}
    name = "class index" if colours is not None else "bit k - 1: class k"
    write_geotiff(path, strips, shape, place, Layers("uint8", (name,), nodata, colours, tags=tags), cog=True)


def _palette(classes: int, nodata: int | None) -> Labels:
    """Colours (n, 3) of the indices, those of reports; what is no class is black."""
    colours = [class_colour(index) for index in range(classes)]
    if nodata is not None:
        colours += [_NO_COLOUR] * (nodata + 1 - classes)
    return np.array(colours, np.uint8)


def probability_names(classes: Sequence[str], task: Task) -> tuple[str, ...]:
    """Return the class of each plane of probabilities: the foreground of two, the labels of multilabel, else all."""
    return tuple(classes[1:] if task == "multilabel" or len(classes) == 2 else classes)


def levels(dtype: Stored) -> int | None:
    """Return the integer that stands for probability 1, 254 or 65534; the next one is no data. None for floats."""
    return None if dtype == "float32" else int(np.iinfo(dtype).max) - 1


def quantised(probabilities: NDArray[Any], dtype: Stored) -> NDArray[Any]:
    """Return probabilities in the type of a file.

    Args:
        probabilities: float32, 0 to 1, NaN: no data; or already of that type, and returned as they are.
        dtype: `float32`: unchanged. `uint8` and `uint16`: rounded to multiples of 1/254 or 1/65534; 255 or 65535: no
            data.
    """
    highest = levels(dtype)
    if highest is None or probabilities.dtype == dtype:
        return probabilities
    scaled = np.rint(probabilities * np.float32(highest))
    return np.nan_to_num(scaled, copy=False, nan=highest + 1).astype(dtype)


def write_probabilities(
    path: Path,
    strips: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    place: Place | None,
    *,
    names: Sequence[str],
    dtype: Stored = "float32",
) -> None:
    """Write probabilities as a tiled GeoTIFF with one band per class: complete or absent.

    Args:
        path: ends with `.tif` or `.tiff`.
        strips: (K', h, W), as `quantised` takes them, from the top to the bottom.
        shape: (H, W) of the image.
        place: of the image; None without georeference.
        names: of the K' classes, from `probability_names`.
        dtype: of the file, see `quantised`; the scale is in the file.

    Raises:
        ConfigError: another suffix, or rasterio is not installed.
        DataError: the coordinate system of the place is not known.
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    highest = levels(dtype)
    nodata = float("nan") if highest is None else highest + 1
    layers = Layers(dtype, tuple(names), nodata, scale=1.0 if highest is None else 1 / highest)
    _write_bands(path, (quantised(strip, dtype) for strip in strips), shape, place, layers)


def write_uncertainty(
    path: Path,
    strips: Iterable[NDArray[np.float32]],
    shape: tuple[int, int],
    place: Place | None,
    *,
    names: Sequence[str] = ("entropy",),
) -> None:
    """Write maps of uncertainty, in nats, as a tiled GeoTIFF of float32: complete or absent.

    Args:
        path: ends with `.tif` or `.tiff`.
        strips: float32 (B, h, W), NaN: no data, from the top to the bottom.
        shape: (H, W) of the image.
        place: of the image; None without georeference.
        names: of the B maps, such as `entropy` and `disagreement`.

    Raises:
        ConfigError: another suffix, or rasterio is not installed.
        DataError: the coordinate system of the place is not known.
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    _write_bands(path, strips, shape, place, Layers("float32", tuple(names), float("nan"), unit="nat"))


def _write_bands(
    path: Path, strips: Iterable[NDArray[Any]], shape: tuple[int, int], place: Place | None, layers: Layers
) -> None:
    if path.suffix.lower() not in TIFF:
        raise ConfigError(
            f"{path}: these maps are written as {' or '.join(TIFF)}, not {path.suffix or 'without suffix'}."
        )
    write_geotiff(path, strips, shape, place, layers, cog=False)
