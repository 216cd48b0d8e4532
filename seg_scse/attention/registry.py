"""Names of the gates, and building one from its configuration."""

from collections.abc import Callable

from torch import nn

from seg_scse.attention.attention_gate import AttentionGate
from seg_scse.attention.constant import ConstantGate
from seg_scse.attention.dual import ChannelAttention, PositionAttention
from seg_scse.attention.gates import SCSE, hidden_units
from seg_scse.attention.simam import SimAM
from seg_scse.attention.timm_gates import CBAM, ECA, CoordinateAttention, EffectiveSE, GlobalContext
from seg_scse.config.attention import REFUSED, GateConfig
from seg_scse.config.loading import nearest
from seg_scse.errors import ConfigError


def _scse(config: GateConfig, channels: int) -> nn.Module:
    return SCSE(
        channels,
        config.reduction,
        config.merge,
        channel=config.type != "sse",
        spatial=config.type != "cse",
        init=config.init,
        squeeze=config.squeeze,
        gate=config.gate,
        bias=config.bias,
        min_width=config.min_width,
    )


def _constant(config: GateConfig, channels: int) -> nn.Module:
    return ConstantGate(channels, config.init)


def _bare(block: Callable[[int], nn.Module]) -> Callable[[GateConfig, int], nn.Module]:
    """Return the builder of a block that has no fields."""
    return lambda _config, channels: block(channels)


def _reducing(block: Callable[[int, int, int], nn.Module]) -> Callable[[GateConfig, int], nn.Module]:
    """Return the builder of a block whose only fields are those of its bottleneck."""
    return lambda config, channels: block(channels, config.reduction, config.min_width)


GATES: dict[str, Callable[[GateConfig, int], nn.Module]] = {
    "cse": _scse,
    "sse": _scse,
    "scse": _scse,
    "eca": _bare(ECA),
    "cbam": _reducing(CBAM),
    "gc": _reducing(GlobalContext),
    "coord": _reducing(CoordinateAttention),
    "ese": _bare(EffectiveSE),
    "simam": _bare(SimAM),
    "constant": _constant,
    "dual_position": _reducing(PositionAttention),
    "dual_channel": _bare(ChannelAttention),
}
"""Builders by the name used in `attention.type`. A built gate maps (N, C, *spatial) to the same shape and has the
attributes `kind: str`, `channels: int` and `hidden: int` (0 where there is no bottleneck)."""


def _attention_gate(config: GateConfig, channels: int, signal_channels: int) -> nn.Module:
    return AttentionGate(channels, signal_channels, hidden_units(channels, config.reduction, config.min_width))


SIGNAL_GATES: dict[str, Callable[[GateConfig, int, int], nn.Module]] = {"attention_gate": _attention_gate}
"""Builders of the gates that take a second map, the signal: forward(x, signal)."""

NEEDS_SIGNAL = frozenset(SIGNAL_GATES)
"""Names of those gates."""


def build_gate(config: GateConfig, channels: int, signal_channels: int | None = None) -> nn.Module:
    """Build one gate for a feature map of `channels` channels.

    Args:
        config: the gate's type and fields.
        channels: C.
        signal_channels: channels of the decoder's map that steers the gate; read for the types in `NEEDS_SIGNAL` only.

    Raises:
        ConfigError: no gate has the name `config.type`, the configuration leaves it no bottleneck unit, or the gate
            needs a signal and `signal_channels` is None.
    """
    if config.type in SIGNAL_GATES:
        if signal_channels is None:
            raise ConfigError(
                f"`type` = {config.type} needs a signal from the decoder, and there is none here: use it on the skips "
                "(`sites: [skip]`) of an architecture whose decoder joins them with a map of its own, such as unet."
            )
        return SIGNAL_GATES[config.type](config, channels, signal_channels)
    if config.type not in GATES:
        raise ConfigError(_no_gate(config.type))
    return GATES[config.type](config, channels)


def _no_gate(name: str) -> str:
    if name == "sk":
        return (
            "`type` = sk is no gate behind a feature map: it replaces 3x3 convolutions, with "
            "`seg_scse.attention.selective.replace_convolutions`."
        )
    if name in REFUSED:
        return f"`type` = {name!r}: {REFUSED[name]}."
    known = sorted({*GATES, *SIGNAL_GATES})
    return f"`type` = {name!r} is no gate{nearest(name, known) or '.'} Known gates: {', '.join(known)}."
