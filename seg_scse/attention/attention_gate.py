"""The additive attention gate of Attention U-Net: a coarser map of the decoder says where a skip connection matters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_scse.attention.functional import Gates, activate, pixel_scores, pointwise, recalibrate
from seg_scse.errors import ConfigError

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""Mode of `interpolate` by number of spatial dimensions."""


class AttentionGate(nn.Module):
    """Additive attention gate on a skip connection x, steered by a signal g from the decoder.

    x^ = alpha * x, alpha = sigma(psi . relu(Wx x + Wg g + bg) + bpsi) at each pixel; Wx, Wg and psi are 1x1
    convolutions to h, h and 1 channels. Oktay et al., MIDL 2018, arXiv 1804.03999, eq. 1 and 2.

    Deviations: alpha is computed on the grid of x, to which Wg g + bg is resampled (linearly, bilinearly or
    trilinearly, corners not aligned); the paper takes Wx x with stride 2 on the grid of g and resamples alpha. The
    1x1 convolution and batch normalisation that the authors' code puts behind the gate are left out, so that the block
    is a gate. As in the paper, sigma is the logistic function and Wx has no bias.

    Parameters, G channels of the signal: C h + G h + h + h + 1.

    Args:
        channels: C of x.
        signal_channels: G of the signal.
        hidden: h.

    Raises:
        ConfigError: `hidden` is less than 1.
    """

    kind = "attention_gate"
    needs_signal = True

    def __init__(self, channels: int, signal_channels: int, hidden: int) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"`hidden`={hidden}: an attention gate needs at least one hidden unit.")
        self.channels = channels
        self.signal_channels = signal_channels
        self.hidden = hidden
        self.map = nn.Linear(channels, hidden, bias=False)
        self.signal = nn.Linear(signal_channels, hidden)
        self.psi = nn.Linear(hidden, 1)

    def gates(self, x: Tensor, signal: Tensor) -> Gates:
        """Compute alpha without applying it; shapes as in `forward`."""
        steering = pointwise(signal, self.signal.weight, self.signal.bias)
        if steering.shape[2:] != x.shape[2:]:
            # After the projection: the weights of an interpolation sum to 1, so that both orders give the same.
            mode = INTERPOLATION[x.dim() - 2]
            steering = F.interpolate(steering, x.shape[2:], mode=mode, align_corners=False)
        joined = torch.relu(pointwise(x, self.map.weight, self.map.bias) + steering)
        scores = pixel_scores(joined, self.psi.weight, self.psi.bias)
        return Gates(None, activate(scores.to(torch.promote_types(scores.dtype, torch.float32)), "sigmoid"))

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        """Gate the skip connection.

        Args:
            x: (N, C, *spatial), any float dtype.
            signal: (N, G, *spatial'), any size, usually coarser.

        Returns:
            (N, C, *spatial) in the dtype and memory format of x.
        """
        return recalibrate(x, None, self.gates(x, signal).spatial, "add")
