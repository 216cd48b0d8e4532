"""Squeeze-and-excitation as functions: `scse` computes a whole block, `recalibrate` applies gates that are given.

Feature maps are (N, C, *spatial) with one to three spatial dimensions. Every gate of the package is applied by one of
the two functions. `scse` chooses among forms of the same arithmetic; docs/performance.md says what each one costs.
"""

from typing import Literal

import torch
from torch import Tensor

from seg_scse.attention import eager_form, fusible_form
from seg_scse.attention.reference import (
    Activation,
    ChannelWeights,
    Gates,
    Merge,
    Recipe,
    SpatialWeights,
    Squeeze,
    activate,
    channel_gate,
    channel_means,
    full_precision,
    gates_of,
    pixel_scores,
    recalibrate,
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
        ValueError: a form is named that does not compute this.
    """
    if form == "auto":
        form = choose_form(x, channel, spatial, recipe)
    elif form != "reference" and not _supports(form, x, channel, spatial, recipe):
        raise ValueError(
            f"form = {form!r} does not compute {recipe} here: use form='auto', which chooses one that does."
        )
    if form == "triton":
        from seg_scse.attention.triton_form import scse_triton

        return scse_triton(x, channel, spatial, recipe)
    compute = {"fusible": fusible_form.scse_fusible, "eager": eager_form.scse_eager, "reference": scse_reference}[form]
    return compute(x, channel, spatial, recipe)


def choose_form(
    x: Tensor, channel: ChannelWeights | None, spatial: SpatialWeights | None, recipe: Recipe
) -> Literal["triton", "fusible", "eager", "reference"]:
    """Name the fastest form for a map: the first that applies.

    - `triton`: kernels, on a GPU, where `triton_form.supports` says yes; also in compiled graphs, but not in exported
      ones, which shall run where this package is not.
    - `fusible`: under `torch.compile` and `torch.export`.
    - `eager`: written by hand.
    - `reference`: everything else, and transformations such as `torch.func.vmap`, which need its rules.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling and (torch._C._are_functorch_transforms_active() or torch._C._is_tracing()):
        return "reference"
    if not torch.compiler.is_exporting() and _supports("triton", x, channel, spatial, recipe):
        return "triton"
    form: Literal["fusible", "eager"] = "fusible" if compiling else "eager"
    return form if _supports(form, x, channel, spatial, recipe) else "reference"


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
