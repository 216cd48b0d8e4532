"""Squeeze-and-excitation as functions: `scse` computes a whole block, `recalibrate` applies gates that are given.

Feature maps are (N, C, *spatial) with one to three spatial dimensions. Every gate of the package is applied by one of
the two functions. `scse` chooses among forms of the same arithmetic; docs/performance.md says what each one costs.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from seg_scse.attention import eager_form, fusible_form, reference
from seg_scse.attention.reference import (
    Activation,
    ChannelWeights,
    Gates,
    Merge,
    Recipe,
    SpatialWeights,
    Squeeze,
    activate,
    autocasts,
    channel_gate,
    channel_means,
    full_precision,
    pixel_scores,
    pointwise,
    scse_reference,
    spatial_gate,
)

__all__ = [
    "Activation",
    "ChannelWeights",
    "Form",
    "Gates",
    "Merge",
    "Recipe",
    "SpatialWeights",
    "Squeeze",
    "activate",
    "channel_gate",
    "channel_means",
    "choose_form",
    "full_precision",
    "gates_of",
    "pixel_scores",
    "pointwise",
    "recalibrate",
    "scse",
    "spatial_gate",
]

Form = Literal["auto", "triton", "fusible", "eager", "reference"]


def scse(
    x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe, form: Form = "auto"
) -> Tensor:
    """Compute the gates of a feature map and apply them: the whole block.

    All forms compute the same to rounding and differ in speed and memory. Gates, scores and sums are float32 (float64
    for a float64 map), also under autocast; the reference alone computes the spatial scores in the dtype of x.

    Args:
        x: (N, C, *spatial), any float dtype.
        channel: weights of the channel gate, or None for a block without one.
        spatial: weights of the spatial gate, or None for a block without one.
        recipe: how the gates are computed and combined.
        form: one of the forms by name, or `auto` for the one that `choose_form` names.

    Returns:
        As `recalibrate`.

    Raises:
        ValueError: x is no feature map of the weights' width, or a form is named that does not compute this.
    """
    _require_map(x, channel, spatial)
    if form == "auto":
        form = choose_form(x, channel, spatial, recipe)
    elif form not in get_args(Form):
        raise ValueError(f"form = {form!r} is not known: choose one of {', '.join(get_args(Form))}.")
    elif form != "reference" and not _supports(form, x, channel, spatial, recipe):
        raise ValueError(
            f"form = {form!r} does not compute {recipe} here: use form='auto', which chooses one that does."
        )
    if form == "triton":
        from seg_scse.attention.triton_form import scse_triton

        return scse_triton(x, channel, spatial, recipe)
    compute = {"fusible": fusible_form.scse_fusible, "eager": eager_form.scse_eager, "reference": scse_reference}[form]
    return compute(x, channel, spatial, recipe)


def _require_map(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None) -> None:
    """Refuse what no form computes, before one of them computes something else."""
    if not x.is_floating_point() or not 3 <= x.dim() <= 5:
        raise ValueError(
            f"a feature map is a float tensor (N, C, *spatial) with one to three spatial dimensions, not {x.dtype} "
            f"{tuple(x.shape)}."
        )
    for weight in (None if channel is None else channel.squeeze, None if spatial is None else spatial.project):
        if weight is not None and weight.shape[1] != x.shape[1]:
            raise ValueError(f"the block was built for {weight.shape[1]} channels, but the map has {x.shape[1]}.")


def gates_of(x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe) -> Gates:
    """Compute the gates that `scse` applies to a feature map; arguments as there.

    Without a graph they are those of the chosen form, in float32 whatever x is. With a graph they are those of the
    reference, whose spatial scores have the dtype of x.
    """
    if not torch.is_grad_enabled() and choose_form(x, channel, spatial, recipe) in ("eager", "triton"):
        return eager_form.gates_eager(x, channel, spatial, recipe)
    return reference.gates_of(x, channel, spatial, recipe)


def recalibrate(x: Tensor, channel_gate: Tensor | None, spatial_gate: Tensor | None, merge: Merge) -> Tensor:
    """Scale a feature map by a channel gate c, a spatial gate s, or both.

    `add`: x c + x s;  `max`: x max(c, s);  `mul`: x c s;  `concat`: [x c, x s] along the channels.
    With one gate only, the result is x c or x s, whatever `merge` is. Without a graph a half-precision map is rounded
    once, as in the whole block, so that a block's own gates give its own output.

    Args:
        x: (N, C, *spatial), any float dtype.
        channel_gate: (N, C, 1, ...), any float dtype, or None.
        spatial_gate: (N, 1, *spatial), any float dtype, or None.
        merge: how two gates are combined.

    Returns:
        (N, C, *spatial), or (N, 2C, *spatial) for `concat` with two gates, in the dtype and memory format of x.

    Raises:
        ValueError: both gates are None, or `merge` is unknown.
    """
    gates, recipe = Gates(channel_gate, spatial_gate), Recipe(merge)
    given = any(gate is not None for gate in gates)
    if given and not torch.is_grad_enabled() and choose_form(x, None, None, recipe) == "eager":
        return eager_form.recalibrate_eager(x, gates, recipe)
    return reference.recalibrate(x, channel_gate, spatial_gate, merge)


def choose_form(
    x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe
) -> Literal["triton", "fusible", "eager", "reference"]:
    """Name the fastest form for a map: the first that applies.

    - `triton`: kernels, on a GPU, where `triton_form.supports` says yes; also in compiled graphs, but not in exported
      ones, which shall run where this package is not.
    - `fusible`: under `torch.compile` and `torch.export`.
    - `eager`: written by hand.
    - `reference`: everything else; transformations such as `torch.func.vmap`, which need its rules; and inference in
      float32, where it moves as little and has no pieces to walk over.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling and (torch._C._are_functorch_transforms_active() or torch._C._is_tracing()):
        return "reference"
    if not torch.compiler.is_exporting() and _supports("triton", x, channel, spatial, recipe):
        return "triton"
    if not compiling and not torch.is_grad_enabled() and _stays_wide(x):
        return "reference"
    form: Literal["fusible", "eager"] = "fusible" if compiling else "eager"
    return form if _supports(form, x, channel, spatial, recipe) else "reference"


def _stays_wide(x: Tensor) -> bool:
    """Tell whether the reference computes all of a block of x in float32 or float64."""
    return x.dtype in (torch.float32, torch.float64) and not autocasts(x)


def _supports(
    form: Form, x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe
) -> bool:
    """Tell whether a form computes this block here."""
    if form == "triton":
        if not x.is_cuda:
            return False
        from seg_scse.attention import triton_form

        return triton_form.supports(x, channel, spatial, recipe)
    if form == "fusible":
        return fusible_form.supports(recipe)
    return eager_form.supports(x, recipe)
