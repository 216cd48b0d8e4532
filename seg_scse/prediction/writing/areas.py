"""How large pixels are on the ground, and how many of them each class has.

A pixel is as large as its row says: every one of an image in pixels or on a flat map, and those of one latitude on a
grid of degrees.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.georeference import Transform
from seg_scse.data.files.raster import Place
from seg_scse.data.masks.geojson import LON_LAT
from seg_scse.inference.spacing import LENGTHS, Spacing

Floats = NDArray[np.float64]

_MEASURED_COLUMNS = 257  # of a row on a turned grid of degrees, at which its pixels are measured
_PARALLELS = re.compile(r'(?:PROJECTION|METHOD)\["(?:Mercator|Popular Visualisation|Equirectangular|Equidistant Cyl)')
_SPHEROID = re.compile(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",([\d.]+),([\d.]+)')
_VALUES = 256  # of a byte


class Ellipsoid(NamedTuple):
    """The shape of the earth, or of another body.

    Attributes:
        major: half of the axis through the equator, metres.
        flattening: by what share of it the poles are nearer.
    """

    major: float
    flattening: float


WGS84 = Ellipsoid(6378137.0, 1 / 298.257223563)


class Areas(NamedTuple):
    """How large the pixels of an image are.

    Attributes:
        rows: float64 (H,), area of one pixel of each row.
        unit: of the areas: `px`, `m2` or `mm2`; of voxels `m3` or `mm3`.
    """

    rows: Floats
    unit: str

    def thick(self, thickness: float) -> "Areas":
        """Return the volumes of voxels of a thickness in the same unit of length; pixels are counted as before."""
        if not self.unit.endswith("2"):
            return self
        return Areas(self.rows * thickness, f"{self.unit[:-1]}3")


def pixel_areas(place: Place | None, shape: tuple[int, int], spacing: Spacing | None = None) -> Areas:
    """Tell how large the pixels of each row are.

    - A projected map: the size of a pixel on the map in metres (feet are converted). Mercator and equirectangular maps,
      such as those of web maps, enlarge with the latitude: there it is the size on the ellipsoid.
    - Degrees (or grads): the size on the ellipsoid of the system; on a turned grid, the mean of each row.
    - Medical files, or a configured spacing: height times width.
    - Anything else, or a map without rasterio to read its unit with: 1 px.

    Args:
        place: of the image.
        shape: `(H, W)`.
        spacing: as configured; comes before what the file says.
    """
    if spacing is not None:
        return _constant(spacing.height * spacing.width, shape, _squared(spacing.unit))
    if place is None:
        return _constant(1.0, shape, "px")
    if place.crs is not None and place.transform is not None:
        found = _on_map(place.crs, place.transform, *shape)
        return Areas(found, "m2") if found is not None else _constant(1.0, shape, "px")
    if place.unit in LENGTHS:
        return _constant(place.spacing[0] * place.spacing[1], shape, _squared(place.unit))
    return _constant(1.0, shape, "px")


def cell_areas(latitudes: Floats, width: float, ellipsoid: Ellipsoid = WGS84) -> Floats:
    """Area of cells between meridians and parallels.

    The surface from the equator to a latitude is that of J. P. Snyder, *Map Projections: A Working Manual* (1987),
    equation 3-12: `q` times half the square of the major axis times the difference of longitude.

    Args:
        latitudes: `(..., 2)` of the two parallels of each cell, degrees.
        width: difference of the longitudes, degrees.
        ellipsoid: on which they lie.

    Returns:
        Square metres, `(...)`.
    """
    squared = ellipsoid.flattening * (2 - ellipsoid.flattening)
    eccentricity = np.sqrt(squared)
    sine = np.sin(np.radians(np.clip(latitudes, -90, 90)))
    bent = np.arctanh(eccentricity * sine) / eccentricity if eccentricity else sine  # which it is on a sphere
    q = (1 - squared) * (sine / (1 - squared * sine**2) + bent)
    areas: Floats = ellipsoid.major**2 / 2 * abs(np.radians(width)) * np.abs(np.diff(q, axis=-1)[..., 0])
    return areas


def _constant(area: float, shape: tuple[int, int], unit: str) -> Areas:
    return Areas(np.full(shape[0], area), unit)


def _squared(unit: str) -> str:
    return unit if unit == "px" else f"{unit}2"


def _of_one(transform: Transform) -> float:
    a, b, _, d, e, _ = transform
    return abs(a * e - b * d)


def _on_map(crs: str, transform: Transform, height: int, width: int) -> Floats | None:
    """Square metres of a pixel of each row, or None where that is not known."""
    try:
        from rasterio.crs import CRS
        from rasterio.env import Env
    except ImportError:
        return None
    try:
        with Env():  # else GDAL writes its errors to the terminal too
            system = CRS.from_user_input(crs)
            wkt = system.to_wkt()
            if system.is_geographic:
                unit = math.degrees(system.units_factor[1])
                a, b, c, d, e, f = (value * unit for value in transform)
                return _in_degrees((a, b, c, d, e, f), height, width, _ellipsoid(wkt))
            if _PARALLELS.search(wkt) and _upright(transform):
                return _on_parallels(wkt, transform, height)
            factor = system.linear_units_factor[1] if system.is_projected else None
    except Exception:  # PROJ and GDAL raise kinds that rasterio does not publish
        return None
    return None if factor is None else np.full(height, _of_one(transform) * factor**2)


def _ellipsoid(wkt: str) -> Ellipsoid:
    found = _SPHEROID.search(wkt)
    if found is None:
        return WGS84
    major, inverse = map(float, found.groups())
    return Ellipsoid(major, 1 / inverse if inverse else 0.0)


def _upright(transform: Transform) -> bool:
    return transform[1] == transform[3] == 0


def _in_degrees(transform: Transform, height: int, width: int, ellipsoid: Ellipsoid) -> Floats:
    a, _, _, d, e, f = transform
    edges = np.arange(height + 1, dtype=np.float64) * e + f
    if _upright(transform):
        return cell_areas(_pairs(edges), a, ellipsoid)
    columns = np.linspace(0, width - 1, min(width, _MEASURED_COLUMNS)) + 0.5
    centres = (edges[:-1, None] + e / 2) + columns * d
    high = max(abs(d), abs(e))  # a cell of the same area around the centre of the pixel
    cells = np.stack([centres - high / 2, centres + high / 2], axis=-1)
    means: Floats = cell_areas(cells, _of_one(transform) / high, ellipsoid).mean(axis=1)
    return means


def _beneath(wkt: str) -> str:
    """Find the system of longitude and latitude, of whatever body, that a map is a projection of."""
    start = wkt.find("GEOGCS[")
    if start < 0:
        return LON_LAT
    depths = np.cumsum([(sign == "[") - (sign == "]") for sign in wkt[start + len("GEOGCS") :]])
    return wkt[start : start + len("GEOGCS") + int(np.argmin(depths > 0)) + 1]


def _on_parallels(wkt: str, transform: Transform, height: int) -> Floats:
    """A map whose rows are parallels: its latitudes come from its rows alone, and its longitudes from its columns."""
    from rasterio.warp import transform as reproject

    a, _, c, _, e, f = transform
    edges = np.arange(height + 1, dtype=np.float64) * e + f
    degrees = _beneath(wkt)
    latitudes = np.array(reproject(wkt, degrees, np.full(len(edges), c), edges)[1])
    ends = reproject(wkt, degrees, [c, c + a], [f, f])[0]
    width = (ends[1] - ends[0] + 180) % 360 - 180  # across the date line too
    return cell_areas(_pairs(latitudes), width, _ellipsoid(degrees))


def _pairs(edges: Floats) -> Floats:
    return np.stack([edges[:-1], edges[1:]], axis=-1)


@dataclass(frozen=True)
class ClassCounts:
    """What a label map holds; those of strips are added.

    Attributes:
        pixels: of each class.
        area: of each class, in the unit of `Areas`.
        nodata: pixels without data.
    """

    pixels: tuple[int, ...]
    area: tuple[float, ...]
    nodata: int

    @classmethod
    def none(cls, classes: int) -> Self:
        """Return the counts of nothing, to which others are added."""
        return cls((0,) * classes, (0.0,) * classes, 0)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            tuple(a + b for a, b in zip(self.pixels, other.pixels, strict=True)),
            tuple(a + b for a, b in zip(self.area, other.area, strict=True)),
            self.nodata + other.nodata,
        )

    def record(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the counts that `record` gave, exactly."""
        return cls(tuple(record["pixels"]), tuple(record["area"]), record["nodata"])


def count_classes(
    labels: NDArray[np.uint8], rows: Floats, classes: int, task: str, nodata: int | None = 255
) -> ClassCounts:
    """Count the pixels of each class, and their areas.

    Args:
        labels: uint8 `(h, W)`, a label map or a strip of one: class indices, or bits (`multilabel`): bit k - 1 is set
            where class k is, and none where class 0 is.
        rows: float64 `(h,)`, area of a pixel of each row.
        classes: their number.
        task: `binary`, `multiclass` or `multilabel`.
        nodata: value of pixels without data, or None where it is a label like any other.
    """
    histogram = np.empty((len(labels), _VALUES), np.int64)
    for row, values in enumerate(labels):  # a row at a time stays in the processor's cache as the integers it becomes
        histogram[row] = np.bincount(values, minlength=_VALUES)
    lacking = 0
    if nodata is not None:
        lacking = int(histogram[:, nodata].sum())
        histogram[:, nodata] = 0
    members = class_members(classes, task)
    pixels, area = histogram.sum(0), rows @ histogram
    return ClassCounts(
        tuple(int(pixels[one].sum()) for one in members), tuple(float(area[one].sum()) for one in members), lacking
    )


def class_members(classes: int, task: str) -> NDArray[np.bool_]:
    """Tell which values of a label map mean that a class is there.

    Args:
        classes: their number K.
        task: `multilabel`: values are bits; else class indices.

    Returns:
        bool `(K, 256)`.
    """
    values, indices = np.arange(_VALUES), np.arange(classes)[:, None]
    members: NDArray[np.bool_] = values == indices
    if task == "multilabel":
        members[1:] = values >> (indices[1:] - 1) & 1
    return members
