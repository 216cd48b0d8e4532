"""GeoJSON files: polygons on the map, brought onto the pixels of an image that knows where it lies."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.georeference import Transform
from seg_scse.data.files.raster import Place
from seg_scse.data.masks.burning import Box, Polygon, clipped, divided
from seg_scse.data.names import shown
from seg_scse.errors import DataError

LON_LAT = "OGC:CRS84"
"""RFC 7946: longitude and latitude in degrees, WGS 84."""

_SLACK = 1e-6  # degrees beyond 180 and 90 that rounding may cause
_SPARE = 0.01  # of the image's size: how much more than the image is looked at
_PIECES = 64  # an edge across the image is divided into this many: 0.01 pixels off on a tile of 100 km at 10 m


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        record: where it is, such as `features[3]`.
        properties: as in the file.
        polygons: rings `(N, 2)` in the coordinates of the file.
        bounds: least x and y, greatest x and y.
    """

    record: str
    properties: dict[str, Any]
    polygons: list[Polygon]
    bounds: Box

    def label(self, field: str) -> str | None:
        """Its class, a text or a number; None where it has none."""
        found = self.properties.get(field)
        return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else None


@dataclass(frozen=True)
class Features:
    """All features, and the coordinate reference system they are in."""

    crs: str
    features: list[Feature]

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        return np.array([feature.bounds for feature in self.features]).reshape(-1, 4)

    def touching(self, boxes: Sequence[Box]) -> list[Feature]:
        """Features whose bounds touch a box: one file may hold a whole country."""
        ends = self._bounds
        touch = [(ends[:, 2:] >= box[:2]).all(1) & (ends[:, :2] <= box[2:]).all(1) for box in boxes]
        return [self.features[at] for at in np.flatnonzero(np.any(touch, axis=0))]

    def counts(self, field: str) -> Counter[str]:
        """Number of features of each class."""
        return Counter(label for feature in self.features if (label := feature.label(field)) is not None)


def parse_geojson(path: Path, document: dict[str, Any]) -> Features:
    """Take the polygons out of a GeoJSON document.

    Raises:
        DataError: something other than polygons, coordinates that are none, or degrees out of range.
    """
    crs = _crs(path, document)
    features = [_feature(path, *found) for found in _members(path, document)]
    if crs == LON_LAT:
        _check_degrees(path, features)
    return Features(crs, features)


def _crs(path: Path, document: dict[str, Any]) -> str:
    """The reference system: that of the old `crs` member, else that of RFC 7946."""
    if "crs" not in document:
        return LON_LAT
    member = document["crs"]
    properties = member.get("properties") if isinstance(member, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not name:
        raise DataError(
            f"{shown(path)}: its crs member {shown(repr(member))[:120]} names no coordinate reference system. "
            "Reproject the file to longitude and latitude (WGS 84) and leave the member out."
        )
    return LON_LAT if name.upper().endswith(":CRS84") else name


def _members(path: Path, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], object]]:
    """Yield record, properties and geometry of each feature."""
    if document["type"] not in ("FeatureCollection", "Feature"):
        yield "geometry", {}, document
        return
    found = document.get("features") if document["type"] == "FeatureCollection" else [document]
    if not isinstance(found, list):
        raise DataError(f"{shown(path)}: its features are no list.")
    for at, feature in enumerate(found):
        record = f"features[{at}]"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise DataError(f"{shown(path)}, {record}: is no object of type Feature.")
        properties = feature.get("properties")
        yield record, properties if isinstance(properties, dict) else {}, feature.get("geometry")


def _feature(path: Path, record: str, properties: dict[str, Any], geometry: object) -> Feature:
    where = f"{shown(path)}, {record}"
    polygons = list(_polygons(geometry, where))
    corners = np.concatenate([ring for polygon in polygons for ring in polygon])
    low, high = corners.min(0).tolist(), corners.max(0).tolist()
    return Feature(record, properties, polygons, (low[0], low[1], high[0], high[1]))


def _polygons(geometry: object, where: str) -> Iterator[Polygon]:
    """Yield the polygons of a geometry; collections are opened without recursion, however deep they are."""
    waiting = [geometry]
    while waiting:
        one = waiting.pop()
        kind = one.get("type") if isinstance(one, dict) else None
        found = one.get("geometries" if kind == "GeometryCollection" else "coordinates") if isinstance(one, dict) else 0
        if kind not in ("Polygon", "MultiPolygon", "GeometryCollection") or not isinstance(found, list) or not found:
            raise DataError(
                f"{where}: {'has no geometry' if one is None else f'is {shown(repr(kind))[:80]}'}; only Polygon and "
                "MultiPolygon with coordinates (and collections of them) fill an area. Remove it, or draw its area."
            )
        if kind == "GeometryCollection":
            waiting += found
        elif kind == "Polygon":
            yield _rings(found, where)
        else:
            yield from (_rings(part, where) for part in found)


def _rings(rings: object, where: str) -> Polygon:
    if not isinstance(rings, list) or not rings:
        raise DataError(f"{where}: a polygon is a list of rings, not {shown(repr(rings))[:80]}.")
    return [_ring(ring, where) for ring in rings]


def _ring(ring: object, where: str) -> NDArray[np.float64]:
    try:
        corners = np.asarray([position[:2] for position in ring], np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError, KeyError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise DataError(f"{where}: a ring is a list of at least 3 positions [x, y], not {shown(repr(ring))[:80]}.")
    return corners


def _check_degrees(path: Path, features: list[Feature]) -> None:
    for feature in features:
        west, south, east, north = feature.bounds
        if west < -180 - _SLACK or east > 180 + _SLACK or south < -90 - _SLACK or north > 90 + _SLACK:
            raise DataError(
                f"{shown(path)}, {feature.record}: x from {west:g} to {east:g} and y from {south:g} to {north:g} are "
                "no longitudes and latitudes, which GeoJSON has unless a crs member says otherwise. Reproject the "
                "file to WGS 84, or write it with its crs member."
            )


def on_pixels(
    path: Path, data: Features, place: Place | None, shape: tuple[int, int]
) -> list[tuple[Feature, list[Polygon]]]:
    """Give the features that may touch an image, in pixels. Their edges are straight in the coordinates of the file.

    Args:
        path: the file, for messages.
        data: its features.
        place: where the image lies.
        shape: `(H, W)` of the image.

    Returns:
        Features and what of their polygons is on or near the image: x from 0 to W, y from 0 to H inside it.

    Raises:
        DataError: the image does not say where it lies, or a reference system is unknown.
    """
    if place is None or place.crs is None or place.transform is None:
        raise DataError(
            f"{shown(path)}: is GeoJSON, whose coordinates lie on the map, but the image does not say where it lies. "
            "Use a georeferenced image, or polygons in pixels (COCO)."
        )
    try:
        import rasterio
    except ImportError as error:
        raise DataError(
            f'{shown(path)}: GeoJSON is placed by rasterio, which is missing. Run `pip install "seg-scse[geo]"`.'
        ) from error
    try:
        with rasterio.Env():  # else GDAL writes its errors to the terminal too
            boxes = _boxes(data.crs, place.crs, place.transform, shape)
            near = ((feature, _near(feature, boxes)) for feature in data.touching(boxes))
            return [(one, _in_pixels(parts, data.crs, place.crs, place.transform)) for one, parts in near if parts]
    except Exception as error:  # PROJ and GDAL raise kinds that rasterio does not publish
        raise DataError(
            f"{shown(path)}: cannot be brought from {shown(data.crs)} to {shown(place.crs)[:120]} "
            f"({shown(str(error))[:200]})."
        ) from error


def _boxes(source: str, target: str, transform: Transform, shape: tuple[int, int]) -> list[Box]:
    """The image and a little more, in the coordinates of the file; two boxes across the date line."""
    from rasterio.warp import transform_bounds

    a, b, c, d, e, f = transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, shape[1]) for y in (0, shape[0])]
    xs, ys = zip(*corners, strict=True)
    west, south, east, north = transform_bounds(target, source, min(xs), min(ys), max(xs), max(ys), densify_pts=21)
    if not np.isfinite([west, south, east, north]).all():
        raise ValueError("the image has no coordinates there")
    spare = _SPARE * max((east - west) % 360 if west > east else east - west, north - south)
    low, high = (west - spare, south - spare), (east + spare, north + spare)
    if west > east:
        return [(*low, 180.0, high[1]), (-180.0, low[1], *high)]
    return [(*low, *high)]


def _near(feature: Feature, boxes: list[Box]) -> list[Polygon]:
    """What of a feature is in the boxes: a country must not be reprojected as a whole, nor an edge by its ends."""
    longest = min(max(east - west, north - south) for west, south, east, north in boxes) / _PIECES
    parts = (clipped(polygon, box) for polygon in feature.polygons for box in boxes)
    return [[divided(ring, longest) for ring in part] for part in parts if part]


def _in_pixels(polygons: list[Polygon], source: str, target: str, transform: Transform) -> list[Polygon]:
    from rasterio.warp import transform as reproject

    rings = [ring for polygon in polygons for ring in polygon]
    corners = np.concatenate(rings)
    found = np.array(reproject(source, target, corners[:, 0], corners[:, 1]))
    if not np.isfinite(found).all():
        raise ValueError("a corner has no coordinates there")
    a, b, c, d, e, f = transform
    pixels = np.linalg.solve(np.array([[a, b], [d, e]]), found - np.array([[c], [f]])).T
    parts = iter(np.split(pixels, np.cumsum([len(ring) for ring in rings])[:-1]))
    return [[next(parts) for _ in polygon] for polygon in polygons]
