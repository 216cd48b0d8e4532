"""The Lovasz losses: surrogates of the Jaccard loss that sort the errors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_scse.losses.batches import Batch
from seg_scse.losses.regions import ratio


def lovasz_hinge(batch: Batch) -> Tensor:
    """Lovasz hinge of the foreground, or the mean of each label's; over the whole batch.

    Berman et al. 2018, arXiv 1705.08790, equation 9.
    """
    losses = []
    for logits, truth in zip(batch.in_float32().unbind(dim=1), batch.truth().unbind(dim=1), strict=True):
        margins = F.relu(1.0 - torch.where(truth, logits, -logits))
        losses.append(_lovasz_extension(margins * batch.valid, truth))
    return torch.stack(losses).mean()


def lovasz_softmax(batch: Batch) -> Tensor:
    """Lovasz-Softmax, mean over the classes present, background too. Berman et al. 2018, equations 11 and 12."""
    losses, present = [], []
    for index, probabilities in enumerate(batch.probabilities().unbind(dim=1)):
        truth = batch.target == index
        errors = torch.where(truth, 1.0 - probabilities, probabilities) * batch.valid
        losses.append(_lovasz_extension(errors, truth))
        present.append(truth.any())
    weights = torch.stack(present)
    return ratio((torch.stack(losses) * weights).sum(), weights.sum())


def _lovasz_extension(errors: Tensor, truth: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss at `errors`, float (N, H, W), >= 0, of a class with boolean `truth`.

    Ignored pixels are given as errors of 0: sorted last, they change nothing before them and add nothing. The
    extension is linear in the errors as long as their order holds, so the sort needs no gradient and only the weights
    stay in memory.
    """
    flat = errors.flatten()
    return (flat * _lovasz_weights(flat.detach(), truth.flatten())).sum()


def _lovasz_weights(errors: Tensor, truth: Tensor) -> Tensor:
    """What each pixel adds to the Jaccard loss when pixels become wrong in the order of falling error, (P,), >= 0.

    Algorithm 1 of Berman et al. 2018 takes differences of 1 - I / U, which drown in float32 rounding beyond a million
    pixels. The difference in closed form is 1 / U for a pixel of the class and I / (U (U - 1)) for another one, with
    I and U as they are after the pixel.
    """
    order = errors.argsort(descending=True)
    of_class = truth[order]
    # Counts as integers: float32 stops counting at 2^24 pixels.
    size = truth.sum(dtype=torch.int32)
    intersection = (size - of_class.cumsum(0, dtype=torch.int32)).to(errors.dtype)
    union = (size + (~of_class).cumsum(0, dtype=torch.int32)).to(errors.dtype)
    # union == 1 outside the class: the first false positive of an empty truth takes the loss from 0 to 1.
    of_others = intersection / (union * (union - 1.0).clamp_min(1.0))
    steps = torch.where(of_class | (union == 1.0), 1.0 / union, of_others)
    return torch.empty_like(errors).scatter_(0, order, steps)
