"""Strips of an image: the rows that are finished when a row of tiles is predicted, and how they are blended.

What is in memory is one row of tiles, however high the image is. The weights of a tile are an outer product, so that
what they sum up to is one too, as long as no tile is left out: no map of the whole image has to be kept for it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seg_scse.inference.tiles import Grid

_TINY = 1e-30  # far below any weight: what nothing covers becomes 0


class Strip(NamedTuple):
    """Rows of an image whose probabilities are final.

    Attributes:
        rows: of the image, from `start` to before `stop`.
        probabilities: float32 (K', h, W), as `Network.probabilities` returns them, on the network's device.
        entropy: float32 (h, W) in nats where it was asked for: the mean over all passes (networks, symmetries, sizes)
            of the entropy of each, blended as the probabilities are. The entropy of the mean probabilities is never
            less; the difference is the disagreement of the passes.
    """

    rows: slice
    probabilities: Tensor
    entropy: Tensor | None = None


def as_strip(rows: slice, planes: Tensor, entropy: bool) -> Strip:
    """Name planes (K', h, W), behind which that of the entropy may be."""
    return Strip(rows, planes[:-1], planes[-1]) if entropy else Strip(rows, planes)


class Blender:
    """The weighted sum of tiles where later ones are still missing, and what their weights sum up to.

    Args:
        grid: the tiles of the image.
        axis: weights along one axis of a tile, float32 (tile,), on the device of the tiles.
        first: the row of tiles that comes first.
    """

    def __init__(self, grid: Grid, axis: Tensor, first: int) -> None:
        self._grid = grid
        # Where tiles have no neighbours along an axis they decide alone, to the last bit.
        self._down = axis if len(grid.tops) > 1 else torch.ones_like(axis)
        self._across = axis if len(grid.lefts) > 1 else torch.ones_like(axis)
        self._weights = self._down[:, None] * self._across
        self._next = first
        width = max(grid.width, grid.tile)
        self._norm = axis.new_zeros(grid.tile, width)
        self._total = axis.new_zeros(0, grid.tile, width)

    @property
    def planes(self) -> int:
        """How many planes a tile has; 0 as long as none was added."""
        return len(self._total)

    def reserve(self, planes: int) -> None:
        """Say how many planes a tile has."""
        self._total = self._norm.new_zeros(planes, *self._norm.shape)

    def add(self, tiles: Tensor, lefts: Sequence[int]) -> None:
        """Add tiles (N, planes, tile, tile) of the row of tiles that is next, by their first columns."""
        if not self.planes:
            self.reserve(tiles.shape[1])
        side = self._grid.tile
        for left, tile in zip(lefts, tiles, strict=True):
            self._total[:, :, left : left + side].addcmul_(tile, self._weights)

    def finish(self, lefts: Sequence[int]) -> Tensor:
        """Return the strip (planes, h, W) that the row of tiles completes, and go on to the next row.

        Args:
            lefts: first columns of all tiles that were added; what none of all rows covers is 0.
        """
        across, side = torch.zeros_like(self._norm[0]), self._grid.tile
        for left in lefts:
            across[left : left + side] += self._across
        self._norm.addcmul_(self._down[:, None], across)
        rows, width = self._grid.strips[self._next], self._grid.width
        height = rows.stop - rows.start
        found = self._total[:, :height, :width] / self._norm[:height, :width].clamp_min(_TINY)
        self._next += 1
        for sums in (self._total, self._norm):
            sums[..., : side - height, :] = sums[..., height:, :].clone()
            sums[..., side - height :, :] = 0
        return found


def joined(strips: Iterable[Strip], height: int) -> Tensor:
    """Put strips that follow each other from the first row on together: probabilities (K', H, W)."""
    whole: Tensor | None = None
    for strip in strips:
        found = strip.probabilities
        if found.shape[1] == height:
            return found
        if whole is None:
            whole = found.new_empty(len(found), height, found.shape[2])
        whole[:, strip.rows] = found
    assert whole is not None
    return whole


def covering(strips: Sequence[slice], wanted: Sequence[slice]) -> range:
    """Return the numbers of the strips that hold the rows of others, which follow each other."""
    first, last = wanted[0].start, wanted[-1].stop
    numbers = [number for number, rows in enumerate(strips) if rows.start < last and rows.stop > first]
    return range(numbers[0], numbers[-1] + 1)


def cut(strips: Iterator[Strip], wanted: Iterable[slice]) -> Iterator[Strip]:
    """Cut strips that follow each other into others that do, and that they cover."""
    parts: list[Strip] = []
    for rows in wanted:
        while not parts or parts[-1].rows.stop < rows.stop:
            parts.append(next(strips))
        parts = [part for part in parts if part.rows.stop > rows.start]
        yield parts[0] if parts[0].rows == rows else _together([_within(part, rows) for part in parts], rows)


def _within(strip: Strip, rows: slice) -> Strip:
    own = slice(max(rows.start, strip.rows.start), min(rows.stop, strip.rows.stop))
    inside = slice(own.start - strip.rows.start, own.stop - strip.rows.start)
    entropy = None if strip.entropy is None else strip.entropy[inside]
    return Strip(own, strip.probabilities[:, inside], entropy)


def _together(parts: Sequence[Strip], rows: slice) -> Strip:
    entropies = [part.entropy for part in parts if part.entropy is not None]
    entropy = torch.cat(entropies) if entropies else None
    return Strip(rows, torch.cat([part.probabilities for part in parts], 1), entropy)
