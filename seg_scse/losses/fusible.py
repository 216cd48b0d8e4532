"""The form of `softmax_statistics` for `torch.compile`: few loops over the logits, and nothing of their size between.

The true class is found by comparing, not by gather and scatter, and the probabilities are used once in each place.
"""

from typing import Any

import torch
from torch import Tensor

from seg_scse.config.schema import IGNORE_INDEX

PIXELS = (0, 2, 3)


class FusibleStatistics(torch.autograd.Function):
    """`softmax_statistics` of whole tensors."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 - torch's context
        """Compute the three results; two maps (N, 1, H, W) are kept for the backward pass beside the logits."""
        target = target.unsqueeze(1)
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        is_truth = _is_truth(target, z.shape[1])
        total = z.logsumexp(1, keepdim=True)
        of_truth = torch.where(is_truth, z, 0.0).sum(1, keepdim=True) - total
        losses = of_truth * -(1.0 - label_smoothing)
        if label_smoothing:
            losses = losses - (z.mean(1, keepdim=True) - total) * label_smoothing
        valid = target != IGNORE_INDEX
        predicted = ((z - total).exp() * valid).sum(PIXELS)
        # An ignored pixel has no true class: -total, of which the exponential may be infinite, stands in its place.
        probability = torch.where(valid, of_truth, -torch.inf).exp()
        own = torch.where(is_truth, probability, 0.0).sum(PIXELS)
        ctx.save_for_backward(logits, target, total, probability)
        ctx.label_smoothing = label_smoothing
        return losses.squeeze(1), own, predicted

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor, of_own: Tensor, of_predicted: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Compute the gradient in the logits' dtype."""
        logits, target, total, probability = ctx.saved_tensors
        z, valid = logits.to(total.dtype), target != IGNORE_INDEX
        is_truth = _is_truth(target, z.shape[1])
        slope, shape = of_losses.unsqueeze(1), (1, -1, 1, 1)
        own = probability * torch.where(is_truth, of_own.view(shape), 0.0).sum(1, keepdim=True)
        common = ((z - total).exp() * of_predicted.view(shape)).sum(1, keepdim=True) + own
        # Not `z - total` again: a compiler would find both to be one tensor and store it, at twice the traffic.
        probabilities = (z + (-total)).exp()
        gradient = probabilities * ((of_predicted.view(shape) - common) * valid + slope)
        gradient = gradient + torch.where(is_truth, own - (1.0 - ctx.label_smoothing) * slope, 0.0)
        if ctx.label_smoothing:
            gradient = gradient - slope * (ctx.label_smoothing / z.shape[1])
        return gradient.to(logits.dtype), None, None


def _is_truth(target: Tensor, classes: int) -> Tensor:
    """Boolean (N, K, H, W): where each class is, of a target (N, 1, H, W)."""
    return target == torch.arange(classes, dtype=target.dtype, device=target.device).view(1, -1, 1, 1)
