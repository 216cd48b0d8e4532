"""From the loader's images to what the network sees, on the network's device."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIN_STD = 1e-3
"""Smallest standard deviation divided by, so that a constant channel stays finite."""


class Standardizer(nn.Module):
    """Scale uint8 images to [0, 1], subtract the mean and divide by the standard deviation of each channel.

    Float images are in [0, 1] already.

    Args:
        mean: one number per channel, of pixels in [0, 1].
        std: likewise.
        channels_last: memory layout of the result; False: rows of one channel after the other.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels_last: bool = True) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp_min(MIN_STD).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8, or float32 in [0, 1], (N, C, H, W) to float32 (N, C, H, W) in the chosen layout."""
        if images.dtype == torch.uint8:
            scaled = images.to(dtype=torch.float32, memory_format=self.layout)
            return scaled.div_(255.0).sub_(self.mean).div_(self.std)
        images = images.to(dtype=torch.float32, memory_format=self.layout)
        return (images - self.mean).div_(self.std)  # not in place: `to` may have copied nothing
