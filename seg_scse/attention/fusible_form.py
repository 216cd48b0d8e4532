"""The block for a compiler: products and sums only, which it fuses into a few kernels.

A convolution with one output channel cannot be fused with its neighbours, so the spatial gate's projection is a product
and a sum; and since the compiler forms the full-size gate G(c, s) in registers, x is read once to apply it. Everything
is float32 (or float64) between one widening of x and one rounding of y, which cost no pass over memory either.
"""

import torch
from torch import Tensor

from seg_scse.attention.reference import (
    FACTORS,
    ChannelWeights,
    Gates,
    Recipe,
    SpatialWeights,
    activate,
    channel_gate,
    full_precision,
)


def supports(recipe: Recipe) -> bool:
    """Tell whether `scse_fusible` computes a recipe: any but `concat`."""
    return recipe.merge != "concat"


def scse_fusible(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Tensor:
    """Compute the block; see `functional.scse`.

    Args:
        x: (N, C, *spatial) in any float dtype.
        channel: weights of the channel gate, or None for a block without one.
        spatial: weights of the spatial gate, or None for a block without one.
        recipe: one that `supports` admits.

    Returns:
        (N, C, *spatial) in the dtype of x.
    """
    with full_precision(x):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        gates = Gates(
            None if channel is None else channel_gate(wide, channel, recipe),
            None if spatial is None else _spatial_gate(wide, spatial, recipe),
        )
        return (wide * _merged(gates, recipe)).to(x.dtype)


def _spatial_gate(x: Tensor, weights: SpatialWeights, recipe: Recipe) -> Tensor:
    ones = (1,) * (x.dim() - 2)
    # One row for each sample: so the row's gradient sums over the pixels of a sample, as the channel gate's does, and
    # the compiler computes the two in one sweep.
    rows = weights.project.expand(x.shape[0], -1).view(x.shape[0], -1, *ones)
    scores = (x * rows).sum(1, keepdim=True)
    if weights.project_bias is not None:
        scores = scores + weights.project_bias.view(1, 1, *ones)
    return activate(scores, recipe.activation) * recipe.gain


def _merged(gates: Gates, recipe: Recipe) -> Tensor:
    """Return G(c, s), which the compiler never stores."""
    alone = [gate for gate in gates if gate is not None]
    if len(alone) == 1:
        return alone[0]
    return FACTORS[recipe.merge](*alone)
