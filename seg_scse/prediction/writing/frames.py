"""The coordinates that polygons are written in: those of the map an image lies on, else its pixels."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.georeference import Transform
from seg_scse.data.files.raster import Place
from seg_scse.data.masks.geojson import LON_LAT
from seg_scse.data.names import shown
from seg_scse.errors import DataError

Geometries = NDArray[np.object_]
"""(N,), shapely polygons."""

_METRES = 111_320.0  # of a degree along the equator
_LEAST_DECIMALS, _MOST_DECIMALS = 7, 15  # of degrees: 1 cm, and what a float64 holds


@dataclass(frozen=True)
class Frame:
    """The coordinates that polygons are written in.

    Attributes:
        crs: reference system, None: pixels.
        transform: from pixels, as in `Place`.
        decimals: of degrees, by which a position is exact to a hundredth of a pixel or 1 cm, whichever is less.
    """

    crs: str | None = None
    transform: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    decimals: int = 1

    @classmethod
    def of(cls, place: Place | None) -> Self:
        """Return the map of an image that lies on one, else its pixels."""
        if place is None or place.crs is None or place.transform is None:
            return cls()
        degrees = min(place.spacing) / (1 if place.unit == "degree" else _METRES)
        decimals = 2 + math.ceil(-math.log10(degrees)) if degrees > 0 else _MOST_DECIMALS
        return cls(place.crs, place.transform, min(max(decimals, _LEAST_DECIMALS), _MOST_DECIMALS))

    def placed(self, polygons: Geometries) -> Geometries:
        """Bring polygons from pixels to these coordinates."""
        import shapely

        if self.crs is None:
            return polygons
        a, b, c, d, e, f = self.transform
        result: Geometries = shapely.transform(polygons, lambda xy: xy @ np.array([[a, d], [b, e]]) + np.array([c, f]))
        return result

    def require_degrees(self, path: Path, shape: tuple[int, int]) -> None:
        """Refuse a map that has no longitude and latitude, where GeoJSON is to be written.

        Raises:
            DataError: it is a local one, or a corner of the image has none.
        """
        from rasterio.env import Env
        from rasterio.warp import transform

        if self.crs is None:
            return
        a, b, c, d, e, f = self.transform
        corners = np.array([(a * x + b * y + c, d * x + e * y + f) for x in (0, shape[1]) for y in (0, shape[0])])
        try:
            with Env():  # else GDAL writes its errors to the terminal too
                found = np.isfinite(transform(self.crs, LON_LAT, corners[:, 0], corners[:, 1])).all()
        except Exception:  # PROJ and GDAL raise kinds that rasterio does not publish
            found = False
        if not found:
            raise DataError(
                f"{shown(path)}: GeoJSON has longitude and latitude, which cannot be told from the reference system "
                f"{shown(self.crs)[:120]}. Write a GeoPackage: --polygons gpkg."
            )
