"""GeoTIFF files of predictions, written block row by block row, in the place of their image.

A label map becomes a Cloud Optimized GeoTIFF (OGC 21-026): GDAL makes one of a finished file only, so the rows go into
a scratch file beside it first.
"""

import importlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.raster import Place
from seg_scse.data.names import shown
from seg_scse.errors import DataError
from seg_scse.files import TEMPORARY_SUFFIX, atomic_path
from seg_scse.prediction.writing.gdal_writing import gdal, require_complete, require_rasterio
from seg_scse.prediction.writing.rows import regrouped

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

BLOCK = 512
"""Sides of a block, pixels."""

_COMPRESSED = {"compress": "deflate", "bigtiff": "if_safer"}
_LAYOUT = {
    **_COMPRESSED,
    "zlevel": 1,  # a scratch file is removed, and probabilities hardly shrink further
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "interleave": "band",
    "photometric": "minisblack",  # else three or four bands of uint8 are RGB and transparency
}
_DIFFERENCES = {"f": 3, "u": 2}  # TIFF's predictors for floats and integers


@dataclass(frozen=True)
class Layers:
    """What the bands of a file are.

    Attributes:
        dtype: of all bands.
        names: one description per band.
        nodata: value of pixels without data, or None.
        colours: uint8 (n, 3): of the indices 0 to n - 1 of the only band, or None.
        scale: value times this is what is meant.
        unit: of that, or "".
        tags: texts for the file.
    """

    dtype: str
    names: tuple[str, ...]
    nodata: float | None = None
    colours: NDArray[np.uint8] | None = None
    scale: float = 1.0
    unit: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def write_geotiff(
    path: Path, strips: Iterable[NDArray[Any]], shape: tuple[int, int], place: Place | None, layers: Layers, cog: bool
) -> None:
    """Write one GeoTIFF, or a plain TIFF where there is no place: complete or absent.

    Tiled, deflate, BigTIFF where it is needed. Memory: a strip, `BLOCK` rows and GDAL's cache of 256 MB.

    Args:
        path: the file.
        strips: (h, W) of one band, or (B, h, W), from the top to the bottom.
        shape: (H, W) of the image.
        place: of the image; None without georeference.
        layers: what the bands are.
        cog: lay it out as a Cloud Optimized GeoTIFF with overviews.

    Raises:
        ConfigError: rasterio is not installed.
        DataError: the coordinate system is not known.
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    options = {**_LAYOUT, **_georeference(place), "height": shape[0], "width": shape[1]}
    levels = _levels(shape) if cog else []
    with atomic_path(path) as temporary:
        if cog:
            with _scratch(temporary) as scratch, _created(scratch, layers, options) as dataset:
                _fill(dataset, scratch, strips, shape)
                _optimize(dataset, scratch, temporary, levels)
        else:
            options["predictor"] = _DIFFERENCES[np.dtype(layers.dtype).kind]
            with _created(temporary, layers, options) as dataset:
                _fill(dataset, temporary, strips, shape)
        require_complete(temporary, len(levels))


def _levels(shape: tuple[int, int]) -> list[int]:
    """By what an image is reduced, down to one block."""
    levels: list[int] = []
    while max(shape) > BLOCK << len(levels):
        levels.append(2 << len(levels))
    return levels


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Yield one more temporary path beside a temporary file."""
    scratch = path.with_name(f"{path.name.removesuffix(TEMPORARY_SUFFIX)}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        yield scratch
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def _created(path: Path, layers: Layers, options: Mapping[str, object]) -> Iterator["DatasetWriter"]:
    """Open a new file, which is closed in any case; the first failure is raised."""
    bands = {"count": len(layers.names), "dtype": layers.dtype, "nodata": layers.nodata}
    with gdal(path) as rasterio:
        dataset = rasterio.open(path, "w+", driver="GTiff", **bands, **options)
    try:
        with gdal(path):
            _describe(dataset, layers)
        yield dataset
    except BaseException:
        with suppress(OSError), gdal(path):
            dataset.close()
        raise
    with gdal(path):
        dataset.close()


def _fill(dataset: "DatasetWriter", path: Path, strips: Iterable[NDArray[Any]], shape: tuple[int, int]) -> None:
    row = 0
    for rows in regrouped(strips, shape, BLOCK):
        with gdal(path) as rasterio:
            window = rasterio.windows.Window(0, row, shape[1], rows.shape[-2])
            dataset.write(rows.reshape(-1, *rows.shape[-2:]), window=window)
        row += rows.shape[-2]


def _georeference(place: Place | None) -> dict[str, object]:
    if place is None or place.transform is None:
        return {}
    rasterio = require_rasterio()
    try:
        crs = rasterio.crs.CRS.from_user_input(place.crs) if place.crs else None
    except rasterio.errors.CRSError as error:
        raise DataError(
            f"the coordinate system {shown(place.crs or '')[:120]} of the image is not known to PROJ "
            f"({shown(str(error))}). Give the image another one, or save label maps as PNG."
        ) from error
    return {"crs": crs, "transform": rasterio.Affine(*place.transform)}


def _describe(dataset: "DatasetWriter", layers: Layers) -> None:
    dataset.descriptions = layers.names
    if layers.scale != 1.0:
        dataset.scales = (layers.scale,) * len(layers.names)
    if layers.unit:
        dataset.units = (layers.unit,) * len(layers.names)
    if layers.tags:
        dataset.update_tags(**layers.tags)
    if layers.colours is not None:
        dataset.write_colormap(1, {index: tuple(map(int, colour)) for index, colour in enumerate(layers.colours)})


def _optimize(dataset: "DatasetWriter", scratch: Path, path: Path, levels: list[int]) -> None:
    """Copy a filled file, which is open still, into the layout of a COG."""
    if levels:  # in the scratch file: GDAL would make one more file for them
        with gdal(scratch) as rasterio:
            dataset.build_overviews(levels, rasterio.enums.Resampling.nearest)
    with gdal(path):
        copy = importlib.import_module("rasterio.shutil").copy
        copy(dataset, path, driver="COG", blocksize=BLOCK, num_threads="all_cpus", **_COMPRESSED)
