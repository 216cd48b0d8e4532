"""The two halves of the dual attention network, DANet: self-attention between pixels and between channels.

Fu et al., CVPR 2019, arXiv 1809.02983, section 3. Both add a context to the map, scaled by a number `gamma` that starts
at zero, so that a new block is the identity. The paper adds the outputs of both, each between 3x3 convolutions of its
own, in one place of the network; here each is a block that can be put on any site.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_scse.attention.functional import full_precision
from seg_scse.attention.gates import hidden_units


def _add_context(x: Tensor, gamma: Tensor, context: Tensor) -> Tensor:
    """Return x + gamma * context in the dtype and memory format of x; context is (N, C, pixels)."""
    return x + gamma.to(x.dtype) * context.reshape(x.shape).to(x.dtype)


class PositionAttention(nn.Module):
    """Position attention of DANet: each pixel sees a weighted mean over all pixels.

    E_j = U_j + gamma sum_i s_ji D_i, s_ji = softmax over i of B_j . C_i, at each pixel j, where B = Wq U + bq (query),
    C = Wk U (key) and D = Wv U + bv (value) are 1x1 convolutions, B and C with h channels. Eq. 1 and 2 of the paper
    (reduction 8), whose B and C exchange their roles here. The scores are not scaled.

    Deviations: the key has no bias, because it shifts all scores of a softmax alike and would never learn; any number
    of spatial dimensions.

    Time grows with the square of the number of pixels, memory linearly: the scores are never formed as a whole where
    torch has a fused kernel for `scaled_dot_product_attention`. Those want queries, keys and values of one width, so
    the narrower ones are filled up with zeros, which changes nothing.

    Parameters, h = max(C // reduction, min_width): 2 C h + h + C^2 + C + 1.

    Args:
        channels: C.
        reduction: C / h.
        min_width: least h.

    Raises:
        ConfigError: no unit is left for queries and keys.
    """

    kind = "dual_position"

    def __init__(self, channels: int, reduction: int, min_width: int) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = hidden_units(channels, reduction, min_width)
        self.query = nn.Linear(channels, self.hidden)
        self.key = nn.Linear(channels, self.hidden, bias=False)
        self.value = nn.Linear(channels, channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Add the context to x (N, C, *spatial), keeping its dtype and memory format."""
        pixels = x.flatten(2).transpose(1, 2)  # (N, pixels, C)
        width = max(self.channels, self.hidden)
        query, key, value = (
            F.pad(tokens, (0, width - tokens.shape[-1])).unsqueeze(1)
            for tokens in (self.query(pixels), self.key(pixels), self.value(pixels))
        )
        context = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0, :, : self.channels]
        return _add_context(x, self.gamma, context.transpose(1, 2))


class ChannelAttention(nn.Module):
    """Channel attention of DANet: each channel sees a weighted mean over all channels.

    E_j = U_j + gamma sum_i a_ji U_i, a_ji = softmax over i of U_j . U_i, at each channel j; the product runs over the
    pixels. Eq. 3 and 4 of the paper.

    This is the paper's text. The authors' code takes the softmax of max(U_j . U_i) - U_j . U_i, which prefers the
    channels that are least alike. The products are not divided by the number of pixels: on large maps the softmax
    comes close to picking one channel. Deviations: any number of spatial dimensions; computed in float32, also under
    autocast, because the exponential of a rounded sum over thousands of pixels is far off.

    Memory: C x C scores per image. Parameters: 1.

    Args:
        channels: C, kept for reports only.
    """

    kind = "dual_channel"
    hidden = 0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Add the context to x (N, C, *spatial), keeping its dtype and memory format."""
        with full_precision(x):
            maps = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))  # (N, C, pixels)
            scores = maps @ maps.transpose(1, 2)
            context = torch.softmax(scores, dim=-1) @ maps
        return _add_context(x, self.gamma, context)
