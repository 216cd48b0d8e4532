"""The symmetries and sizes of a square tile, over which predictions are averaged at test time."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

TTA = Literal["none", "flips", "d4"]
"""Nothing; the identity and the mirror images along the height, the width and both; or all eight symmetries."""

_HEIGHT, _WIDTH = -2, -1
_MULTIPLE = 32  # sides that every network can halve five times


class Symmetry(NamedTuple):
    """One of the eight symmetries of a square: a transposition, then mirrorings. All move pixels and change none.

    Attributes:
        transposed: rows become columns.
        mirrored: axes along which the result is mirrored.
    """

    transposed: bool
    mirrored: tuple[int, ...]

    def apply(self, tiles: Tensor) -> Tensor:
        """Move the pixels of square tiles (N, C, side, side), in the memory format of convolutions."""
        if self == IDENTITY:
            return tiles
        turned = tiles.transpose(_HEIGHT, _WIDTH) if self.transposed else tiles
        return turned.flip(self.mirrored).contiguous(memory_format=torch.channels_last)

    def undo(self, maps: Tensor) -> Tensor:
        """Move the pixels of maps (N, K, side, side) back, exactly."""
        back = maps.flip(self.mirrored) if self.mirrored else maps
        return back.transpose(_HEIGHT, _WIDTH) if self.transposed else back

    @classmethod
    def of(cls, kind: TTA) -> tuple[Self, ...]:
        """All symmetries of a kind of averaging, the identity first."""
        mirrorings: tuple[tuple[int, ...], ...] = ((), (_WIDTH,), (_HEIGHT,), (_HEIGHT, _WIDTH))
        transpositions = {"none": (), "flips": (False,), "d4": (False, True)}[kind]
        return tuple(cls(turned, axes) for turned in transpositions for axes in mirrorings) or (cls(False, ()),)


IDENTITY = Symmetry(False, ())


def sides_of(tile: int, scales: Sequence[float]) -> list[int]:
    """Return the sides of a tile at some scales in pixels: the nearest multiples of 32, its own at scale 1."""
    return [tile if scale == 1 else max(1, round(tile * scale / _MULTIPLE)) * _MULTIPLE for scale in scales]


def mean_over_passes(predict: Callable[[Tensor], Tensor], tiles: Tensor, tta: TTA, scales: Sequence[float]) -> Tensor:
    """Predict square tiles at each size in each symmetry, and average what comes back.

    Args:
        predict: from tiles (N, C, s, s) to maps (N, K, s, s), which it does not keep.
        tiles: (N, C, side, side).
        tta: the symmetries.
        scales: the sizes, as shares of `side`. What is enlarged or reduced goes back by the same interpolation, which
            keeps sums over the classes.

    Returns:
        (N, K, side, side).
    """
    symmetries, side = Symmetry.of(tta), tiles.shape[-1]
    total: Tensor | None = None
    for other in sides_of(side, scales):
        scaled = _resized(tiles, other)
        for symmetry in symmetries:
            found = _resized(symmetry.undo(predict(symmetry.apply(scaled))), side)
            total = found if total is None else total.add_(found)
    assert total is not None
    passes = len(scales) * len(symmetries)
    return total if passes == 1 else total.div_(passes)


def _resized(maps: Tensor, side: int) -> Tensor:
    """Bring square maps to another side by bilinear interpolation, averaged where they become smaller."""
    if maps.shape[-1] == side:
        return maps
    return interpolate(maps, (side, side), mode="bilinear", align_corners=False, antialias=side < maps.shape[-1])
