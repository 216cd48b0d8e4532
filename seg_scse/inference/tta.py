"""The symmetries of a square tile, over which predictions are averaged at test time."""

from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

TTA = Literal["none", "flips", "d4"]
"""Nothing; the identity and the mirror images along the height, the width and both; or all eight symmetries."""

_HEIGHT, _WIDTH = -2, -1


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
