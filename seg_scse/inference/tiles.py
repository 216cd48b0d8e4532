"""Tiles of an image that is larger than the training crop, and the weights that blend them without seams."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, Self

import torch
from torch import Tensor

Blend = Literal["linear", "gaussian"]

_IN_MARGIN = 1e-6  # weights there are this many times smaller: seen only where no other tile reaches
_LEAST = 1e-3  # of a Gaussian, so that the corners of a tile keep float32's precision
_SIGMA = 0.125  # of a tile


def tile_starts(size: int, tile: int, overlap: float) -> list[int]:
    """Return first pixels of the fewest evenly spread tiles that cover an axis with at least the overlap.

    Args:
        size: pixels along the axis, at least `tile`.
        tile: side of a tile in pixels.
        overlap: smallest share of a tile covered by its neighbour, in [0, 1).
    """
    if size <= tile:
        return [0]
    stride = max(1, int(tile * (1.0 - overlap)))
    count = math.ceil((size - tile) / stride) + 1
    return [round(index * (size - tile) / (count - 1)) for index in range(count)]


def blend_axis(tile: int, overlap: float, blend: Blend = "linear", margin: int = 0) -> Tensor:
    """Return the weights along one axis of a tile; those of the tile are the outer product of two such axes.

    A prediction near a tile's border has seen less of its surroundings, so it counts less.

    Args:
        tile: side of a tile in pixels.
        overlap: share of a tile covered by its neighbour.
        blend: `linear`: 1 inside, falling linearly over the overlap to above 0; `gaussian`: exp(-d^2 / (2 s^2)) of the
            distance d from the middle, s = tile / 8, at least 0.001, as in nnU-Net (Isensee et al., Nature Methods
            2021) and MONAI.
        margin: pixels at both ends that count a millionth of that, so that another tile decides where there is one; at
            the border of an image there is none.

    Returns:
        float32 (tile,), above 0.
    """
    position = torch.arange(tile, dtype=torch.float32)
    if blend == "gaussian":
        distance = (position - (tile - 1) / 2) / (_SIGMA * tile)
        weights = distance.square_().mul_(-0.5).exp_().clamp_(min=_LEAST)
    else:
        ramp = max(1, round(tile * overlap))
        weights = torch.minimum(position, tile - 1 - position).add_(1.0).div_(ramp + 1).clamp_(max=1.0)
    if margin:
        weights[:margin] *= _IN_MARGIN
        weights[-margin:] *= _IN_MARGIN
    return weights


@dataclass(frozen=True)
class Grid:
    """Where the tiles of an image lie, and the strips of rows that are finished together.

    Strip k is what lies between the starts of the rows of tiles k and k + 1: it is finished once row k is predicted.

    Attributes:
        height: of the image in pixels.
        width: of the image in pixels.
        tile: side of a tile in pixels. Sides smaller than that are padded to it.
        tops: first row of each row of tiles.
        lefts: first column of each tile of a row.
    """

    height: int
    width: int
    tile: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int, tile: int, overlap: float) -> Self:
        """Lay the fewest tiles over an image, with at least the overlap."""
        tops, lefts = (tuple(tile_starts(size, tile, overlap)) for size in (height, width))
        return cls(height, width, tile, tops, lefts)

    @cached_property
    def strips(self) -> list[slice]:
        """The rows of each strip."""
        return [slice(top, bottom) for top, bottom in pairwise((*self.tops, self.height))]

    def reaching(self, strips: range) -> range:
        """Return the rows of tiles that reach into strips, which follow each other and are at least one."""
        first = strips[0]
        while first and self.tops[first - 1] + self.tile > self.tops[strips[0]]:
            first -= 1
        return range(first, strips[-1] + 1)
