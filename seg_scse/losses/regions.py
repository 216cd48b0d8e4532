"""Losses of overlap, from one set of soft counts."""

import torch
from torch import Tensor

from seg_scse.losses.batches import SoftCounts

EPSILON = 1e-7
"""Only keeps 0 / 0 away (Tversky with beta = 0); a class that is present has a denominator near its size in pixels."""


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 0 (with zero gradient) where the denominator is 0."""
    return numerator / torch.where(denominator > 0, denominator, 1.0)


def tversky_loss(counts: SoftCounts, alpha: float, beta: float) -> Tensor:
    """1 - tp / (tp + alpha fp + beta fn), mean over present classes, plus the share given to absent classes.

    Salehi et al. 2017, arXiv 1706.05721; alpha = beta = 0.5 is Dice, 1 is Jaccard. There is no smoothing constant: a
    foreground class without a true pixel in the batch, where the quotient is always 1 and teaches nothing, is instead
    charged its mean probability over the valid pixels.
    """
    errors = alpha * counts.fp + beta * counts.fn
    losses = errors / (counts.tp + errors + EPSILON)
    present = ratio((losses * counts.present).sum(), counts.present.sum())
    absent = ratio((counts.fp * (1.0 - counts.present)).sum(), counts.pixels)
    return present + absent
