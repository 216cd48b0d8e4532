"""Rows of tiles of an image, each pixel read once and ahead of its use."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.inference.tiles import Grid

_PIECE = 1 << 22
"""Pixels that are read at a time: of a wide scene a part of a row of tiles, which would else be there twice."""

Skip = Callable[[slice, slice], bool]
"""Told rows and columns of a tile, cut at the image's edge: whether it need not be computed."""


class TileRow(NamedTuple):
    """A row of tiles.

    Attributes:
        number: of the row.
        pixels: (tile, at least a tile and the image's width, C); smaller images are padded by reflection.
        lefts: first columns of those of its tiles that are computed.
    """

    number: int
    pixels: Array
    lefts: tuple[int, ...]


def tile_rows(image: ArrayLike, grid: Grid, numbers: range, skip: Skip | None = None) -> Generator[TileRow]:
    """Read rows of tiles, each in a thread while the one before it is used; what is in memory is used as it lies there.

    Args:
        image: (H, W, C).
        grid: its tiles.
        numbers: which rows of tiles, one after the other.
        skip: which tiles are left out; asked in the thread that reads, after the row of tiles was read.
    """
    rows = _rows(image, grid, numbers, skip)
    return rows if isinstance(image, np.ndarray) or len(numbers) == 1 else _ahead(rows)


def _rows(image: ArrayLike, grid: Grid, numbers: range, skip: Skip | None) -> Generator[TileRow]:
    kept, kept_from = np.empty((0, *image.shape[1:]), image.dtype), 0
    for number in numbers:
        top = grid.tops[number]
        bottom = min(top + grid.tile, grid.height)
        if isinstance(image, np.ndarray):
            pixels: Array = image[top:bottom]
        else:
            pixels = _read(image, top, bottom, kept[top - kept_from :])
        kept, kept_from = pixels, top
        yield TileRow(number, padded(pixels, grid.tile), _lefts(grid, slice(top, bottom), skip))


def _read(image: ArrayLike, top: int, bottom: int, known: Array) -> Array:
    """Put the first rows, which are known, and those in the file together; by pieces, so that they are there once."""
    pixels: Array = np.empty((bottom - top, *image.shape[1:]), image.dtype)
    pixels[: len(known)] = known
    tall = max(1, _PIECE // image.shape[1])
    for start in range(top + len(known), bottom, tall):
        stop = min(start + tall, bottom)
        pixels[start - top : stop - top] = image[start:stop, :]
    return pixels


def _lefts(grid: Grid, rows: slice, skip: Skip | None) -> tuple[int, ...]:
    if skip is None:
        return grid.lefts
    columns = [slice(left, min(left + grid.tile, grid.width)) for left in grid.lefts]
    return tuple(each.start for each in columns if not skip(rows, each))


def stacked(images: Sequence[ArrayLike], tile: int) -> Array:
    """Bring images that fit into a tile together (N, tile, tile, C): uint8, or float32 in [0, 1] where one is."""
    pixels = [padded(np.asarray(image), tile) for image in images]
    if len({each.dtype for each in pixels}) > 1:
        pixels = [each.astype(np.float32) / np.float32(255) if each.dtype == np.uint8 else each for each in pixels]
    return np.stack(pixels)


def padded(image: Array, tile: int) -> Array:
    """Continue an image (H, W, C) below and to the right by reflection, to sides of at least a tile."""
    height, width = image.shape[:2]
    if min(height, width) >= tile:
        return image
    # numpy repeats the reflection where the padding is larger than the image; one pixel has no reflection.
    bottom, right = max(0, tile - height), max(0, tile - width)
    image = np.pad(image, ((0, bottom), (0, 0), (0, 0)), mode="reflect" if height > 1 else "edge")
    return np.pad(image, ((0, 0), (0, right), (0, 0)), mode="reflect" if width > 1 else "edge")


def _ahead(rows: Generator[TileRow]) -> Generator[TileRow]:
    with ThreadPoolExecutor(1, "rows") as pool:
        coming = pool.submit(next, rows, None)
        while (row := coming.result()) is not None:
            coming = pool.submit(next, rows, None)
            yield row
