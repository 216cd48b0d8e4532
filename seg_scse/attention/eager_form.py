"""The block without a compiler: forward and backward pass written by hand.

Automatic differentiation of x c + x s keeps nothing but x and the gates, yet moves 33 maps of x's size through memory.
Here it is 18 (23 for `max`), most of them in the cache, because temporaries have the size of a piece (see `pieces`).
Scores, gates and sums are float32 whatever the map is.

With the gates c (N, 1, C) and s (N, P, 1), their merge G(c, s), the slopes c' and s' of the gates by their scores, the
spatial projection w, and the gradients g of the output and m of the channel means, the backward pass is

    dc = c' sum_P(g x dG/dc),   ds = s' sum_C(g x dG/ds),   dw = sum_NP(ds x),   gx = g G + ds w + m / P.

It reads x once and g twice.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_scse.attention.pieces import Piece, by_pixel, laid_out, project, sweep, wide, widened
from seg_scse.attention.reference import (
    FACTORS,
    ChannelWeights,
    Gates,
    Recipe,
    SpatialWeights,
    activate,
    full_precision,
    scse_reference,
)

_STEEP = 2.0**100
"""Makes a step of the logistic function: 0, 1/2 at 0, 1."""


class _State(NamedTuple):
    """What backward needs beside the map and the weights, in the wide dtype. A gate that is absent is 0."""

    mean: Tensor
    """(N, C)."""
    hidden: Tensor
    """(N, h), after the rectifier; h = 0 without a channel gate."""
    channel: Tensor
    """Gate (N, 1, C)."""
    spatial: Tensor
    """Gate (N, P, 1)."""


_Kept = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""A state, in which the spatial gate may be left out."""


def supports(x: Tensor, recipe: Recipe) -> bool:
    """Tell whether `scse_eager` computes a recipe: any but `concat` and channel gates that look at maxima."""
    return recipe.merge in FACTORS and recipe.squeeze == "avg" and x.numel() > 0


def scse_eager(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Tensor:
    """Compute the block; see `functional.scse`.

    A gradient of the gradient is computed by automatic differentiation of the reference.

    Args:
        x: (N, C, *spatial) in any float dtype. If neither its channels nor its pixels are innermost in memory without
            gaps, it is copied once.
        channel: weights of the channel gate, or None for a block without one.
        spatial: weights of the spatial gate, or None for a block without one.
        recipe: one that `supports` admits.

    Returns:
        (N, C, *spatial) in the dtype and memory format of x; so is the gradient of x.
    """
    if channel is None or spatial is None:
        recipe = recipe._replace(merge="add")  # with a gate of 0
    y: Tensor = _Block.apply(_dense(x), recipe, *_flat(channel, spatial))
    return y


def gates_eager(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Gates:
    """Compute the gates that `scse_eager` applies, without a graph; arguments as there."""
    with full_precision(x):
        state = _gates(by_pixel(_dense(x)), *_widened_weights(x, _flat(channel, spatial)), recipe)
    return Gates(
        None if channel is None else state.channel.view(*x.shape[:2], *(1 for _ in x.shape[2:])),
        None if spatial is None else state.spatial.view(x.shape[0], 1, *x.shape[2:]),
    )


def recalibrate_eager(x: Tensor, gates: Gates, recipe: Recipe) -> Tensor:
    """Apply gates as `scse_eager` applies its own, without a graph; a gate that is absent is 0 in the sum."""
    if gates.channel is None or gates.spatial is None:
        recipe = recipe._replace(merge="add")
    x = _dense(x)
    zero = x.new_zeros(1, 1, 1, dtype=wide(x))
    channel = zero.expand(len(x), 1, x.shape[1]) if gates.channel is None else gates.channel.flatten(1).unsqueeze(1)
    pixels = x[0, 0].numel()
    spatial = zero.expand(len(x), pixels, 1) if gates.spatial is None else gates.spatial.flatten(2).transpose(1, 2)
    y = torch.empty_like(x)
    _apply(by_pixel(x), _State(zero, zero, channel.to(zero.dtype), spatial.to(zero.dtype)), recipe, by_pixel(y))
    return y


def _dense(x: Tensor) -> Tensor:
    return laid_out(x, channels_last=x.stride(1) == 1 and not x.is_contiguous())


def _flat(channel: ChannelWeights | None, spatial: SpatialWeights | None) -> tuple[Tensor | None, ...]:
    """Return the weights of the two gates as the arguments of `_Block`."""
    return *(channel or (None,) * 4), *(spatial or (None,) * 2)


def _widened_weights(
    x: Tensor, weights: Sequence[Tensor | None]
) -> tuple[ChannelWeights | None, SpatialWeights | None]:
    """Return the weights of the two gates in the dtype in which x is summed."""
    return _unpack([None if weight is None else weight.to(wide(x)) for weight in weights])


def _unpack(weights: Sequence[Tensor | None]) -> tuple[ChannelWeights | None, SpatialWeights | None]:
    """Sort the arguments of `_Block` into the weights of the two gates."""
    squeeze, squeeze_bias, excite, excite_bias, projection, projection_bias = weights
    return (
        None if squeeze is None or excite is None else ChannelWeights(squeeze, squeeze_bias, excite, excite_bias),
        None if projection is None else SpatialWeights(projection, projection_bias),
    )


class _Block(torch.autograd.Function):
    """The whole block of a map without gaps and the six weights. Keeps x and the gates for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, recipe: Recipe, *weights: Tensor | None) -> Tensor:  # noqa: ANN401 - torch's context
        with full_precision(x):
            channel, spatial = _widened_weights(x, weights)
            state = _gates(by_pixel(x), channel, spatial, recipe)
            y = torch.empty_like(x)
            _apply(by_pixel(x), state, recipe, by_pixel(y))
        # The float32 gate of a narrow map would take as much memory as two of its channels: it is computed again.
        again = spatial is not None and x.dtype != wide(x)
        ctx.save_for_backward(x, *weights, *state[:3], None if again else state.spatial)
        ctx.recipe = recipe
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's context
        x, *tensors = ctx.saved_tensors  # once: under gradient checkpointing a second look is refused
        weights, kept = tensors[:6], tensors[6:]
        if torch.is_grad_enabled():  # a gradient of this gradient will be asked for
            return _differentiable_backward(x, weights, ctx.recipe, g)
        with full_precision(x):
            widened = [None if weight is None else weight.to(wide(x)) for weight in weights]
            gx, gradients = _backward(x, widened, kept, ctx.recipe, g)
        pairs = zip(gradients, weights, strict=True)
        return gx, None, *(None if weight is None else gradient.to(weight.dtype) for gradient, weight in pairs)


def _gates(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> _State:
    """Compute the gates of a map (N, P, C) by weights of the wide dtype."""
    sums = x.new_zeros(x.shape[0], x.shape[2], dtype=wide(x))
    per_pixel = x.new_zeros(*x.shape[:2], 1, dtype=wide(x))
    for piece, (array,) in sweep(x, 1):
        values = widened(x[piece], array)
        if channel is not None:
            sums[piece[0]] += values.sum(1)
        if spatial is not None:
            per_pixel[piece] = _spatial_gate(values, spatial, recipe)
    mean = sums / x.shape[1]
    hidden, per_channel = mean[:, :0], mean
    if channel is not None:
        hidden = torch.relu(F.linear(mean, channel.squeeze, channel.squeeze_bias))
        per_channel = activate(F.linear(hidden, channel.excite, channel.excite_bias), recipe.activation) * recipe.gain
    return _State(mean, hidden, per_channel.unsqueeze(1), per_pixel)


def _spatial_gate(values: Tensor, weights: SpatialWeights, recipe: Recipe) -> Tensor:
    """Return the spatial gate (n, p, 1) of a piece of the wide dtype."""
    scores = project(values, weights.project.unsqueeze(0))
    if weights.project_bias is not None:
        scores += weights.project_bias
    return activate(scores, recipe.activation) * recipe.gain


def _merge(state: _State, piece: Piece, recipe: Recipe, out: Tensor) -> Tensor:
    """Write G(c, s) of a piece to `out` (n, p, C)."""
    return FACTORS[recipe.merge](state.spatial[piece], state.channel[piece[0]], out=out)


def _apply(x: Tensor, state: _State, recipe: Recipe, y: Tensor) -> None:
    """Write x G to y, both (N, P, C)."""
    for piece, (array,) in sweep(x, 1):
        factor = y[piece] if y.dtype == array.dtype else array
        _merge(state, piece, recipe, factor).mul_(x[piece])
        if factor is array:  # rounded by a copy: an `out` of another dtype makes torch use a temporary
            y[piece].copy_(array)


def _backward(
    x: Tensor, weights: Sequence[Tensor | None], kept: _Kept, recipe: Recipe, g: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of x (N, C, *spatial) and of the six weights, some of which may mean nothing."""
    g = by_pixel(laid_out(g, channels_last=not x.is_contiguous()))
    channel, spatial = _unpack(weights)
    mean, hidden, per_channel, per_pixel = kept
    again = spatial if per_pixel is None else None
    per_pixel = g.new_empty(*g.shape[:2], 1, dtype=wide(x)) if per_pixel is None else per_pixel
    state = _State(mean, hidden, per_channel, per_pixel)
    excited, projected, projection = _reduce(by_pixel(x), g, state, recipe, again)
    mean, gradients = torch.zeros_like(state.mean), [state.mean] * 4
    if channel is not None:
        mean, gradients = _through_layers(excited, state, channel)
    row = torch.zeros_like(projection) if spatial is None else spatial.project
    gx = torch.empty_like(x)
    _spread(g, state, recipe, (projected, row, (mean / g.shape[1]).unsqueeze(1)), by_pixel(gx))
    return gx, [*gradients, projection, projected.sum().view(1)]


def _slope(gate: Tensor, recipe: Recipe) -> Tensor:
    """Return the derivative of a gate by its score, from the gate."""
    if recipe.activation == "sigmoid":
        return gate * (1 - gate / recipe.gain)
    return ((gate > 0) & (gate < recipe.gain)).to(gate.dtype) * (recipe.gain / 6)


def _shares(product: Tensor, state: _State, piece: Piece, recipe: Recipe, array: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of g x dG/dc over the pixels (n, 1, C) and of g x dG/ds over the channels (n, p, 1)."""
    channel, spatial = state.channel[piece[0]], state.spatial[piece]
    if recipe.merge == "mul":
        return torch.bmm(spatial.transpose(1, 2), product), project(product, channel)
    ones = torch.ones_like(channel)
    if recipe.merge == "add":
        return product.sum(1, keepdim=True), project(product, ones)
    difference = torch.sub(channel, spatial, out=array)
    # In one operation: g x where c > s, and half of it where they are equal, as torch.maximum has it.
    step = torch.ops.aten.softplus_backward.grad_input
    share = step(product, difference, _STEEP, 20.0, grad_input=difference)
    return share.sum(1, keepdim=True), project(product, ones) - project(share, ones)


def _reduce(
    x: Tensor, g: Tensor, state: _State, recipe: Recipe, again: SpatialWeights | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the channel scores (N, C), the spatial scores (N, P, 1) and the projection (1, C).

    Where the weights of the spatial gate are given, the gate is computed and written to the state.
    """
    per_channel, per_pixel = torch.zeros_like(state.channel), torch.empty_like(state.spatial)
    projection = torch.zeros_like(state.channel[:1, 0])
    for piece, (wide_x, product, array) in sweep(x, 3):
        values = widened(x[piece], wide_x)
        if again is not None:
            state.spatial[piece] = _spatial_gate(values, again, recipe)
        torch.mul(values, widened(g[piece], product), out=product)
        channel, spatial = _shares(product, state, piece, recipe, array)
        per_channel[piece[0]] += channel
        scores = torch.mul(spatial, _slope(state.spatial[piece], recipe), out=per_pixel[piece])
        projection += torch.bmm(scores.transpose(1, 2), values).sum(0)
    return (per_channel * _slope(state.channel, recipe)).squeeze(1), per_pixel, projection


def _through_layers(scores: Tensor, state: _State, weights: ChannelWeights) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of the means (N, C) and of the channel gate's weights, given that of its scores (N, C)."""
    hidden = (scores @ weights.excite) * (state.hidden > 0)
    gradients = [hidden.t() @ state.mean, hidden.sum(0), scores.t() @ state.hidden, scores.sum(0)]
    return hidden @ weights.squeeze, gradients


def _spread(g: Tensor, state: _State, recipe: Recipe, linear: tuple[Tensor, Tensor, Tensor], gx: Tensor) -> None:
    """Write g G + ds w + m to gx, both (N, P, C), given ds (N, P, 1), w (1, C) and m (N, 1, C)."""
    scores, row, mean = linear
    for piece, (gate, wide_g, array) in sweep(g, 3):
        target = gx[piece] if gx.dtype == array.dtype else array
        torch.addcmul(mean[piece[0]], scores[piece], row, out=target)
        target.addcmul_(widened(g[piece], wide_g), _merge(state, piece, recipe, gate))
        if target is array:
            gx[piece].copy_(array)


def _differentiable_backward(
    x: Tensor, weights: Sequence[Tensor | None], recipe: Recipe, g: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, the recipe (None) and the weights as differentiable functions of them and of g."""
    y = scse_reference(x, *_unpack(weights), recipe)
    inputs = [x, *weights]
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=True))
    gx, *gradients = (next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs)
    return gx, None, *gradients
