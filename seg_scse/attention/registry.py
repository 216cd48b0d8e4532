"""Names of the gates, and building one from its configuration."""

from collections.abc import Callable

from torch import nn

from seg_scse.attention.gates import ChannelSE, ScSE, SpatialSE
from seg_scse.config.attention import GateConfig
from seg_scse.config.loading import nearest
from seg_scse.errors import ConfigError


def _cse(config: GateConfig, channels: int) -> nn.Module:
    return ChannelSE(channels, config.reduction, config.bias, config.min_width, config.init)


def _sse(config: GateConfig, channels: int) -> nn.Module:
    return SpatialSE(channels, config.bias, config.init)


def _scse(config: GateConfig, channels: int) -> nn.Module:
    return ScSE(channels, config.reduction, config.merge, config.bias, config.min_width, config.init)


GATES: dict[str, Callable[[GateConfig, int], nn.Module]] = {"cse": _cse, "sse": _sse, "scse": _scse}
"""Builders by the name used in `attention.type`. A built gate maps (N, C, H, W) to the same shape and has the
attributes `kind: str`, `channels: int` and `hidden: int` (0 where there is no bottleneck)."""


def build_gate(config: GateConfig, channels: int) -> nn.Module:
    """Build one gate for a feature map of `channels` channels.

    Raises:
        ConfigError: no gate has the name `config.type`, or the configuration leaves it no bottleneck unit.
    """
    builder = GATES.get(config.type)
    if builder is None:
        known = ", ".join(sorted(GATES))
        raise ConfigError(f"`type` = {config.type!r} is no gate{nearest(config.type, GATES)} Known gates: {known}.")
    return builder(config, channels)
