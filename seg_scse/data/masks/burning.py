"""Polygons to pixels: a pixel belongs to a polygon when its centre is inside. And polygons cut to a box."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import decoding
from seg_scse.errors import DataError

Ring = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""Least x and y, greatest x and y."""

Polygon = Sequence[Ring]
"""Rings of corners `(N, 2)`: x and y in pixels, pixel (row 0, column 0) from 0 to 1; the first is the outline, the
others are holes."""

_FURTHEST = 1e9  # beyond this, a corner's position is no longer exact to a fraction of a pixel

_ASIDE = 1.0  # pixels from the origin to the grid: GDAL warns where they are the same, as if one were forgotten
_LEAST = 4  # positions of a closed ring; fewer enclose nothing, and annotators do leave such dots behind


def burn(polygons: Sequence[Polygon], shape: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Unite polygons of an image; parts that lie outside are cut off.

    Args:
        polygons: corners in pixels. Rings need not be closed.
        shape: `(H, W)`.
        where: the file, for messages.

    Returns:
        bool `(H, W)`: where the centre of a pixel is inside by the even-odd rule.

    Raises:
        DataError: rasterio is not installed, or a corner is absurdly far away.
    """
    try:
        from rasterio.features import rasterize
        from rasterio.transform import Affine
    except ImportError as error:
        raise DataError(
            f'{where}: polygons are filled by rasterio, which is missing. Run `pip install "seg-scse[geo]"`.'
        ) from error
    for ring in (ring for polygon in polygons for ring in polygon):
        if np.abs(ring).max() > _FURTHEST:
            raise DataError(
                f"{where}: a corner of a polygon is {np.abs(ring).max():g} pixels from the image. Correct it."
            )
    closed = [[_closed(ring) for ring in polygon] for polygon in polygons]
    areas = [[ring for ring in rings if len(ring) >= _LEAST] for rings in closed if len(rings[0]) >= _LEAST]
    if not areas:
        return np.zeros(shape, np.bool_)
    shapes = [{"type": "Polygon", "coordinates": rings} for rings in areas]
    aside = Affine.translation(_ASIDE, _ASIDE)
    with decoding:  # rasterio silences a warning of its own in a way that other threads undo
        filled: NDArray[np.uint8] = rasterize(
            shapes, out_shape=shape, fill=0, default_value=1, dtype="uint8", transform=aside
        )
    return filled.astype(np.bool_)


def _closed(ring: Ring) -> list[list[float]]:
    corners: list[list[float]] = (ring + _ASIDE).tolist()
    return corners if corners[0] == corners[-1] else [*corners, corners[0]]


def clipped(polygon: Polygon, box: Box) -> Polygon:
    """Cut a polygon to a box: parts of it that are joined outside become joined along the edge of the box.

    Args:
        polygon: rings, need not be closed.
        box: in the same coordinates.

    Returns:
        The rings that are left; none where the polygon does not reach into the box.
    """
    rings: list[Ring] = []
    for ring in polygon:
        for at in range(4):
            ring = _half(ring, at % 2, box[at], 1.0 if at < 2 else -1.0)
        if len(ring) > 2:
            rings.append(ring)
    return rings


def _half(ring: Ring, axis: int, limit: float, sign: float) -> Ring:
    """Cut a ring (Sutherland and Hodgman): what is left has `sign * ring[:, axis] >= sign * limit`."""
    step = np.roll(ring, -1, axis=0) - ring
    inside = sign * (ring[:, axis] - limit) >= 0
    crosses = inside != np.roll(inside, -1)
    share = np.zeros(len(ring))
    np.divide(limit - ring[:, axis], step[:, axis], out=share, where=crosses)
    corners = np.stack([ring, ring + share[:, None] * step], axis=1)
    kept: Ring = corners[np.stack([inside, crosses], axis=1)]
    return kept


def divided(ring: Ring, longest: float) -> Ring:
    """Divide edges that are longer in x or y, so that a curved map bends them."""
    step = np.roll(ring, -1, axis=0) - ring
    pieces = np.maximum(np.ceil(np.abs(step).max(1) / longest), 1).astype(np.int64)
    edge = np.repeat(np.arange(len(ring)), pieces)
    share = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[edge]
    finer: Ring = ring[edge] + share[:, None] * step[edge]
    return finer
