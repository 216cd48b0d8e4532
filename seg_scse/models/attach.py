"""Attention on any network: from names of sites and of a gate to gates that are attached."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from seg_scse.attention.attach import Layout, attach_gates
from seg_scse.attention.registry import GATES, NEEDS_SIGNAL, build_gate
from seg_scse.attention.selective import replace_convolutions
from seg_scse.attention.trace import undisturbed
from seg_scse.config.attention import PRESETS, REFUSED, AttentionConfig, GateConfig
from seg_scse.config.loading import nearest, problem_of, require_known
from seg_scse.errors import ConfigError, numbered
from seg_scse.models.resolve import resolve_convolutions, resolve_sites

PROBE_SIDES = (64, 128, 224, 256, 384, 448, 512)
"""Sides of an input, tried in turn: some networks need more than 64 pixels, and some transformers accept one size."""

PROBE_SIDES_3D = (16, 32, 64, 128)
"""The same for volumes."""

RUN_ERRORS = (ValueError, LookupError, RuntimeError, TypeError, AttributeError, AssertionError)
"""What networks raise for an input that they do not accept."""


def attach_attention(
    module: nn.Module,
    sites: str | Sequence[str] = ("decoder",),
    gate: str | GateConfig | Callable[[int], nn.Module] = "scse",
    *,
    example: Tensor | None = None,
    layout: Layout | None = None,
    **fields: Any,  # noqa: ANN401 - checked by GateConfig
) -> nn.Module:
    """Put gates on the named sites of any network, in place.

    The network keeps its modules, parameters and state-dict keys; the gates' own keys start with `gates.`. Attach
    before moving the network to several devices, compiling it or giving its parameters to an optimizer.

    Args:
        module: any network.
        sites: names, in any mixture: for networks of segmentation-models-pytorch and `ClassicUNet` those of
            `seg_scse.models.sites` (`encoder`, `bottleneck`, `skip`, `decoder`, `decoder_in`, `decoder.1`); for ResNets
            `residual`, in each residual block before the addition; for all networks module paths, whose outputs are
            gated, with `*` and `?` within one part and `**` for any number of parts: `layer3.*.bn2`, `inception*`,
            `features.3`.
        gate: a type of `GateConfig`, such as `cse` or `cbam`; a preset (`se`, `paper_miccai`, `paper_tmi`, `smp`: its
            block, not its sites); a `GateConfig`; or a function from a number of channels to a module that maps
            (N, C, *spatial) to the same shape; `describe_model` calls such a module by its attribute `kind`, or else by
            its class, and reads its `channels` and `hidden` where they are integers. `sk` replaces the 3x3
            convolutions that module paths name.
        example: an input that the network accepts; None makes one, see `example_for`.
        layout: position of the channels at module paths: `channels_first` (N, C, *spatial) or `channels_last`
            (N, *spatial, C), as in many transformers; None finds it out from the layers that make the map. It has no
            meaning at other sites, nor for `attention_gate` and `sk`.
        **fields: of `GateConfig`, where `gate` is a name: `reduction=16`, `merge="max"`, `init="identity"`, ... The
            field `gate` (sigmoid or hard_sigmoid) clashes with the argument of this name: give a `GateConfig` for it.

    Returns:
        `module`.

    Raises:
        ConfigError: an unknown gate, field, site or layout; a field out of range; a width smaller than the reduction; a
            site that no feature map passes, or that is passed more than once or has no influence on the output; a gate
            that is no function, or that changes the shape of its map; an output without a float tensor; gates that
            are attached already; no `example` could be made. The network is then as it was.

    Example:
        >>> model = attach_attention(torchvision.models.resnet18(), sites=["residual"], gate="se")
    """
    names = (sites,) if isinstance(sites, str) else sites
    _check_names(names)
    if layout is not None:
        require_known("layout", layout, Layout)
    config = _gate_config(gate, fields)
    example = example_for(module) if example is None else example
    _attach(module, names, config, example, layout)
    return module


def attach_configured(model: nn.Module, config: AttentionConfig, example: Tensor) -> None:
    """Put the gates of a configuration on a network, in place; `sk` replaces the convolutions at the sites instead.

    Args:
        model: any network.
        config: the gate and its sites; nothing happens for type `none`.
        example: an input that `model` accepts.

    Raises:
        ConfigError: as `attach_attention`, with the name of the section.
    """
    if config.type == "none":
        return
    try:
        _attach(model, config.sites, config, example, None)
    except ConfigError as error:
        raise ConfigError(f"`model.attention`: {error}") from error


def example_for(model: nn.Module, in_channels: int | None = None) -> Tensor:
    """Return a small input that a network accepts, the same for every random state.

    The first convolution or linear layer in the order of definition tells the channels and spatial dimensions. Sides of
    `PROBE_SIDES` (volumes: `PROBE_SIDES_3D`) are tried in turn.

    Args:
        model: any network.
        in_channels: channels of the input; None takes those of the first layer.

    Returns:
        (1, C, *side) with one to three spatial dimensions, or (1, side, C) where the first layer is linear; uniform in
        [0, 1], on the device and in the dtype of the model's parameters.

    Raises:
        ConfigError: no such input exists; the error of the first try is its cause.
    """
    layers = (m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear))
    first = next(layers, None)
    if first is None:
        raise ConfigError(f"{type(model).__name__} has no convolution or linear layer: pass an input as `example`.")
    problem: Exception | None = None
    for shape in _shapes(first, in_channels):
        example = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(first.weight)
        try:
            with undisturbed(model), torch.no_grad():
                model(example)
        except RUN_ERRORS as error:
            problem = problem or error
        else:
            return example
    raise ConfigError(
        f"no input for {type(model).__name__} could be made from its first layer, {first} "
        f"({_first_line(problem)}): pass an input as `example`."
    ) from problem


def _shapes(layer: nn.modules.conv._ConvNd | nn.Linear, in_channels: int | None) -> list[tuple[int, ...]]:
    if isinstance(layer, nn.Linear):
        return [(1, side, in_channels or layer.in_features) for side in PROBE_SIDES]
    dimensions = layer.weight.dim() - 2
    sides = PROBE_SIDES_3D if dimensions == 3 else PROBE_SIDES
    return [(1, in_channels or layer.in_channels, *(side,) * dimensions) for side in sides]


def _first_line(error: Exception | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_names(names: object) -> None:
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"`sites` = {names!r} must be a name or a list of names, such as ['decoder', 'layer3.*.bn2']."
        )


def _gate_config(gate: object, fields: dict[str, Any]) -> GateConfig | Callable[[int], nn.Module]:
    """Return the checked configuration of a gate given by name, or the gate as it was given."""
    if not isinstance(gate, str):
        if fields:
            raise ConfigError(f"{', '.join(f'`{name}`' for name in fields)} can be given with the name of a gate only.")
        if not (isinstance(gate, GateConfig) or callable(gate)):
            raise ConfigError(f"`gate` = {gate!r} must be a name, a GateConfig or a function of the channels.")
        if isinstance(gate, AttentionConfig):
            raise ConfigError("`gate` has sites of its own: use `seg_scse.models.attach_configured`, or a GateConfig.")
        return gate
    if not fields.keys().isdisjoint(("preset", "type")):
        raise ConfigError(f"`gate` = {gate!r} is the type or preset: leave `type` and `preset` out.")
    known = (*sorted({*GATES, *NEEDS_SIGNAL, "sk"}), *PRESETS)
    if gate not in known and gate not in REFUSED:  # GateConfig says why those are refused
        raise ConfigError(
            f"`gate` = {gate!r} is not known{nearest(gate, known) or '.'} Known gates: {', '.join(known)}."
        )
    try:
        return GateConfig(**{("preset" if gate in PRESETS else "type"): gate, **fields})
    except ValidationError as error:
        problems = [problem_of(details, GateConfig, ("gate",)) for details in error.errors()]
        raise ConfigError(f"the gate cannot be built:\n{numbered(problems)}") from error


def _attach(
    model: nn.Module,
    names: Sequence[str],
    gate: GateConfig | Callable[[int], nn.Module],
    example: Tensor,
    layout: Layout | None,
) -> None:
    """Attach gates, or replace convolutions, at the sites that the names mean."""
    if not names:
        raise ConfigError("`sites` is empty: name at least one site.")
    kind = gate.type if isinstance(gate, GateConfig) else None
    if kind == "none":
        raise ConfigError("`type` = none is no gate: choose one to attach.")
    if kind == "sk":
        assert isinstance(gate, GateConfig)
        if layout is not None:
            raise ConfigError(f"`layout` = {layout} has no meaning for `type` = sk, which replaces convolutions.")
        replace_convolutions(model, resolve_convolutions(model, names), gate)
        return
    sites = resolve_sites(model, names, example, layout, signal=kind in NEEDS_SIGNAL)
    attach_gates(model, sites, partial(build_gate, gate) if isinstance(gate, GateConfig) else gate, example)
