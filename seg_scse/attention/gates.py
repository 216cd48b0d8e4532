"""The blocks of Hu et al. (2018) and Roy et al. (2018, 2019): cSE, sSE and scSE.

U is a feature map (N, C, H, W), sigma the logistic function. Each block maps U to a map of the same shape, dtype and
memory format. Gates are computed in float32, also under autocast.

`init="identity"` starts a block as the exact identity map: the last layer of each gate is zero, so that each gate is
sigma(0) = 1/2, and a constant power of two makes up for it (see `gain` in each class). With `init="default"` the gain
is 1, the plain sigmoid of the papers, and the layers start as torch starts them.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from seg_scse.attention.functional import Merge, channel_means, full_precision, pixel_scores, recalibrate
from seg_scse.errors import ConfigError

Init = Literal["default", "identity"]


def hidden_units(channels: int, reduction: int, min_width: int) -> int:
    """Return the width of the channel gate's bottleneck, max(channels // reduction, min_width).

    Raises:
        ConfigError: it would be 0, a gate that no longer looks at its input.
    """
    hidden = max(channels // reduction, min_width)
    if hidden == 0:
        raise ConfigError(
            f"`reduction`={reduction} leaves no bottleneck unit for {channels} channels: "
            f"choose reduction <= {channels} or min_width >= 1."
        )
    return hidden


def _zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ChannelGate(nn.Module):
    """c = gain * sigma(W1 relu(W2 z)), z = mean over the pixels of U; (N, C, H, W) -> (N, C, 1, 1) float32."""

    def __init__(self, channels: int, hidden: int, bias: bool, init: Init, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        if init == "identity":
            _zero(self.excite)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate of each channel, in (0, gain)."""
        with full_precision(x):
            z = channel_means(x).to(self.squeeze.weight.dtype)
            c = torch.sigmoid(self.excite(torch.relu(self.squeeze(z)))) * self.gain
        return c[:, :, None, None]


class SpatialGate(nn.Module):
    """s = gain * sigma(w . U), a 1x1 convolution to one channel; (N, C, H, W) -> (N, 1, H, W) float32."""

    def __init__(self, channels: int, bias: bool, init: Init, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.project = nn.Linear(channels, 1, bias=bias)
        if init == "identity":
            _zero(self.project)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate of each pixel, in (0, gain)."""
        scores = pixel_scores(x, self.project.weight, self.project.bias)
        return torch.sigmoid(scores.to(torch.promote_types(scores.dtype, torch.float32))) * self.gain


class ChannelSE(nn.Module):
    """Channel squeeze-and-excitation, cSE: U^ = c * U, c = sigma(W1 relu(W2 mean_hw(U))).

    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507 (reduction 16, no biases in the text);
    named cSE by Roy et al. 2018, arXiv 1803.02579 (reduction 2). Deviation: a least width can be set (`min_width`).

    Parameters: 2 C h, + h + C with bias; h = max(C // reduction, min_width). Identity: gain 2.

    Args:
        channels: C.
        reduction: C / h.
        bias: whether both layers have one.
        min_width: least h.
        init: how the block starts.

    Raises:
        ConfigError: no bottleneck unit is left.
    """

    kind = "cse"

    def __init__(
        self, channels: int, reduction: int = 2, bias: bool = True, min_width: int = 0, init: Init = "default"
    ) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = hidden_units(channels, reduction, min_width)
        self.channel = ChannelGate(channels, self.hidden, bias, init, gain=2.0 if init == "identity" else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, H, W) by channel."""
        return recalibrate(x, self.channel(x), None, "add")


class SpatialSE(nn.Module):
    """Spatial squeeze-and-excitation, sSE: U^ = s * U, s = sigma(w . U) at each pixel.

    Roy et al., "Concurrent Spatial and Channel Squeeze & Excitation", MICCAI 2018, arXiv 1803.02579.

    Parameters: C, + 1 with bias. Identity: gain 2.

    Args:
        channels: C.
        bias: whether the projection has one.
        init: how the block starts.
    """

    kind = "sse"
    hidden = 0

    def __init__(self, channels: int, bias: bool = True, init: Init = "default") -> None:
        super().__init__()
        self.channels = channels
        self.spatial = SpatialGate(channels, bias, init, gain=2.0 if init == "identity" else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, H, W) by pixel."""
        return recalibrate(x, None, self.spatial(x), "add")


class ScSE(nn.Module):
    """Concurrent spatial and channel squeeze-and-excitation, scSE: both gates on the same U.

    Roy et al. MICCAI 2018, arXiv 1803.02579: `add`, U^ = c * U + s * U. Roy et al. TMI 2019, arXiv 1808.08127,
    compares adding, maximum, multiplication and concatenation of the two recalibrated maps and prefers the maximum.
    Deviations from the latter, which differ only in `max` where U < 0, in `mul` and in `concat`:
    `max` and `mul` combine the gates, U max(c, s) and U c s, so that each keeps the sign of U and can be the identity;
    `concat` ends in a 1x1 convolution from 2C to C channels, so that the host network need not know of the block.

    Parameters: 2 C h + C, + h + C + 1 with bias; `concat` adds 2 C^2, + C with bias; h as in `ChannelSE`.
    Identity: gain 1 for `add` (U/2 + U/2) and `concat` (weight [I, I]), 2 for `max`, 2 for each gate of `mul`.

    Args:
        channels: C.
        reduction: C / h of the channel gate.
        merge: how the two gates are combined.
        bias: whether the layers have one.
        min_width: least h.
        init: how the block starts.

    Raises:
        ConfigError: no bottleneck unit is left.
    """

    kind = "scse"

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        merge: Merge = "add",
        bias: bool = True,
        min_width: int = 0,
        init: Init = "default",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = hidden_units(channels, reduction, min_width)
        self.merge: Merge = merge
        gain = 2.0 if init == "identity" and merge in ("max", "mul") else 1.0
        self.channel = ChannelGate(channels, self.hidden, bias, init, gain)
        self.spatial = SpatialGate(channels, bias, init, gain)
        self.fuse = nn.Conv2d(2 * channels, channels, 1, bias=bias) if merge == "concat" else None
        if self.fuse is not None and init == "identity":
            _zero(self.fuse)
            with torch.no_grad():
                self.fuse.weight[:, :, 0, 0] = torch.eye(channels).repeat(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, H, W) by channel and pixel."""
        y = recalibrate(x, self.channel(x), self.spatial(x), self.merge)
        return y if self.fuse is None else self.fuse(y)
