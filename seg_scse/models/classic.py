"""The classic U-Net, host of the experiments in the scSE papers."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from seg_scse.errors import ConfigError


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    # No bias: the normalisation that follows would take it away again.
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class EncoderBlock(nn.Sequential):
    """Two 3x3 convolutions: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, out_channels)
        self.conv2 = _convolution(out_channels, out_channels)


class DecoderBlock(nn.Module):
    """Up-convolution, concatenation with the skip and two 3x3 convolutions: 2C channels to C at twice the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.conv1 = _convolution(2 * channels, channels)
        self.conv2 = _convolution(channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Combine x (N, 2C, H // 2, W // 2) with skip (N, C, H, W) to (N, C, H, W)."""
        joined: Tensor = torch.cat((skip, self.up(x, output_size=skip.shape[2:])), dim=1)
        out: Tensor = self.conv2(self.conv1(joined))
        return out


class Encoder(nn.Module):
    """The contracting path with the bottleneck as its last block; each further block has twice the channels."""

    def __init__(self, in_channels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [in_channels, *(width * 2**k for k in range(depth + 1))]
        self.blocks = nn.ModuleList(EncoderBlock(*pair) for pair in pairwise(widths))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of x (N, in_channels, H, W), finest first: (N, width 2^k, H // 2^k, W // 2^k)."""
        features: list[Tensor] = []
        for block in self.blocks:
            x = block(self.pool(x) if features else x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """The expanding path."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(width * 2**k) for k in reversed(range(depth)))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Combine the encoder's features, finest first and the bottleneck last, to (N, width, H, W)."""
        *skips, x = features
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        return x


class ClassicUNet(nn.Module):
    """U-Net of Ronneberger et al. (MICCAI 2015, arXiv 1505.04597) as the scSE papers use it.

    Roy et al. (MICCAI 2018, arXiv 1803.02579; TMI 2019, arXiv 1808.08127) put scSE blocks into a U-Net of four encoder
    blocks, a bottleneck, four decoder blocks and a classification layer: depth 4. Each block is two 3x3 convolutions
    with ReLU; 2x2 max pooling leads to the next encoder block, which has twice the channels; each decoder block starts
    with a 2x2 up-convolution that halves them and a concatenation with the encoder's feature of the same size; a 1x1
    convolution ends the network. The weights of its convolutions start as in Ronneberger et al., normal with variance
    2 / fan-in.

    Differences to Ronneberger et al.: the convolutions are padded by 1, so that the output has the input's size and no
    skip is cropped; batch normalisation stands between convolution and ReLU, which then has no bias; no dropout. Any
    input size works: where a side is odd, pooling leaves its last pixel out, and the up-convolution fills the missing
    last row or column with its bias. A side must have at least 2^depth pixels, and a batch in training mode more than
    one pixel at the bottleneck.

    The children are `encoder.blocks.0 .. depth` (the last is the bottleneck), `decoder.blocks.0 .. depth - 1`, coarsest
    first, each with the child `conv1` that receives the concatenation (skip first), and `segmentation_head`.

    Parameters, C_k = width 2^k: encoder and bottleneck 9 (in_channels C_0 + C_0^2) + 4 C_0 and, for k = 1 .. depth,
    9 (C_(k-1) C_k + C_k^2) + 4 C_k; decoder, for k = 0 .. depth - 1, 35 C_k^2 + 5 C_k; head classes (C_0 + 1).

    Args:
        in_channels: channels of the image.
        classes: channels of the output.
        width: channels of the first block.
        depth: encoder blocks before the bottleneck, and decoder blocks.

    Raises:
        ConfigError: an argument is less than 1.

    Example:
        >>> ClassicUNet(1, 4, width=8)(torch.rand(2, 1, 50, 37)).shape
        torch.Size([2, 4, 50, 37])
    """

    def __init__(self, in_channels: int, classes: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "classes": classes, "width": width, "depth": depth}
        for name, value in sizes.items():
            if value < 1:
                raise ConfigError(f"`{name}` = {value} leaves no network: it must be 1 or more.")
        self.encoder = Encoder(in_channels, width, depth)
        self.decoder = Decoder(width, depth)
        self.segmentation_head = nn.Conv2d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, classes, H, W)."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(x)))
        return logits
