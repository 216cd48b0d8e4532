"""The regions of a label map as polygons: GeoJSON for the web and for viewers of microscopy, GeoPackage for maps."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.raster import Place
from seg_scse.data.masks.geojson import LON_LAT
from seg_scse.errors import ConfigError
from seg_scse.prediction.writing.areas import Areas, Floats, pixel_areas
from seg_scse.prediction.writing.frames import Frame
from seg_scse.prediction.writing.outlines import DEFAULT_SIMPLIFY, Outliner
from seg_scse.prediction.writing.regions import Regions, find_regions, map_shape
from seg_scse.prediction.writing.vector_files import Column, FeatureTable, write_geojson, write_geopackage
from seg_scse.report.overlays import class_colour

POLYGON_SUFFIXES = (".geojson", ".gpkg")
"""Name ends of files of polygons."""

_LIBRARIES = ("rasterio", "shapely", "pyogrio")
_IN_PIXELS = "Coordinates are pixels: x to the right and y downwards from the upper left corner of the image."
_IN_DEGREES = "Coordinates are longitude and latitude in degrees, WGS 84."
_PIXEL_CRS = (  # GeoPackage: no system of the earth must be claimed, and of none at all pyogrio warns
    'ENGCRS["Pixels: x to the right, y downwards",EDATUM["Upper left corner of the image"],CS[Cartesian,2],'
    'AXIS["x",east,ORDER[1]],AXIS["y",south,ORDER[2]],LENGTHUNIT["pixel",1]]'
)
_NONE = Regions(np.empty(0, np.int32), np.empty(0, np.object_))  # a file without regions has its columns nevertheless


@dataclass
class _Features:
    """Regions on their way to a file, numbered from 1.

    Attributes:
        outliner: measures and simplifies them.
        frame: the coordinates.
        classes: names of all classes.
        geojson: whether the file is GeoJSON; GeoPackage else.
        count: of the regions so far.
    """

    outliner: Outliner
    frame: Frame
    classes: Sequence[str]
    geojson: bool
    count: int = 0

    def tables(self, found: Iterable[Regions]) -> Iterator[FeatureTable]:
        """Yield a table for each batch of regions."""
        for batch in found:
            regions, areas = self.outliner.outlined(batch)
            columns = self._columns(regions.classes, areas)
            self.count += len(areas)
            yield FeatureTable(self.frame.placed(regions.polygons), columns, self._crs())

    def _crs(self) -> str:
        if self.frame.crs is not None:
            return self.frame.crs
        return LON_LAT if self.geojson else _PIXEL_CRS  # the writer of GeoJSON leaves degrees, or such, as they are

    def _columns(self, indices: NDArray[np.int32], areas: Floats) -> dict[str, Column]:
        columns: dict[str, Column] = {
            "id": np.arange(self.count + 1, self.count + 1 + len(areas)),
            "class": _texts(self.classes, indices),
            "class_index": indices,
            "area": areas,
            "area_unit": _texts([self.outliner.areas.unit], np.zeros_like(indices)),
        }
        if self.geojson and self.frame.crs is None:
            styles = [json.dumps({"name": name, "color": class_colour(k)}) for k, name in enumerate(self.classes)]
            columns["objectType"] = _texts(["annotation"], np.zeros_like(indices))
            columns["classification"] = _texts(styles, indices)
        return columns


def _texts(texts: Sequence[str], indices: NDArray[np.int32]) -> Column:
    return np.array(texts, np.object_)[indices]


def require_polygons() -> None:
    """Refuse to go on without the libraries that polygons need.

    Raises:
        ConfigError: one is not installed.
    """
    lacking = [name for name in _LIBRARIES if find_spec(name) is None]
    if lacking:
        raise ConfigError(
            f"polygons need {', '.join(lacking)}, which is not installed. Run "
            '`pip install "seg-scse[geo]"`, or save no polygons.'
        )


def write_polygons(
    path: Path,
    label_map: Path | NDArray[np.uint8],
    place: Place | None,
    classes: Sequence[str],
    task: str,
    *,
    areas: Areas | None = None,
    simplify: float = DEFAULT_SIMPLIFY,
    min_area: float = 0.0,
    nodata: int | None = 255,
) -> int:
    """Write each connected region of a label map as a polygon with its holes; complete or absent.

    Each has the properties `id` (from 1), `class` (its name), `class_index`, `area` (of its pixels, also where its
    outline is simplified) and `area_unit`. The background, class 0, and pixels without data are no regions.

    Args:
        path: ends with `.geojson`: RFC 7946, longitude and latitude in WGS 84; or with `.gpkg`: the reference system of
            the image. Without a reference system both are in pixels, x to the right and y downwards, and GeoJSON has
            what QuPath reads.
        label_map: uint8 `(H, W)` of class indices or, for `multilabel`, bits (regions of different labels may overlap);
            or a PNG or TIFF file of it, which is read row by row.
        place: of the image.
        classes: names of all classes.
        task: `binary`, `multiclass` or `multilabel`.
        areas: of the pixels; None: from `place`.
        simplify: largest distance in pixels between a corner and the simplified outline; 0: the edges of the pixels.
        min_area: regions of fewer pixels are left out.
        nodata: value of pixels without data, or None.

    Returns:
        The number of polygons.

    Raises:
        ConfigError: a library is not installed.
        DataError: the label map cannot be read, or GeoJSON is asked for in a reference system that has no degrees.
        WriteError: the file cannot be written.
    """
    require_polygons()
    geojson, shape, frame = path.suffix.lower() == ".geojson", map_shape(label_map), Frame.of(place)
    if geojson:
        frame.require_degrees(path, shape)
    features = _Features(Outliner(areas or pixel_areas(place, shape), simplify, min_area), frame, classes, geojson)
    tables = features.tables(chain([_NONE], find_regions(label_map, len(classes), task, nodata)))
    if geojson:
        write_geojson(path, tables, frame.decimals, _IN_PIXELS if frame.crs is None else _IN_DEGREES)
    else:
        write_geopackage(path, tables)
    return features.count
