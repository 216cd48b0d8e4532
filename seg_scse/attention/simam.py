"""SimAM: a gate without parameters, from how far each value lies from its channel's mean."""

import math

import torch
from torch import Tensor, nn

from seg_scse.attention.functional import full_precision


class SimAM(nn.Module):
    """Simple, parameter-free attention: values that stand out from their channel are kept.

    U^ = sigma(1 / e) * U for each value t of U, with 1 / e = (t - mu)^2 / (4 (v + lambda)) + 1/2, where mu is the mean
    and v the variance of t's channel over its M pixels, v = sum((t - mu)^2) / (M - 1).
    Yang et al., ICML 2021 (PMLR 139), eq. 5 and the listing in the paper; lambda = 1e-4 as there.

    M - 1 is that of the listing; the paper's eq. 5 has M. Deviations: v = 0 for a map of one pixel, where the listing
    divides by 0; any number of spatial dimensions; the gate is computed in float32, also under autocast.

    The gate has the size of U: it is neither a channel gate nor a spatial one. Parameters: none.

    Args:
        channels: C, kept for reports only.
        e_lambda: lambda, in units of the squared feature.
    """

    kind = "simam"
    hidden = 0

    def __init__(self, channels: int, e_lambda: float = 1e-4) -> None:
        super().__init__()
        self.channels = channels
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, *spatial), keeping its dtype and memory format."""
        pixels = tuple(range(2, x.dim()))
        with full_precision(x):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            squares = (wide - wide.mean(pixels, keepdim=True)).square()
            variance = squares.sum(pixels, keepdim=True) / max(math.prod(x.shape[2:]) - 1, 1)
            gate = torch.sigmoid(squares / (4 * (variance + self.e_lambda)) + 0.5)
        return x * gate.to(x.dtype)
