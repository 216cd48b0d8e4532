"""The arithmetic of the gates: how a gate is computed from a feature map and how it is applied to one.

Every gate of the package is applied by `recalibrate`, so that a faster implementation is needed in one place only.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Merge = Literal["add", "max", "mul", "concat"]


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _largest(channel_gate: Tensor, spatial_gate: Tensor, like: Tensor) -> Tensor:
    """Return max(c, s) as (N,C,H,W) in the layout of `like`: broadcasting alone would always give NCHW."""
    if _is_channels_last(like):
        gate = torch.maximum(channel_gate.permute(0, 2, 3, 1), spatial_gate.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    else:
        gate = torch.maximum(channel_gate, spatial_gate)
    # Compared in the gates' float32 and rounded afterwards: in bfloat16, ties would send gradients the wrong way.
    return gate.to(like.dtype)


def recalibrate(x: Tensor, channel_gate: Tensor | None, spatial_gate: Tensor | None, merge: Merge) -> Tensor:
    """Scale a feature map by a channel gate c, a spatial gate s, or both.

    `add`: x c + x s;  `max`: x max(c, s);  `mul`: x c s;  `concat`: [x c, x s] along the channels.
    With one gate only, the result is x c or x s, whatever `merge` is.

    The output has the memory format of x, and the gradient that of the output's gradient: x comes first in each
    product, and c + s is never formed, because it would be a full-size NCHW tensor kept for the backward pass.

    Args:
        x: (N, C, H, W), any float dtype.
        channel_gate: (N, C, 1, 1), any float dtype, or None.
        spatial_gate: (N, 1, H, W), any float dtype, or None.
        merge: how two gates are combined.

    Returns:
        (N, C, H, W), or (N, 2C, H, W) for `concat` with two gates, in the dtype and memory format of x.

    Raises:
        ValueError: both gates are None, or `merge` is unknown.
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
        return x * channel + x * spatial
    raise ValueError(f"merge = {merge!r}: must be add, max, mul or concat.")


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off where it is on: the gates' small matrices cost nothing in float32, and rounding them does."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()  # nothing to switch off; an exported graph stays free of autocast regions
    return torch.autocast(kind, enabled=False)


def channel_means(x: Tensor) -> Tensor:
    """Average a feature map (N, C, H, W) over its pixels, giving (N, C) in float32 or better."""
    return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def pixel_scores(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Project every pixel's channels onto one number: a 1x1 convolution with one output channel.

    In eager mode this is a convolution, because x * w would be a full-size temporary and the gradient of its sum
    comes out NCHW in a channels_last network. Under `torch.compile` it is that product and sum, because a convolution
    with one output channel cannot be fused with its neighbours and forces an NCHW copy of x.

    Args:
        x: (N, C, H, W).
        weight: (1, C).
        bias: (1,) or None.

    Returns:
        (N, 1, H, W), in autocast's dtype where that is on.
    """
    kernel = weight.view(1, -1, 1, 1)
    if not torch.compiler.is_compiling():
        return F.conv2d(x, kernel.to(x.dtype), None if bias is None else bias.to(x.dtype))
    scores = (x * kernel).sum(1, keepdim=True)
    return scores if bias is None else scores + bias.view(1, 1, 1, 1)
