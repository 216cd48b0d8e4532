"""Where a GeoTIFF lies, from its header alone (OGC GeoTIFF 1.1); no side file such as `.tfw` or `.aux.xml` is read."""

import math

from seg_scse.data.files.raster import Place
from seg_scse.data.files.tiff import TiffHeader

_SCALE, _TIE_POINTS, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED, _VERTICAL = 1025, 2048, 3072, 4096
_LINEAR_UNIT, _METRE, _POINT, _USER_DEFINED = 3076, 9001, 2, 32767

Transform = tuple[float, float, float, float, float, float]


def _keys(header: TiffHeader) -> dict[int, int]:
    """Short values of the directory of keys: key, place of the value (0: here), count, value."""
    values = header.tags.get(_KEYS, ())
    rows = [values[at : at + 4] for at in range(4, len(values) - 3, 4)]
    return {int(key): int(value) for key, place, _, value in rows if place == 0}


def _transform(header: TiffHeader, point: bool) -> Transform | None:
    scale, ties, matrix = (header.tags.get(tag, ()) for tag in (_SCALE, _TIE_POINTS, _MATRIX))
    if len(scale) >= 2 and len(ties) >= 6 and scale[0] and scale[1]:
        a, b, d, e = float(scale[0]), 0.0, 0.0, -abs(float(scale[1]))
        c, f = float(ties[3]) - float(ties[0]) * a, float(ties[4]) - float(ties[1]) * e
    elif len(matrix) == 16:
        a, b, c, d, e, f = (float(matrix[at]) for at in (0, 1, 3, 4, 5, 7))
    else:
        return None
    if point:  # the coordinates are those of the centre of the first pixel
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return a, b, c, d, e, f


def _crs(keys: dict[int, int]) -> tuple[str | None, str]:
    projected, geographic = keys.get(_PROJECTED, 0), keys.get(_GEOGRAPHIC, 0)
    if keys.get(_VERTICAL):  # a second code, for heights
        projected = geographic = _USER_DEFINED
    if _PROJECTED in keys:
        unit = "m" if keys.get(_LINEAR_UNIT) == _METRE else "unknown"
        return (f"EPSG:{projected}" if 0 < projected < _USER_DEFINED else None), unit
    return (f"EPSG:{geographic}" if 0 < geographic < _USER_DEFINED else None), "degree" if geographic else "unknown"


def place_of(header: TiffHeader) -> Place | None:
    """Return the georeference of a GeoTIFF, or None where it has none (tie points alone are none).

    The coordinate system is named by its EPSG code. One without a code is None here: it needs GDAL, see
    `raster_files.named_place`.
    """
    keys = _keys(header)
    transform = _transform(header, keys.get(_RASTER_TYPE) == _POINT)
    if transform is None:
        return None
    crs, unit = _crs(keys)
    a, b, _, d, e, _ = transform
    return Place(crs, transform, (math.hypot(b, e), math.hypot(a, d)), unit)


def has_unnamed_crs(header: TiffHeader) -> bool:
    """Tell whether the file has a coordinate system that no single EPSG code names."""
    keys = _keys(header)
    return _crs(keys)[0] is None and (_PROJECTED in keys or _GEOGRAPHIC in keys)
