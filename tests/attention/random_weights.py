"""Weights that no formula is insensitive to."""

import torch


def randomized(block):
    """The block in float64, every parameter and running statistic drawn."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
        for name, buffer in block.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + ("var" in name))
    return block.double()
