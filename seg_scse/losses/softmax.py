"""Cross-entropy and soft counts from one reading of softmax logits, in closed form.

Autograd keeps log-probabilities and probabilities of every pixel for the backward pass, several times the logits. Here
nothing but the logits is kept: with p = softmax(z), t the true class of a pixel and 1[k = t] its one-hot truth,

    cross-entropy      L   = -(1 - e) log p_t - (e / K) sum_k log p_k       dL / dz_k = p_k - (1 - e) 1[k = t] - e / K
    soft counts        T_k = sum of p_k over pixels of class k, P_k = sum of p_k over valid pixels

and for gradients l (per pixel), a_k of T_k and b_k of P_k, with q = p_t a_t and s = sum_j p_j b_j + q,

    dz_k = p_k (b_k - s + l) + 1[k = t] (q - (1 - e) l) - (e / K) l.

In eager mode this is computed piece by piece, so that what is in between stays small and, on a CPU, in its cache; under
`torch.compile` in one expression without gather and scatter, which keep a compiler from merging loops.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.losses.fusible import FusibleStatistics

PIECE = {"cpu": 2**17}
"""Elements of the logits that are worked on at a time: half a megabyte of float32."""
PIECE_ELSEWHERE = 2**24
"""The same for other devices, on which small pieces would wait for their launch: 64 megabytes."""

_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last}


def softmax_statistics(logits: Tensor, target: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cross-entropy of each pixel and the sums of probabilities that region losses need.

    Args:
        logits: (N, K, H, W) of any float dtype, finite; computed in float32, or float64.
        target: uint8 or int64 (N, H, W), 0 .. K - 1 or 255 for pixels that count nowhere.
        label_smoothing: e, in [0, 1).

    Returns:
        The cross-entropy (N, H, W), arbitrary on ignored pixels, whose gradients are taken as 0; for each class the sum
        of its probabilities over its own pixels (K,); and over all valid pixels (K,).
    """
    form = FusibleStatistics if torch.compiler.is_compiling() else ChunkedStatistics
    losses, own, predicted = form.apply(logits, target, label_smoothing)
    return losses, own, predicted


class ChunkedStatistics(torch.autograd.Function):
    """`softmax_statistics` piece by piece."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 - torch's context
        """Compute the three results; the logits and the target are kept for the backward pass, and nothing else."""
        ctx.save_for_backward(logits, target)
        ctx.label_smoothing = label_smoothing
        flat, dim = _flattened(logits)
        dtype, classes = torch.promote_types(logits.dtype, torch.float32), logits.shape[1]
        losses = torch.empty(target.shape, dtype=dtype, device=logits.device)
        own = torch.zeros(classes, dtype=dtype, device=logits.device)
        predicted, pixels = torch.zeros_like(own), (0, 3 - dim)
        for piece in _pieces(flat, dim):
            truth, valid = _indices(target.flatten(1)[piece], dim)
            logs = F.log_softmax(flat[_at(piece, dim)], dim, dtype=dtype)
            of_truth = logs.gather(dim, truth)
            entropy = of_truth * -(1.0 - label_smoothing)
            if label_smoothing:
                entropy = entropy - logs.mean(dim, keepdim=True) * label_smoothing
            losses.flatten(1)[piece] = entropy.squeeze(dim)
            probabilities = logs.exp_().mul_(valid)
            predicted += probabilities.sum(pixels)
            own += probabilities.zero_().scatter_(dim, truth, of_truth.exp_() * valid).sum(pixels)
        return losses, own, predicted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_losses: Tensor, of_own: Tensor, of_predicted: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Compute the probabilities again, and from them the gradient in the logits' dtype and memory format."""
        logits, target = ctx.saved_tensors
        flat, dim = _flattened(logits)
        gradient = torch.empty_like(logits, memory_format=_FORMATS[dim])
        results, dtype = _flattened(gradient, dim)[0], of_losses.dtype
        shape = (1, -1, 1) if dim == 1 else (1, 1, -1)
        for piece in _pieces(flat, dim):
            truth, valid = _indices(target.flatten(1)[piece], dim)
            probabilities = F.softmax(flat[_at(piece, dim)], dim, dtype=dtype)
            slope = of_losses.flatten(1)[piece].unsqueeze(dim)
            own = probabilities.gather(dim, truth) * of_own[truth]
            result = probabilities * of_predicted.view(shape)
            common = slope - result.sum(dim, keepdim=True) - own
            result.addcmul_(probabilities, common)
            result.scatter_add_(dim, truth, own - (1.0 - ctx.label_smoothing) * slope)
            if ctx.label_smoothing:
                result -= slope * (ctx.label_smoothing / logits.shape[1])
            torch.mul(result, valid, out=results[_at(piece, dim)])
        return gradient, None, None


def _flattened(maps: Tensor, dim: int | None = None) -> tuple[Tensor, int]:
    """Return maps (N, K, H, W) as (N, K, P), or (N, P, K) where channels come last in memory, and the dim of K.

    The result is a view where the maps are in one of the two memory formats, else a copy.
    """
    if dim is None:
        last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
        dim = 2 if last else 1
    return (maps.contiguous().flatten(2), 1) if dim == 1 else (maps.permute(0, 2, 3, 1).flatten(1, 2), 2)


def _pieces(flat: Tensor, dim: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of samples and of pixels: parts of one sample, or several whole samples."""
    classes, pixels = flat.shape[dim], flat.shape[3 - dim]
    room = max(1, PIECE.get(flat.device.type, PIECE_ELSEWHERE) // classes)
    samples = max(1, room // pixels)
    for first in range(0, len(flat), samples):
        for start in range(0, pixels, room):
            yield slice(first, first + samples), slice(start, start + room)


def _at(piece: tuple[slice, slice], dim: int) -> tuple[slice, ...]:
    return (piece[0], slice(None), piece[1]) if dim == 1 else piece


def _indices(target: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the true class as an index, 0 for ignored pixels, and where pixels are valid; with a dim for classes."""
    target = target.unsqueeze(dim)
    valid = target != IGNORE_INDEX
    return (target * valid).long(), valid
