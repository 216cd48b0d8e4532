"""Losses that are means over pixels: cross-entropy and focal, of all pixels or of the hardest."""

import torch
from torch import Tensor

from seg_scse.losses.regions import ratio

SMALLEST_ERROR = 1e-8
"""Lower bound of 1 - p in the focal loss: x ** gamma has an infinite slope at 0 for gamma < 1."""


def focal(cross_entropy: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma * -log p of the true class. Lin et al. 2017, arXiv 1708.02002, equation 4."""
    error = (-torch.expm1(-cross_entropy)).clamp_min(SMALLEST_ERROR)
    return error**gamma * cross_entropy


def pixel_mean(losses: Tensor, weights: Tensor, hardest: float = 1.0) -> Tensor:
    """Weighted mean of losses over pixels.

    Args:
        losses: float, any shape, >= 0 and finite where the weight is above 0.
        weights: of the same shape, >= 0; ignored pixels weigh 0.
        hardest: share in (0, 1] of the pixels that count: those with the largest weight times loss, see `hardest_of`.

    Returns:
        sum(weights * losses) / sum(weights) over the pixels that count; 0, with zero gradient, where no pixel has a
        weight.
    """
    if hardest < 1.0:
        weights = weights * hardest_of((weights * losses).detach(), weights > 0, hardest)
    return ratio((weights * losses).sum(), weights.sum())


def hardest_of(values: Tensor, counted: Tensor, share: float) -> Tensor:
    """Say by how much each pixel belongs to the hardest ones.

    Of the n pixels that are counted, the k = ceil(share n) with the largest values. Where several values equal the
    k-th largest one, they share the places that are left evenly, so that the sum of the values is that of any k largest
    and no pixel is preferred for its place. Computed by a sort: k depends on the data, and `torch.topk` would make the
    host wait for it.

    Args:
        values: float of any shape, >= 0 where counted.
        counted: boolean of this shape.
        share: in (0, 1].

    Returns:
        In the shape and dtype of `values`: 1 for the hardest, 0 for others, between them for ties; the sum is k.
    """
    # Below every counted value, so that what is not counted is sorted last.
    ranked = torch.where(counted, values, -1.0)
    # The share as a float, times n, may be above the whole number that is meant: 0.07 * 100 > 7.
    places = (counted.sum().double() * share - 1e-6).ceil().long()
    threshold = ranked.flatten().sort(descending=True).values.gather(0, (places - 1).clamp_min(0).view(1))
    above, level = ranked > threshold, ranked == threshold
    rest = (places - above.sum()).to(values.dtype) / level.sum().clamp_min(1).to(values.dtype)
    return above.to(values.dtype) + level.to(values.dtype) * rest
