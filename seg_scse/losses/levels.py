"""Losses of several maps of logits, as deep supervision trains them."""

import torch
from torch import Tensor


def level_shares(count: int) -> tuple[float, ...]:
    """Return the weights of `count` maps, finest first: halved from each to the next coarser one, with the sum 1.

    As in nnU-Net (Isensee et al. 2021), which however leaves the coarsest map of its network out.
    """
    return tuple(2.0**-level / (2.0 - 2.0 ** (1 - count)) for level in range(count))


def target_at(target: Tensor, height: int, width: int) -> Tensor:
    """Reduce a target (N, H, W) to (N, height, width) by taking pixels, so that no class is invented.

    A pixel of the result is the one that its centre lies in: row floor((i + 1/2) H / height); where the centre lies on
    an edge, as between two rows at half the size, the lower or right one. The same as `nearest-exact` of
    `torch.nn.functional.interpolate`, but in whole numbers: torch's float32 may round an edge to the upper or left one.
    """
    rows = _centres(target.shape[1], height, target.device)
    columns = _centres(target.shape[2], width, target.device)
    return target[:, rows[:, None], columns]


def _centres(size: int, wanted: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(wanted, device=device) + 1) * size // (2 * wanted)
