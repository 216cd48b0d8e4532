"""The connected regions of a label map as polygons of pixels.

A file is read and outlined in bands of rows: GDAL holds all outlines of what it is given, 200 bytes for each corner.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import decoding
from seg_scse.data.names import shown
from seg_scse.errors import DataError
from seg_scse.prediction.writing.areas import class_members
from seg_scse.prediction.writing.seams import Region, Ring, Seams

_MOST_REGIONS = 4096  # that are handed on together
_MOST_CORNERS = 1 << 20  # of them, after which no further region is added

_BAND = 1 << 21  # pixels that are outlined at once

Table = NDArray[np.uint8]
"""(256,): what each value of a label map is for one search; 0 is no part of a region."""


class Regions(NamedTuple):
    """Some regions.

    Attributes:
        classes: int32 (N,), class index of each.
        polygons: object (N,), shapely polygons with x from 0 to W and y from 0 to H, y downwards; corners are corners
            of pixels. Valid, with their holes.
    """

    classes: NDArray[np.int32]
    polygons: NDArray[np.object_]


def find_regions(label_map: Path | NDArray[np.uint8], classes: int, task: str, nodata: int | None) -> Iterator[Regions]:
    """Yield the regions of a label map: pixels of one class that share edges; a corner alone joins nothing.

    Args:
        label_map: uint8 `(H, W)` of class indices or, for `multilabel`, bits, in which regions may overlap; or a PNG
            or TIFF file of it.
        classes: their number; class 0 has no regions.
        task: `binary`, `multiclass` or `multilabel`.
        nodata: value of pixels without data, or None.

    Raises:
        DataError: the file cannot be read.
    """
    for table, offset in _searches(classes, task, nodata):
        for regions in _batches(_regions(label_map, table)):
            indices = np.array([region.value for region in regions], np.int32) + offset
            yield Regions(indices, _polygons([[*region.shells, *region.holes] for region in regions]))


def _batches(regions: Iterator[Region]) -> Iterator[list[Region]]:
    batch: list[Region] = []
    corners = 0
    for region in regions:
        batch.append(region)
        corners += region.corners
        if len(batch) == _MOST_REGIONS or corners >= _MOST_CORNERS:
            yield batch
            batch, corners = [], 0
    if batch:
        yield batch


def _searches(classes: int, task: str, nodata: int | None) -> Iterator[tuple[Table, int]]:
    """Yield how the map is searched, and what is added to a value that is found: once, or once for each label."""
    members = class_members(classes, task)
    if nodata is not None:
        members[:, nodata] = False
    if task == "multilabel":
        for index in range(1, classes):
            yield members[index].astype(np.uint8), index - 1
    else:
        yield np.where(members[1:].any(0), np.arange(256), 0).astype(np.uint8), 0


def _regions(label_map: Path | NDArray[np.uint8], table: Table) -> Iterator[Region]:
    """Outline equal values of `table`, where they are not 0."""
    height, width = map_shape(label_map)
    rows = max(1, _BAND // width)
    seams = Seams(rows, width)
    for top, values in zip(range(0, height, rows), _bands(label_map, rows), strict=True):
        bottom = top + rows if top + rows < height else None
        reaching: list[Region] = []
        for region in _outlined(table[values], top):
            heights = region.shells[0][:, 1]
            ends = (top > 0 and heights.min() == top, heights.max() == bottom)
            if any(ends):
                reaching.append(region)
            else:
                yield region
        yield from seams.joined(reaching, top, bottom)


def _outlined(values: NDArray[np.uint8], top: int) -> Iterator[Region]:
    """Outline the regions of one band; it is its own mask, so that what is 0 is not outlined."""
    from rasterio.env import Env
    from rasterio.features import shapes

    with Env():
        for geometry, value in shapes(values, mask=values, connectivity=4):
            shell, *holes = (np.add(ring, (0, top)) for ring in geometry["coordinates"])
            yield Region(int(value), [shell], holes)


def _bands(label_map: Path | NDArray[np.uint8], rows: int) -> Iterator[NDArray[np.uint8]]:
    """Read a label map from the top to the bottom."""
    height, width = map_shape(label_map)
    if isinstance(label_map, Path):
        from rasterio.windows import Window

        with decoding, _opened(label_map) as dataset:
            for top in range(0, height, rows):
                yield dataset.read(1, window=Window(0, top, width, min(rows, height - top)))
    else:
        yield from (label_map[top : top + rows] for top in range(0, height, rows))


def map_shape(label_map: Path | NDArray[np.uint8]) -> tuple[int, int]:
    """Return `(H, W)` of a label map.

    Raises:
        DataError: its file cannot be read.
    """
    if not isinstance(label_map, Path):
        return label_map.shape[0], label_map.shape[1]
    with decoding, _opened(label_map) as dataset:
        return dataset.height, dataset.width


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.Env(), rasterio.open(path) as dataset:
            yield dataset
    except RasterioError as error:
        raise DataError(
            f"{shown(path)}: cannot be read to outline its regions ({shown(str(error))[:200]}). Write it again."
        ) from error


def _polygons(outlines: list[list[Ring]]) -> NDArray[np.object_]:
    """Make the polygons of at least one region, all at once."""
    import shapely

    rings = [ring for outline in outlines for ring in outline]
    ring_ends = np.cumsum([0, *(len(ring) for ring in rings)])
    outline_ends = np.cumsum([0, *(len(outline) for outline in outlines)])
    polygons: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.concatenate(rings), (ring_ends, outline_ends)
    )
    return polygons
