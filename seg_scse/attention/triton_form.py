"""The block for CUDA: `torch.library` operators around the kernels of `triton_kernels`.

Forward reads x twice and writes y; backward reads x and the output's gradient, reads that gradient again and writes
the gradient of x: 7 passes over a map of x's size, the least possible for gates that need all of x. Kept for backward
are x, the gates and the means, and the gates and means are small.

A forward pass launches 2 kernels and 6 tiny operations on (N, C), a backward pass 2 and 11. A compiled graph
contains `seg_scse::scse` forward, and backward `seg_scse::scse_reduce`, `seg_scse::scse_spread` and, visible to the
compiler, the tiny operations between them.
"""

import math
import os
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_scse.attention.pieces import laid_out
from seg_scse.attention.reference import Activation, ChannelWeights, Recipe, SpatialWeights, activate, full_precision

_INSTALLED = find_spec("triton") is not None
# Triton decides when a kernel is defined whether it is compiled or run by its interpreter, which works on the CPU.
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MOST_CHANNELS = 2048

_TILE = 4096
"""Values of a map that a program holds at a time."""
_LEAST_RUN = 32
"""Pixels that a program takes at least, so that its partial sums and weights are few next to what it reads."""
_MOST_STEPS = 32
"""Tiles that a program takes one after another at most, where they have that many pixels."""
_PROGRAMS = 1024
"""Programs that fill a large GPU: where there are more tiles, each program takes several."""


class _Plan(NamedTuple):
    """How a dense map (N, C, *spatial) is cut into programs; see `triton_kernels`."""

    samples: int
    runs: int
    """Programs that share a sample."""
    arguments: dict[str, int]
    """What a kernel is told of it."""


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _plan(x: Tensor) -> _Plan:
    samples, channels, size = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    channels_last, width = not x.is_contiguous(), _power_of_2(channels)
    # With the pixels innermost, fewer than 8 of them would not fill an access of 128 bits.
    pixels = min(max(_TILE // width, 1 if channels_last else 8), _power_of_2(size))
    tiles = -(-size // pixels)
    steps = min(max(-(-_LEAST_RUN // pixels), min(_MOST_STEPS, samples * tiles // _PROGRAMS)), tiles)
    runs = -(-tiles // steps)
    numbers = {"C": channels, "P": size, "runs": runs, "steps": steps}
    constants = {"CHANNELS_LAST": channels_last, "PIXELS": pixels, "CHANNELS": width}
    warps = min(max(pixels * width // 1024, 4), 16)  # 32 values of a tile in each thread: `reduce` holds two tiles
    # Fused multiplication and addition, by name, because Triton is about to change its default.
    return _Plan(samples, runs, {**numbers, **constants, "num_warps": warps, "enable_fp_fusion": True})


def _dense(x: Tensor) -> Tensor:
    """Return x as it is if its channels or its pixels are innermost in memory without gaps; otherwise a copy."""
    if x.is_contiguous() or x.movedim(1, -1).is_contiguous():
        return x
    return laid_out(x, channels_last=x.stride(1) == 1)


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()


def _outputs(x: Tensor, squeeze: Tensor | None, project: Tensor | None) -> tuple[Tensor, ...]:
    """Allocate y, means (N, C), hidden (N, h), c (N, C) and s (N, *spatial); without values for a gate not there."""
    samples = x.shape[0]
    hidden, channels = (0, 0) if squeeze is None else squeeze.shape
    pixels = (0,) if project is None else x.shape[2:]
    shapes = ((samples, channels), (samples, hidden), (samples, channels), (samples, *pixels))
    return torch.empty_like(x), *(x.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _launch(kernel: str, plan: _Plan, x: Tensor, *tensors: Tensor | None, **recipe: str | float) -> None:
    """Run a kernel of `triton_kernels` on the device of x."""
    from seg_scse.attention import triton_kernels  # slow to import, and not on every platform

    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]  # Triton launches on the current device
        getattr(triton_kernels, kernel)[(plan.samples * plan.runs,)](x, *tensors, **recipe, **plan.arguments)


@torch.library.custom_op("seg_scse::scse", mutates_args=())
def _scse(
    x: Tensor,
    squeeze: Tensor | None,
    squeeze_bias: Tensor | None,
    excite: Tensor | None,
    excite_bias: Tensor | None,
    project: Tensor | None,
    project_bias: Tensor | None,
    merge: str,
    activation: str,
    gain: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return y, means, hidden, c, s, as `_outputs`."""
    x = _dense(x)
    y, means, hidden, c, s = _outputs(x, squeeze, project)
    plan = _plan(x)
    partial = means.new_empty(plan.samples, plan.runs, x.shape[1])
    _launch("describe", plan, x, project, project_bias, partial, s, MERGE=merge, ACTIVATION=activation, gain=gain)
    if squeeze is not None and excite is not None:
        with full_precision(x):
            means = partial.sum(1)
            hidden = torch.relu(F.linear(means, squeeze.float(), _float(squeeze_bias)))
            scores = F.linear(hidden, excite.float(), _float(excite_bias))
        c = activate(scores, cast("Activation", activation)) * gain
    _launch("scale", _plan(x), x, c, s, y, MERGE=merge)
    return y, means, hidden, c, s


@_scse.register_fake
def _(x: Tensor, squeeze: Tensor | None, *weights: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - the operator's others
    return _outputs(_dense(x), squeeze, weights[3])


@torch.library.custom_op("seg_scse::scse_reduce", mutates_args=())
def _reduce(
    x: Tensor, gradient: Tensor, c: Tensor, s: Tensor, merge: str, activation: str, gain: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of c's score (N, C), of s's score, as s, and of that score's weight (C) and bias ()."""
    x = _dense(x)
    plan = _plan(x)
    dpixels = torch.empty_like(s)
    partial = s.new_empty(2, plan.samples, plan.runs, x.shape[1])
    partial_bias = s.new_empty(plan.samples, plan.runs)
    tensors = (x, laid_out(gradient, channels_last=not x.is_contiguous()), c, s, *partial, partial_bias, dpixels)
    _launch("reduce", plan, *tensors, MERGE=merge, ACTIVATION=activation, gain=gain)
    dscores = torch.empty_like(c) if merge == "spatial" else partial[0].sum(1)
    return dscores, dpixels, partial[1].sum((0, 1)), partial_bias.sum()


@_reduce.register_fake
def _(x: Tensor, _: Tensor, c: Tensor, s: Tensor, *__: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
    return torch.empty_like(c), torch.empty_like(s), s.new_empty(x.shape[1]), s.new_empty(())


@torch.library.custom_op("seg_scse::scse_spread", mutates_args=())
def _spread(
    gradient: Tensor, c: Tensor, s: Tensor, project: Tensor | None, dpixels: Tensor, dmeans: Tensor, merge: str
) -> Tensor:
    """Return the gradient of x in the memory format of the output's gradient, which is dense."""
    dx = torch.empty_like(gradient)
    _launch("spread", _plan(gradient), gradient, c, s, project, dpixels, dmeans, dx, MERGE=merge)
    return dx


@_spread.register_fake
def _(gradient: Tensor, *_: Any) -> Tensor:  # noqa: ANN401
    return torch.empty_like(gradient)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 - torch gives no type
    """Keep what backward needs."""
    x, squeeze, _, excite, _, project, _, *ctx.recipe = inputs
    ctx.save_for_backward(x, squeeze, excite, project, *output[1:])
    ctx.set_materialize_grads(False)  # of the outputs that nobody differentiates


def _backward(ctx: Any, gradient: Tensor, *_: None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    """Differentiate y by x and by all weights; the channel gate's layers in plain torch, on (N, C)."""
    x, squeeze, excite, project, means, hidden, c, s = ctx.saved_tensors
    merge, activation, gain = ctx.recipe
    gradient = laid_out(gradient, channels_last=not x.is_contiguous())
    dscores, dpixels, dproject, dbias = _reduce(x, gradient, c, s, merge, activation, gain)
    dmeans, channel = c, (None,) * 4
    if squeeze is not None:
        with full_precision(x):
            dhidden = (dscores @ excite.float()) * (hidden > 0)
            dmeans = dhidden @ squeeze.float()
            channel = (dhidden.T @ means, dhidden.sum(0), dscores.T @ hidden, dscores.sum(0))
    dx = _spread(gradient, c, s, project, dpixels, dmeans, merge) if ctx.needs_input_grad[0] else None
    spatial = (None, None) if project is None else (dproject.view(1, -1), dbias.view(1))
    needed = zip((*channel, *spatial), ctx.needs_input_grad[1:], strict=False)
    return dx, *(weight if wanted else None for weight, wanted in needed), None, None, None


_scse.register_autograd(_backward, setup_context=_keep)


def supports(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> bool:
    """Tell whether `scse_triton` computes this block.

    It does for float32, bfloat16 and float16 maps on a CUDA device, with at least one value and at most 2048 channels,
    weights of those dtypes, the squeeze `avg`, and, of two gates, each merge but `concat`; where Triton is installed.
    """
    weights = [tensor for tensor in (*(channel or ()), *(spatial or ())) if tensor is not None]
    return (
        _INSTALLED
        and (x.is_cuda or _INTERPRETED)
        and all(tensor.dtype in _DTYPES for tensor in (x, *weights))
        and 3 <= x.dim() <= 5
        and x.numel() > 0
        and 1 <= x.shape[1] <= _MOST_CHANNELS
        and bool(weights)
        and recipe.squeeze == "avg"
        and recipe.gain > 0
        and (recipe.merge != "concat" or channel is None or spatial is None)
    )


def _require_channels(channels: int, channel: ChannelWeights | None, spatial: SpatialWeights | None) -> None:
    """Refuse weights of another width, beyond whose end a kernel would read."""
    widths = set() if channel is None else {channel.squeeze.shape[1], channel.excite.shape[0]}
    widths |= set() if spatial is None else {spatial.project.shape[1]}
    if widths != {channels}:
        raise ValueError(f"the gates' weights are for {sorted(widths)} channels and the map has {channels}.")


def scse_triton(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Tensor:
    """Compute the gates of a feature map and apply them, as `functional.scse`, by the kernels of `triton_kernels`.

    Sums and gates are float32 whatever the dtype of x and of the weights; equal inputs give equal bits. A tie of the
    merge `max` sends half the gradient to each gate, as torch.maximum does. Differentiable once.

    Args:
        x: (N, C, *spatial). If neither its channels nor its pixels are contiguous in memory, it is copied once.
        channel: weights of the channel gate, or None for a block without one.
        spatial: weights of the spatial gate, or None for a block without one.
        recipe: how the gates are computed and combined.

    Returns:
        (N, C, *spatial) in the dtype and memory format of x; the gradient of x has that format too.

    Raises:
        ValueError: `supports` says no, or the weights are for another number of channels.
    """
    if not supports(x, channel, spatial, recipe):
        raise ValueError(
            f"the Triton form of scSE does not compute {recipe} of a {x.dtype} map {tuple(x.shape)} on "
            f"{x.device.type!r}: call seg_scse.attention.functional.scse, which chooses a form that does."
        )
    _require_channels(x.shape[1], channel, spatial)
    merge = "spatial" if channel is None else "channel" if spatial is None else recipe.merge
    if spatial is not None:
        spatial = spatial._replace(project=spatial.project.contiguous())
    weights = (*(channel or (None,) * 4), *(spatial or (None,) * 2))
    y: Tensor = _scse(_dense(x), *weights, merge, recipe.activation, recipe.gain)[0]
    return y
