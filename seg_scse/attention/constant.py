"""A gate that does not look at its feature map: the control for gates that do."""

import torch
from torch import Tensor, nn

from seg_scse.attention.functional import Gates, Recipe, activate, recalibrate
from seg_scse.attention.gates import Init
from seg_scse.config.loading import require_known


class ConstantGate(nn.Module):
    """One learned number for each channel, the same for every image and every pixel.

    U^ = gain * sigma(b) * U for a feature map U (N, C, *spatial) with one to three spatial dimensions; b (C) is learned
    and starts at 0. It has the sites, the range and the start of a gate that looks at U, and nothing else of it: what
    such a gate gains over this one, it gains by looking.

    `init="default"` has the gain 1 and starts at 1/2, in the range (0, 1), as cSE, sSE and scSE with `max` do.
    `init="identity"` has the gain 2 and starts as the exact identity map, in the range (0, 2): that is where scSE with
    `add` starts (c + s is about 1/2 + 1/2 in a fresh block) and what every block with `init="identity"` does.

    The gate can be folded into a neighbouring layer after training without any loss, see `fold.fold_constant_gates`.
    It is float32 also under autocast. Parameters: C.

    Args:
        channels: C.
        init: how the block starts.

    Raises:
        ConfigError: an unknown `init`.

    Example:
        >>> block = ConstantGate(64, init="identity")
        >>> x = torch.rand(1, 64, 32, 32)
        >>> torch.equal(block(x), x)
        True
    """

    kind = "constant"
    hidden = 0

    def __init__(self, channels: int, init: Init = "default") -> None:
        super().__init__()
        require_known("init", init, Init)
        self.channels = channels
        self.recipe = Recipe("add", gain=2.0 if init == "identity" else 1.0)
        self.score = nn.Parameter(torch.zeros(channels))

    def _gate(self, x: Tensor) -> Tensor:
        """Return the gate as (1, C, 1, ...)."""
        score = self.score.to(torch.promote_types(self.score.dtype, torch.float32))
        return (activate(score, self.recipe.activation) * self.recipe.gain).view(1, -1, *(1 for _ in x.shape[2:]))

    def gates(self, x: Tensor) -> Gates:
        """Return the gate of each image in x (N, C, *spatial), (N, C, 1, ...), without applying it."""
        gate = self._gate(x)
        return Gates(gate.expand(x.shape[0], *gate.shape[1:]), None)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of x (N, C, *spatial), keeping its dtype and memory format."""
        return recalibrate(x, self.gates(x).channel, None, self.recipe.merge)
