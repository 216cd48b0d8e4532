"""Which sizes of images an exported network takes."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

STRIDE = 32
"""Most networks halve an image five times; sides must be multiples of this."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of images that an exported network takes; batches may have any number of them.

    Attributes:
        bands: channels of an image.
        tile: side of the tiles that the network was trained with.
        multiple: sides are multiples of this.
        fixed: whether images have the size of a tile and no other.
    """

    bands: int
    tile: int
    multiple: int
    fixed: bool = False

    @classmethod
    def of(cls, bands: int, tile: int) -> Self:
        """Sizes of a network for tiles of a side: multiples of 32, or of what of it divides the tile."""
        return cls(bands, tile, math.gcd(STRIDE, tile))

    def as_fixed(self) -> Self:
        """The same for tiles alone."""
        return replace(self, fixed=True)

    def example(self) -> Tensor:
        """A batch to follow through the network. No two of its sides are equal, for they would count as one."""
        if self.fixed:
            return torch.zeros(2, self.bands, self.tile, self.tile)
        side = max(self.tile, 2 * self.multiple)  # one step would be taken for the only possible one
        return torch.zeros(2, self.bands, side, side + self.multiple)

    def dynamic(self) -> tuple[dict[int, Any]]:
        """The argument `dynamic_shapes` of `torch.export.export`."""
        dim, batch = torch.export.Dim, {0: torch.export.Dim("batch", min=1)}
        if self.fixed:
            return (batch,)
        return ({**batch, 2: self.multiple * dim("rows", min=1), 3: self.multiple * dim("columns", min=1)},)

    def others(self) -> list[tuple[int, int, int]]:
        """Batch, height and width of inputs to check an exported network with."""
        if self.fixed:
            return [(1, self.tile, self.tile), (3, self.tile, self.tile)]
        step = self.multiple
        return [(2, self.tile, self.tile), (1, self.tile + 2 * step, self.tile), (3, self.tile, self.tile + 3 * step)]

    def text(self) -> str:
        """Say it in words."""
        if self.fixed:
            return f"{self.tile} x {self.tile}, and no other"
        return f"any, sides in multiples of {self.multiple}"
