"""Tiles of an image that is larger than the training crop, and the weights that blend them without seams."""

import math

import torch
from torch import Tensor


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


def blend_window(tile: int, overlap: float) -> Tensor:
    """Return the weights along one axis of a tile: 1 inside, falling linearly over the overlap to above 0.

    A prediction near a tile's border has seen less of its surroundings, so it counts less. The weights of a tile are
    the outer product of two such axes; float32 of shape (tile,).
    """
    ramp = max(1, round(tile * overlap))
    position = torch.arange(tile, dtype=torch.float32)
    return torch.minimum(position, tile - 1 - position).add_(1.0).div_(ramp + 1).clamp_(max=1.0)
