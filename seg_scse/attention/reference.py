"""The arithmetic of squeeze-and-excitation in plain operations: the form that the faster ones are compared with.

Feature maps are (N, C, *spatial) with one to three spatial dimensions.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Merge = Literal["add", "max", "mul", "concat"]
Squeeze = Literal["avg", "max", "avg+max"]
Activation = Literal["sigmoid", "hard_sigmoid"]


class Gates(NamedTuple):
    """The gates of one feature map (N, C, *spatial); None where a block has no gate of that kind."""

    channel: Tensor | None
    """(N, C, 1, ...) float32 or float64."""
    spatial: Tensor | None
    """(N, 1, *spatial) float32 or float64."""


class ChannelWeights(NamedTuple):
    """The two layers of a channel gate: squeeze (h, C), (h,) and excite (C, h), (C,)."""

    squeeze: Tensor
    squeeze_bias: Tensor | None
    excite: Tensor
    excite_bias: Tensor | None


class SpatialWeights(NamedTuple):
    """The projection of a spatial gate: (1, C), (1,)."""

    project: Tensor
    project_bias: Tensor | None


class Recipe(NamedTuple):
    """What a block does with its weights.

    `gain` scales each gate (see `gates`).
    """

    merge: Merge = "add"
    squeeze: Squeeze = "avg"
    activation: Activation = "sigmoid"
    gain: float = 1.0


FACTORS: dict[str, Callable[..., Tensor]] = {"add": torch.add, "max": torch.maximum, "mul": torch.mul}
"""The one factor G(c, s) that two gates come to, so that the block is x G; `concat` has none."""


def _is_channels_last(x: Tensor) -> bool:
    """Tell whether the channels are the innermost dimension in memory (and the order matters)."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def _largest(channel_gate: Tensor, spatial_gate: Tensor, like: Tensor) -> Tensor:
    """Return max(c, s) at full size in the layout of `like`: broadcasting alone would always give NCHW."""
    if _is_channels_last(like):
        gate = torch.maximum(channel_gate.movedim(1, -1), spatial_gate.movedim(1, -1)).movedim(-1, 1)
    else:
        gate = torch.maximum(channel_gate, spatial_gate)
    # Compared in the gates' float32 and rounded afterwards: in bfloat16, ties would send gradients the wrong way.
    return gate.to(like.dtype)


def recalibrate(x: Tensor, channel_gate: Tensor | None, spatial_gate: Tensor | None, merge: Merge) -> Tensor:
    """Scale a feature map by gates; see `functional.recalibrate`.

    The output has the memory format of x, and the gradient that of the output's gradient: x comes first in each
    product, and c + s is never formed, because it would be a full-size NCHW tensor kept for the backward pass.
    """
    if channel_gate is None or spatial_gate is None:
        gate = spatial_gate if channel_gate is None else channel_gate
        if gate is None:
            raise ValueError("recalibrate needs a channel gate, a spatial gate, or both.")
        return x * gate.to(x.dtype)
    if merge == "max":
        return x * _largest(channel_gate, spatial_gate, x)
    channel, spatial = channel_gate.to(x.dtype), spatial_gate.to(x.dtype)
    if merge == "mul":
        return x * channel * spatial
    if merge == "concat":
        return torch.cat((x * channel, x * spatial), dim=1)
    if merge == "add":
        # In place, two passes fewer, where no graph needs the first product.
        return x * channel + x * spatial if torch.is_grad_enabled() else (x * channel).addcmul_(x, spatial)
    raise ValueError(f"merge = {merge!r}: must be add, max, mul or concat.")


def autocasts(x: Tensor) -> bool:
    """Tell whether autocast is on where x is."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off where it is on: the gates' small matrices cost nothing in float32, and rounding them does."""
    # Where there is nothing to switch off, an exported graph stays free of autocast regions.
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def activate(scores: Tensor, activation: Activation) -> Tensor:
    """Map scores to gates in [0, 1]: the logistic function, or its piecewise linear form relu6(x + 3) / 6."""
    return torch.sigmoid(scores) if activation == "sigmoid" else F.hardsigmoid(scores)


def channel_means(x: Tensor) -> Tensor:
    """Average a feature map (N, C, *spatial) over its pixels, giving (N, C) in float32 or better."""
    return x.mean(tuple(range(2, x.dim())), dtype=torch.promote_types(x.dtype, torch.float32))


def channel_gate(x: Tensor, weights: ChannelWeights, recipe: Recipe) -> Tensor:
    """Compute gain * activation(W1 relu(W2 z) [+ the same of the maxima for `avg+max`]) as (N, C, 1, ...) float32.

    z (N, C) is the mean (`avg`) or the maximum (`max`) of each channel. The shared layers for `avg+max` are those of
    CBAM (Woo et al., ECCV 2018, arXiv 1807.06521, eq. 2).
    """
    with full_precision(x):
        squeezed = []
        if recipe.squeeze != "max":
            squeezed.append(channel_means(x))
        if recipe.squeeze != "avg":
            squeezed.append(x.amax(tuple(range(2, x.dim()))))
        scores = [
            F.linear(
                torch.relu(F.linear(z.to(weights.squeeze.dtype), weights.squeeze, weights.squeeze_bias)),
                weights.excite,
                weights.excite_bias,
            )
            for z in squeezed
        ]
        total = scores[0] if len(scores) == 1 else scores[0] + scores[1]
        gate = activate(total.to(torch.promote_types(total.dtype, torch.float32)), recipe.activation) * recipe.gain
    return gate.view(*gate.shape, *(1 for _ in x.shape[2:]))


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a matrix to every pixel's channels, as a 1x1 convolution in the dtype of x that keeps its memory format.

    Args:
        x: (N, C, *spatial).
        weight: (O, C).
        bias: (O,) or None.

    Returns:
        (N, O, *spatial), in autocast's dtype where that is on.
    """
    kernel = weight.view(*weight.shape, *(1 for _ in x.shape[2:])).to(x.dtype)
    return (F.conv1d, F.conv2d, F.conv3d)[x.dim() - 3](x, kernel, None if bias is None else bias.to(x.dtype))


def pixel_scores(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Project every pixel's channels onto one number: a 1x1 convolution with one output channel.

    In eager mode this is a convolution, because x * w would be a full-size temporary and the gradient of its sum
    comes out NCHW in a channels_last network. Under `torch.compile` it is that product and sum, because a convolution
    with one output channel cannot be fused with its neighbours and forces an NCHW copy of x.

    Args:
        x: (N, C, *spatial).
        weight: (1, C).
        bias: (1,) or None.

    Returns:
        (N, 1, *spatial), in autocast's dtype where that is on.
    """
    if not torch.compiler.is_compiling():
        return pointwise(x, weight, bias)
    kernel = weight.view(1, -1, *(1 for _ in x.shape[2:]))
    scores = (x * kernel).sum(1, keepdim=True)
    return scores if bias is None else scores + bias.view(kernel.shape[:1] + (1,) * (x.dim() - 1))


def spatial_gate(x: Tensor, weights: SpatialWeights, recipe: Recipe) -> Tensor:
    """Compute gain * activation(w . U) at each pixel as (N, 1, *spatial) float32."""
    scores = pixel_scores(x, weights.project, weights.project_bias)
    return activate(scores.to(torch.promote_types(scores.dtype, torch.float32)), recipe.activation) * recipe.gain


def gates_of(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Gates:
    """Compute the gates of a feature map."""
    return Gates(
        None if channel is None else channel_gate(x, channel, recipe),
        None if spatial is None else spatial_gate(x, spatial, recipe),
    )


def scse_reference(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Tensor:
    """Compute the block in separate steps, for every recipe and under every transformation of torch."""
    gates = gates_of(x, channel, spatial, recipe)
    return recalibrate(x, gates.channel, gates.spatial, recipe.merge)
