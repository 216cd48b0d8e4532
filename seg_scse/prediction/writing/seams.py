"""Regions of a label map that was outlined in bands of rows, joined where the bands meet.

Outlines of pixels have whole numbers for corners, so what two bands share cancels exactly: no geometry is computed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(n, 2) corners x and y; the last one is the first."""

MOST_CORNERS = 1 << 22
"""Of all regions under way where two bands meet; with more they are all cut there. A polygon of so many is some 100 MB
of GeoJSON; GDAL refuses to read one of more than 200 MB."""


@dataclass
class Region:
    """A region, or what is known of it so far.

    Attributes:
        value: of its pixels.
        shells: outer rings of its parts, one in each band or several; a single one where it lies in one band.
        holes: rings of its holes so far. A hole that reached a seam would be open there, so that none has to be joined.
    """

    value: int
    shells: list[Ring]
    holes: list[Ring]

    @property
    def corners(self) -> int:
        """Corners of all rings."""
        return sum(map(len, self.shells)) + sum(map(len, self.holes))


class Seams:
    """Regions that reach the lower end of the bands so far."""

    def __init__(self, rows: int, width: int) -> None:
        """Start above the first band.

        Args:
            rows: of each band; the last one may be lower.
            width: of the image.
        """
        self._rows, self._width = rows, width
        self._open: list[Region] = []
        self._owners = np.full(width, -1)  # of the pixels of the last row: places in `_open`
        self._corners = 0

    def joined(self, parts: Sequence[Region], top: int, bottom: int | None) -> Iterator[Region]:
        """Add those regions of a band that reach its ends, and yield those that end in it.

        Args:
            parts: of the band.
            top: its first row.
            bottom: the row behind its last one; None: there is no further band.
        """
        regions = [*self._open, *parts]
        groups = self._groups(regions, parts, top)
        owners = np.full(self._width, -1) if bottom is None else self._places(parts, bottom)
        reaching = owners >= 0
        owners[reaching] = groups[owners[reaching] + len(self._open)]
        alive, owners[reaching] = np.unique(owners[reaching], return_inverse=True)
        merged: dict[int, Region] = {}
        for group, region in zip(groups.tolist(), regions, strict=True):
            first = merged.setdefault(group, region)
            if first is not region:
                first.shells += region.shells
                first.holes += region.holes
        self._corners += sum(part.corners for part in parts)
        self._open, self._owners = [merged.pop(group) for group in alive.tolist()], owners
        yield from self._finished(merged.values())
        if self._corners > MOST_CORNERS:
            cut, self._open, self._owners = self._open, [], np.full(self._width, -1)
            yield from self._finished(cut)

    def _groups(self, regions: Sequence[Region], parts: Sequence[Region], top: int) -> NDArray[np.int64]:
        """Number the regions anew: those that share an edge of pixels of one value at the seam are one."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        above, below = self._owners, self._places(parts, top)
        both = (above >= 0) & (below >= 0)
        above, below = above[both], below[both] + len(self._open)
        values = np.array([region.value for region in regions], np.int64)
        same = values[above] == values[below]
        links = coo_array((np.ones(same.sum(), np.bool_), (above[same], below[same])), shape=(len(regions),) * 2)
        groups: NDArray[np.int64] = connected_components(links, directed=False)[1] if regions else values
        return groups

    def _places(self, parts: Sequence[Region], row: int) -> NDArray[np.int64]:
        """Tell which part each pixel along a line between two rows belongs to; -1: none."""
        places = np.full(self._width, -1)
        for place, part in enumerate(parts):
            (shell,) = part.shells
            along = np.flatnonzero((shell[:-1, 1] == row) & (shell[1:, 1] == row))
            for one, other in zip(shell[along, 0].astype(int), shell[along + 1, 0].astype(int), strict=True):
                places[min(one, other) : max(one, other)] = place
        return places

    def _finished(self, regions: Iterable[Region]) -> Iterator[Region]:
        for region in regions:
            self._corners -= region.corners
            if len(region.shells) == 1:
                yield region
            else:
                shell, *holes = _stitched(region.shells, self._rows)
                yield Region(region.value, [shell], region.holes + holes)


def _stitched(shells: Sequence[Ring], rows: int) -> list[Ring]:
    """Join outer rings of parts of one region: its outer ring, and the holes that its parts enclose together.

    Args:
        shells: of the parts.
        rows: of a band.
    """
    rings = [_steps(shell[:-1] if _turn(shell) > 0 else shell[:0:-1], rows) for shell in shells]
    firsts = np.zeros(sum(map(len, rings)), np.bool_)  # corners that begin a ring
    firsts[np.cumsum([0, *map(len, rings[:-1])])] = True
    corners = np.concatenate(rings)
    following = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    shared = _shared(corners, following, rows)
    begins = np.flatnonzero(~shared & (firsts | np.roll(shared, 1)))
    ends = np.flatnonzero(~shared & (np.roll(firsts, -1) | np.roll(shared, -1)))
    runs = [corners[begin : end + 1] for begin, end in zip(begins, ends, strict=True)]
    after = np.empty(len(runs), np.int64)
    after[np.argsort(_keys(following[ends]))] = np.argsort(_keys(corners[begins]))
    found = [simple for loop in _loops(runs, after) for simple in _simple(_without_steps(loop))]
    return sorted(found, key=_turn, reverse=True)  # the outer ring is the only one that turns to the other side


def _turn(ring: Ring) -> float:
    """Twice the area of a closed ring, with the sign of its direction."""
    x, y = ring.T - ring[0][:, None]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1])


def _steps(ring: Ring, rows: int) -> Ring:
    """Divide the edges along seams of an open ring into those of single pixels."""
    way = np.roll(ring, -1, axis=0) - ring
    along = (ring[:, 1] % rows == 0) & (way[:, 1] == 0)
    counts = np.where(along, np.abs(way[:, 0]), 1).astype(np.int64)
    steps = np.repeat(ring, counts, axis=0)
    walked = np.arange(len(steps)) - np.repeat(np.cumsum(counts) - counts, counts)
    steps[:, 0] += walked * np.repeat(np.sign(way[:, 0]), counts)
    return steps


def _shared(starts: Ring, ends: Ring, rows: int) -> NDArray[np.bool_]:
    """Tell which edges are there twice: those of pixels of this region on both sides of a seam."""
    along = np.flatnonzero((starts[:, 1] % rows == 0) & (starts[:, 1] == ends[:, 1]))
    _, places, counts = np.unique(
        _keys(np.minimum(starts[along], ends[along])), return_inverse=True, return_counts=True
    )
    shared = np.zeros(len(starts), np.bool_)
    shared[along] = counts[places] == 2
    return shared


def _keys(corners: Ring) -> NDArray[np.int64]:
    x, y = corners.T.astype(np.int64)
    keys: NDArray[np.int64] = (y << 32) + x
    return keys


def _loops(runs: Sequence[Ring], after: NDArray[np.int64]) -> Iterator[Ring]:
    """Follow each run of corners by the one that begins where it ends."""
    left = np.ones(len(runs), np.bool_)
    for first in range(len(runs)):
        loop, run = [], first
        while left[run]:
            left[run] = False
            loop.append(runs[run])
            run = int(after[run])
        if loop:
            yield np.concatenate(loop)


def _without_steps(ring: Ring) -> Ring:
    """Leave out the corners of an open ring at which it does not turn."""
    before, behind = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    turning: Ring = ring[~((before == ring) & (ring == behind)).any(axis=1)]
    return turning


def _simple(ring: Ring) -> Iterator[Ring]:
    """Divide an open ring that comes to the same corner again into closed rings that do not."""
    _, places, counts = np.unique(_keys(ring), return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[places] > 1)
    if not len(again):
        yield _closed([ring])
        return
    way: list[Ring] = []
    seen: dict[int, int] = {}  # corners on the way, and where
    ring, places = np.roll(ring, -again[0], axis=0), np.roll(places, -again[0])
    again -= again[0]
    for corner, part in zip(places[again].tolist(), np.split(ring, again[1:]), strict=True):
        if corner in seen:
            at = seen[corner]
            yield _closed(way[at:])
            del way[at:]
            seen = {other: place for other, place in seen.items() if place < at}
        seen[corner] = len(way)
        way.append(part)
    yield _closed(way)


def _closed(parts: Sequence[Ring]) -> Ring:
    return np.concatenate([*parts, parts[0][:1]])
