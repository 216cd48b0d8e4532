"""Mixing the crops of a batch with each other: CutMix and mixup for segmentation.

All numbers come from one generator on the host, a function of (seed, step, rank) in training, so that nothing waits for
the device. Each crop is mixed with the one `shift` places further in the batch, the first following the last: a
permutation that maps no crop to itself, and needs no index on the device. Which crops stand there is drawn already.
"""

import math

import numpy as np
import torch
from torch import Tensor

from seg_scse.config.schema import AugmentationConfig

Targets = list[tuple[float, Tensor]]
"""(weight, target (N, H, W)) pairs; weights add up to 1. The loss is the weighted sum of the losses against each."""


def mix(images: Tensor, target: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """Mix a batch as `augmentation.mix` says, or leave it as it is.

    With probability `mix_share`, one lambda for the batch is drawn from Beta(mix_alpha, mix_alpha), and then:

    - `mixup` (Zhang et al. 2018, arXiv 1710.09412): lambda x + (1 - lambda) x', and the losses against both masks with
      these weights. A pixel that one of the masks ignores counts in the loss against the other only.
    - `cutmix` (Yun et al. 2019, arXiv 1905.04899): in a rectangle of 1 - lambda of the area, image and mask are those
      of x'. Its sides are sqrt(1 - lambda) of the crop's, its centre is drawn evenly over the crop, and what lies
      outside is cut off. Each pixel keeps its own answer, be it a class, bits of labels, or 255 for ignored.

    A batch of one crop has no partner and is never mixed.

    Args:
        images: (N, C, H, W) floats, standardised; not changed.
        target: (N, H, W) whole numbers; not changed.
        config: the section `augmentation`.
        rng: where the numbers come from; asked for none where `mix` is `none`.

    Returns:
        images (N, C, H, W) in the given memory format, and their targets.
    """
    if config.mix == "none" or len(images) < 2 or rng.random() >= config.mix_share:
        return images, [(1.0, target)]
    share = float(rng.beta(config.mix_alpha, config.mix_alpha))
    shift = int(rng.integers(1, len(images)))
    if config.mix == "mixup":
        # lerp(x', x, lambda) = lambda x + (1 - lambda) x'
        return torch.lerp(_others(images, shift), images, share), [(share, target), (1 - share, _others(target, shift))]
    height, width = images.shape[-2:]
    rows, columns = _rectangle(height, width, share, rng)
    return _pasted(images, shift, rows, columns), [(1.0, _pasted(target, shift, rows, columns))]


def _others(x: Tensor, shift: int) -> Tensor:
    """Return for each sample of a batch the one `shift` places further, in the same memory format."""
    return torch.cat((x[shift:], x[:shift]))


def _rectangle(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw the rows and columns that are replaced where `share` of the area stays."""
    side = math.sqrt(1.0 - share)
    return _span(height, side, rng), _span(width, side, rng)


def _span(length: int, side: float, rng: np.random.Generator) -> slice:
    middle, half = int(rng.integers(length)), int(length * side) // 2
    return slice(max(0, middle - half), min(length, middle + half))


def _pasted(x: Tensor, shift: int, rows: slice, columns: slice) -> Tensor:
    """Return a copy of a batch (N, ..., H, W) whose rectangle comes from the samples `shift` places further."""
    changed = x.clone()  # keeps the memory format
    changed[..., rows, columns] = _others(x[..., rows, columns], shift)
    return changed
