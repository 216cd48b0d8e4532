"""Gates of other papers in the implementation of timm, for maps with two spatial dimensions.

timm's own rule for the width of a bottleneck (a ratio rounded to a divisor) is not used: the width is always
`max(C // reduction, min_width)`, and a width of 0 is refused. All but `CBAM` and `CoordinateAttention` are free of
running statistics. Under autocast the blocks compute in autocast's precision.
"""

from torch import Tensor, nn

from seg_scse.attention.gates import hidden_units
from seg_scse.errors import ConfigError


class _TimmGate(nn.Module):
    """A block of `timm.layers.create_attn` with the attributes of a gate; its parameters are under `block.`."""

    kind: str

    def __init__(self, channels: int, hidden: int = 0) -> None:
        from timm.layers import create_attn  # slower to import than torch, and most networks have none of these

        super().__init__()
        self.channels = channels
        self.hidden = hidden
        self.block = create_attn(self.kind, channels, **({"rd_channels": hidden} if hidden else {}))

    def forward(self, x: Tensor) -> Tensor:
        """Recalibrate x (N, C, H, W), keeping its dtype and memory format.

        Raises:
            ConfigError: x does not have two spatial dimensions.
        """
        if x.dim() != 4:
            raise ConfigError(
                f"`type` = {self.kind} is for maps (N, C, H, W), not for {tuple(x.shape)}: choose cse, sse, scse, "
                "simam, constant, dual_position or dual_channel, which take one to three spatial dimensions."
            )
        y: Tensor = self.block(x)
        return y


class ECA(_TimmGate):
    """Efficient channel attention: neighbouring channels share a gate through a convolution over the channels.

    U^ = c * U, c = sigma(conv1d_k(mean(U))), without reduction or bias; k = |(log2(C) + 1) / 2| at an odd number.
    Wang et al., CVPR 2020, arXiv 1910.03151, section 3.2 (gamma = 2, b = 1).

    Deviation: k is at least 3. Parameters: k, where t = floor((log2(C) + 1) / 2) and k = max(3, t, or t + 1 if t is
    even).

    Args:
        channels: C.
    """

    kind = "eca"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)


class EffectiveSE(_TimmGate):
    """Effective squeeze-and-excitation, eSE: one full layer in place of the bottleneck.

    U^ = c * U, c = hard_sigma(W mean(U) + b), hard_sigma(a) = relu6(a + 3) / 6.
    Lee and Park, CVPR 2020, arXiv 1911.06667, the block of VoVNetV2.

    Deviation: the hard sigmoid, as in the authors' code; the paper writes sigma. Parameters: C^2 + C.

    Args:
        channels: C.
    """

    kind = "ese"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)


class CBAM(_TimmGate):
    """Convolutional block attention: a channel gate, then a spatial gate on the result.

    V = c * U, c = sigma(W1 relu(W0 mean(U)) + W1 relu(W0 max(U))), mean and maximum over the pixels; then U^ = s * V,
    s = sigma(BN(conv_7x7([mean(V); max(V)]))), mean and maximum over the channels.
    Woo et al., ECCV 2018, arXiv 1807.06521, eq. 2 and 3 (reduction 16).

    Deviation: the batch normalisation, as in the authors' code; the paper writes none. In training it needs more than
    one value: a batch of one 1x1 map is refused by torch. Parameters, h = max(C // reduction, min_width): 2 C h + 100.

    Args:
        channels: C.
        reduction: C / h.
        min_width: least h.

    Raises:
        ConfigError: no bottleneck unit is left.
    """

    kind = "cbam"

    def __init__(self, channels: int, reduction: int, min_width: int) -> None:
        super().__init__(channels, hidden_units(channels, reduction, min_width))


class GlobalContext(_TimmGate):
    """Global context: a channel gate computed from an attention-weighted mean.

    U^ = c * U, c = sigma(W2 relu(LN(W1 z + b1)) + b2), z = sum_j a_j U_j, a = softmax over the pixels j of w . U_j.
    Cao et al., ICCV workshops 2019, arXiv 1904.11492, section 3 (reduction 16 or 4).

    Deviations: the context gates the map by a sigmoid ("scale" in the paper's ablation of the fusion) and is not added
    to it, as the paper prefers; W2 does not start at zero; the projection w has no bias, because the softmax ignores
    it and it would never learn. timm flattens the pixels: a channels_last map is copied once on the way. Parameters,
    h = max(C // reduction, min_width): 2 C h + 3 h + 2 C.

    Args:
        channels: C.
        reduction: C / h.
        min_width: least h.

    Raises:
        ConfigError: fewer than two bottleneck units are left; the layer norm LN makes a constant of a single one.
    """

    kind = "gc"

    def __init__(self, channels: int, reduction: int, min_width: int) -> None:
        hidden = hidden_units(channels, reduction, min_width)
        if hidden == 1:
            raise ConfigError(
                f"`reduction`={reduction} leaves one bottleneck unit for {channels} channels, which the layer norm of "
                "`gc` turns into a constant: choose a smaller reduction, or min_width >= 2."
            )
        super().__init__(channels, hidden)
        self.block.conv_attn.bias = None


class CoordinateAttention(_TimmGate):
    """Coordinate attention: one gate per channel and row, and one per channel and column.

    U^(y, x) = U(y, x) * g_h(y) * g_w(x), g_h = sigma(F_h f_h), g_w = sigma(F_w f_w), where f_h and f_w are the two
    parts of f = hard_swish(BN(F1 [mean over x of U; mean over y of U])).
    Hou et al., CVPR 2021, arXiv 2103.02907, eq. 4 to 9 (reduction 32; at least 8 units in the authors' code).

    Deviations: no bias in F1, F_h and F_w; batch normalisation and hard swish as in the authors' code. Parameters,
    h = max(C // reduction, min_width): 3 C h + 2 h.

    Args:
        channels: C.
        reduction: C / h.
        min_width: least h.

    Raises:
        ConfigError: no bottleneck unit is left.
    """

    kind = "coord"

    def __init__(self, channels: int, reduction: int, min_width: int) -> None:
        super().__init__(channels, hidden_units(channels, reduction, min_width))
