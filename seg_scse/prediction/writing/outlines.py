"""Outlines of regions as they are written: how large they are, and without the steps of the pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seg_scse.prediction.writing.areas import Areas, Floats
from seg_scse.prediction.writing.frames import Geometries
from seg_scse.prediction.writing.regions import Regions

DEFAULT_SIMPLIFY = 0.75
"""Pixels; a little more than half the diagonal of a pixel (0.71), which is how far the steps of a slanting border are
from a straight line."""

_CHANGED = 0.05  # of its size: a small region or hole that simplifying changes more keeps the edges of its pixels
_LEAST = 4  # corners of a closed ring
_CLEAR = 0.05  # pixels by which any corner may be off without making the polygon invalid


@dataclass(frozen=True)
class Outliner:
    """Measures and simplifies regions.

    Attributes:
        areas: of the pixels of the label map.
        simplify: largest distance in pixels between a corner and the simplified outline; 0: nothing is simplified.
        min_area: regions of fewer pixels are left out.
    """

    areas: Areas
    simplify: float
    min_area: float

    def outlined(self, regions: Regions) -> tuple[Regions, Floats]:
        """Leave out small regions and simplify the others.

        Returns:
            The regions that are left, their polygons valid and still in pixels; and their areas: the sum of the areas
            of their pixels, float64 (N,), whatever simplifying does.
        """
        import shapely

        pixels = shapely.area(regions.polygons)
        large = pixels >= self.min_area
        classes, polygons = regions.classes[large], regions.polygons[large]
        return Regions(classes, self._simplified(polygons)), self._measured(polygons)

    def _simplified(self, polygons: Geometries) -> Geometries:
        """Simplify each ring for itself (Douglas and Peucker, 1973).

        GEOS can keep the rings of a polygon from crossing meanwhile, in a time that grows faster than the scene. They
        seldom cross; where they do, or come so close that they could once their coordinates are rounded, the outline
        of the pixels is kept.
        """
        import shapely

        if not self.simplify:
            return polygons
        rings, owners = shapely.get_rings(polygons, return_index=True)
        simple = shapely.simplify(rings, self.simplify, preserve_topology=False)
        sizes, simple_sizes = _sizes(rings), _sizes(simple)
        simple = np.where(np.abs(simple_sizes - sizes) <= _CHANGED * sizes, simple, rings)
        outlines = _joined(simple, np.bincount(owners, minlength=len(polygons)))
        kept = shapely.is_valid(outlines) & (shapely.minimum_clearance(outlines) >= _CLEAR)
        result: Geometries = np.where(kept, outlines, polygons)
        return result

    def _measured(self, polygons: Geometries) -> Floats:
        """Stretch each row to the area of its pixels: the plane's area then is the sum of those of the pixels."""
        import shapely

        lines = np.arange(len(self._heights))
        stretched = shapely.transform(
            polygons, lambda xy: np.stack([xy[:, 0], np.interp(xy[:, 1], lines, self._heights)], axis=1)
        )
        areas: Floats = shapely.area(stretched)
        return areas

    @cached_property
    def _heights(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.areas.rows)])


def _sizes(rings: Geometries) -> Floats:
    """Pixels that each ring encloses; 0 where nothing is left of it."""
    import shapely

    closed = shapely.get_num_coordinates(rings) >= _LEAST
    sizes = np.zeros(len(rings))
    sizes[closed] = shapely.area(shapely.polygons(rings[closed]))
    return sizes


def _joined(rings: Geometries, counts: NDArray[np.int64]) -> Geometries:
    """Make polygons of rings, `counts` of them each."""
    import shapely

    corners, ring_counts = shapely.get_coordinates(rings), shapely.get_num_coordinates(rings)
    ends = tuple(np.concatenate([[0], np.cumsum(each)]) for each in (ring_counts, counts))
    polygons: Geometries = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners, ends)
    return polygons
