"""The block of Roy et al. (2018, 2019), scSE, and its two halves: cSE (Hu et al. 2018) and sSE.

The state dict of a block has the keys `channel.squeeze.*`, `channel.excite.*`, `spatial.project.*` and, for `concat`,
`fuse.*`; weights are matrices, so that one set of weights serves maps with one, two and three spatial dimensions.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from seg_scse.attention.functional import (
    Activation,
    ChannelWeights,
    Gates,
    Merge,
    Recipe,
    SpatialWeights,
    Squeeze,
    gates_of,
    pointwise,
    recalibrate,
    scse,
)
from seg_scse.config.loading import require_known
from seg_scse.errors import ConfigError

Init = Literal["default", "identity"]


def hidden_units(channels: int, reduction: int, min_width: int) -> int:
    """Return the width of the channel gate's bottleneck, max(channels // reduction, min_width).

    Raises:
        ConfigError: it would be 0, a gate that no longer looks at its input; or a number is out of range.
    """
    for name, value, least in (("channels", channels, 1), ("reduction", reduction, 1), ("min_width", min_width, 0)):
        if value < least:
            raise ConfigError(f"`{name}`={value}: must be {least} or more.")
    hidden = max(channels // reduction, min_width)
    if hidden == 0:
        raise ConfigError(
            f"`reduction`={reduction} leaves no bottleneck unit for {channels} channels: "
            f"choose reduction <= {channels} or min_width >= 1."
        )
    return hidden


def _refuse_ignored(name: str, value: object, default: object, needed: bool, what: str) -> None:
    if value != default and not needed:
        raise ConfigError(f"`{name}`={value!r} has no meaning without {what}: leave it out.")


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class _ChannelLayers(nn.Module):
    """The two layers of the channel gate."""

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)

    def weights(self) -> ChannelWeights:
        return ChannelWeights(self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias)


class _SpatialLayer(nn.Module):
    """The projection of the spatial gate."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.project = nn.Linear(channels, 1, bias=bias)

    def weights(self) -> SpatialWeights:
        return SpatialWeights(self.project.weight, self.project.bias)


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze-and-excitation, scSE, or one half of it: cSE or sSE.

    U is a feature map (N, C, *spatial) with one to three spatial dimensions, z (N, C) its mean over the pixels,
    sigma the logistic function:

    - cSE: U^ = c * U, c = sigma(W1 relu(W2 z)). Hu et al., CVPR 2018, arXiv 1709.01507 (reduction 16; no biases in
      the text); named cSE by Roy et al. 2018 (reduction 2).
    - sSE: U^ = s * U, s = sigma(w . U) at each pixel. Roy et al., MICCAI 2018, arXiv 1803.02579.
    - scSE: both on the same U. MICCAI 2018 adds, U^ = c * U + s * U; Roy et al., TMI 2019, arXiv 1808.08127, compares
      adding, maximum, multiplication and concatenation of the two recalibrated maps and prefers the maximum.

    Deviations from the papers, where the fields allow them: `max` and `mul` combine the gates, U max(c, s) and U c s,
    so that each keeps the sign of U and can be the identity (`max` differs where U < 0 only); `concat` ends in a 1x1
    convolution from 2C to C channels, so that the host network need not know of the block; a least width, other
    squeezes and the hard sigmoid can be chosen. Gates are float32 also under autocast, unless the block itself is
    converted to another dtype.

    `init="identity"` starts the block as the exact identity map: the last layer of each gate is zero, so that each
    gate is sigma(0) = 1/2, and a constant `gain` makes up for it: 2 for a single gate, `max` and `mul`; 1 for `add`
    (U/2 + U/2) and `concat` (weight [I, I]). With `default` the gain is 1 and the layers start as torch starts them.

    Parameters, h = max(C // reduction, min_width): channel 2 C h, + h + C with bias; spatial C, + 1 with bias;
    `concat` adds 2 C^2, + C with bias.

    Args:
        channels: C.
        reduction: C / h of the channel gate.
        merge: how the two gates are combined.
        channel: whether there is a channel gate.
        spatial: whether there is a spatial gate.
        squeeze: what the channel gate sees of each channel: mean, maximum, or both through the same layers.
        gate: function from a score to a gate.
        bias: whether the layers have one.
        min_width: least h.
        init: how the block starts.

    Raises:
        ConfigError: no gate is left, or no bottleneck unit for the channel gate; or an unknown option.

    Example:
        >>> block = SCSE(64, reduction=2, merge="max")
        >>> block(torch.rand(1, 64, 32, 32)).shape
        torch.Size([1, 64, 32, 32])
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        merge: Merge = "add",
        channel: bool = True,
        spatial: bool = True,
        init: Init = "default",
        squeeze: Squeeze = "avg",
        gate: Activation = "sigmoid",
        bias: bool = True,
        min_width: int = 0,
    ) -> None:
        super().__init__()
        if not (channel or spatial):
            raise ConfigError("a block with `channel`=False and `spatial`=False has no gate: set one of them to True.")
        require_known("merge", merge, Merge)
        require_known("squeeze", squeeze, Squeeze)
        require_known("gate", gate, Activation)
        require_known("init", init, Init)
        both = channel and spatial
        _refuse_ignored("merge", merge, "add", needed=both, what="two gates")
        for name, value, default in (
            ("reduction", reduction, 2),
            ("squeeze", squeeze, "avg"),
            ("min_width", min_width, 0),
        ):
            _refuse_ignored(name, value, default, needed=channel, what="a channel gate")
        self.channels = channels
        self.kind = "scse" if both else "cse" if channel else "sse"
        self.hidden = hidden_units(channels, reduction, min_width) if channel else 0
        gain = 2.0 if init == "identity" and not (both and merge in ("add", "concat")) else 1.0
        self.recipe = Recipe(merge, squeeze, gate, gain)
        self.channel = _ChannelLayers(channels, self.hidden, bias) if channel else None
        self.spatial = _SpatialLayer(channels, bias) if spatial else None
        self.fuse = nn.Linear(2 * channels, channels, bias=bias) if both and merge == "concat" else None
        if init == "identity":
            self._start_as_identity()

    def _start_as_identity(self) -> None:
        if self.channel is not None:
            _zero(self.channel.excite)
        if self.spatial is not None:
            _zero(self.spatial.project)
        if self.fuse is not None:
            _zero(self.fuse)
            with torch.no_grad():
                self.fuse.weight.copy_(torch.eye(self.channels).repeat(1, 2))

    def _weights(self) -> tuple[ChannelWeights | None, SpatialWeights | None]:
        return (
            None if self.channel is None else self.channel.weights(),
            None if self.spatial is None else self.spatial.weights(),
        )

    def gates(self, x: Tensor) -> Gates:
        """Compute the gates of x (N, C, *spatial) without applying them."""
        return gates_of(x, *self._weights(), self.recipe)

    def apply_gates(self, x: Tensor, gates: Gates) -> Tensor:
        """Recalibrate x (N, C, *spatial) by given gates, as the block does by its own."""
        return self._fused(recalibrate(x, gates.channel, gates.spatial, self.recipe.merge))

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, *spatial)."""
        return self._fused(scse(x, *self._weights(), self.recipe))

    def _fused(self, y: Tensor) -> Tensor:
        return y if self.fuse is None else pointwise(y, self.fuse.weight, self.fuse.bias)
