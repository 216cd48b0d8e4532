"""What the terms of a loss ask of one batch of logits and its target."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.losses.softmax import softmax_statistics


class SoftCounts(NamedTuple):
    """Sums of probabilities over the valid pixels of a batch; one entry per foreground class (F = K - 1)."""

    tp: Tensor  # (F,) probability of the class on its own pixels
    fp: Tensor  # (F,) probability of the class on other pixels
    fn: Tensor  # (F,) probability of anything else on its own pixels
    present: Tensor  # (F,) 1.0 where the class has at least one valid pixel, else 0.0
    pixels: Tensor  # () number of valid pixels


class Batch:
    """One batch; nothing is kept between calls, so that `torch.compile` sees plain functions.

    Args:
        logits: (N, C, H, W) of any float dtype.
        target: uint8 or int64 (N, H, W).
        num_classes: number of classes K, background included.
    """

    sigmoid: bool
    """Whether each channel is a question of its own."""

    def __init__(self, logits: Tensor, target: Tensor, num_classes: int) -> None:
        self.logits = logits
        self.target = target
        self.num_classes = num_classes
        self.valid = target != IGNORE_INDEX

    def in_float32(self) -> Tensor:
        """The logits in float32; float64 stays what it is."""
        return self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))

    def answers(self) -> Tensor:
        """Class whose weight a pixel has, int64 in the shape of `cross_entropy`; 255 for ignored pixels."""
        return self.target.long()

    def truth(self) -> Tensor:
        """Boolean (N, F, H, W): where each foreground class is. A quarter of the logits' memory, not twice it."""
        classes = torch.arange(1, self.num_classes, dtype=self.target.dtype, device=self.target.device)
        return self.target.unsqueeze(1) == classes.view(1, -1, 1, 1)

    def cross_entropy(self, label_smoothing: float) -> Tensor:
        """-log p of the true class, (N, H, W), of a multilabel task of each label's true answer, (N, F, H, W).

        What it holds on ignored pixels must be weighted by 0.
        """
        raise NotImplementedError

    def probabilities(self) -> Tensor:
        """In the shape of the logits: (N, 1, H, W) of class 1, (N, K, H, W), or (N, K - 1, H, W) of each label."""
        raise NotImplementedError

    def cross_entropy_and_counts(self, label_smoothing: float) -> tuple[Tensor, SoftCounts]:
        """Return `cross_entropy` and the soft counts, pooled over the batch."""
        raise NotImplementedError

    def _counts(self, tp: Tensor, predicted: Tensor) -> SoftCounts:
        """Complete the sums (F,) of probabilities on the pixels of each class and on all valid pixels."""
        size = self.truth().sum((0, 2, 3)).to(tp.dtype)
        # Sums that a GPU or compiler takes in different orders may differ by less than 0.
        fp, fn = (predicted - tp).clamp_min(0.0), (size - tp).clamp_min(0.0)
        return SoftCounts(tp, fp, fn, (size > 0).to(tp.dtype), self.valid.sum().to(tp.dtype))


class SoftmaxBatch(Batch):
    """More than two classes, one per pixel."""

    sigmoid = False

    def cross_entropy(self, label_smoothing: float) -> Tensor:
        """-log p of the true class, (N, H, W)."""
        return F.cross_entropy(
            self.in_float32(),
            self.target.long(),
            ignore_index=IGNORE_INDEX,
            reduction="none",
            label_smoothing=label_smoothing,
        )

    def probabilities(self) -> Tensor:
        """(N, K, H, W)."""
        return self.in_float32().softmax(dim=1)

    def cross_entropy_and_counts(self, label_smoothing: float) -> tuple[Tensor, SoftCounts]:
        """Read the logits once for both."""
        losses, tp, predicted = softmax_statistics(self.logits, self.target, label_smoothing)
        return losses, self._counts(tp[1:], predicted[1:])


class SigmoidBatch(Batch):
    """F = K - 1 questions at each pixel, each answered by a sigmoid: two classes, or the labels of a multilabel task.

    Args:
        logits: (N, F, H, W) of any float dtype.
        target: uint8 or int64 (N, H, W), classes 0 and 1; or a bit for each label.
        num_classes: F + 1.
        multilabel: which of the two the target is.
    """

    sigmoid = True

    def __init__(self, logits: Tensor, target: Tensor, num_classes: int, multilabel: bool) -> None:
        super().__init__(logits, target, num_classes)
        self.multilabel = multilabel

    def answers(self) -> Tensor:
        """Class of each pixel (N, H, W); of labels (N, F, H, W): k where label k is, 0 where not, 255 for ignored."""
        if not self.multilabel:
            return super().answers()
        labels = torch.arange(1, self.num_classes, device=self.target.device).view(1, -1, 1, 1)
        return torch.where(self.valid.unsqueeze(1), self.truth() * labels, IGNORE_INDEX)

    def truth(self) -> Tensor:
        """Boolean (N, F, H, W); of labels, the bits of the pixels that are not ignored, whose bits are all set."""
        if not self.multilabel:
            return super().truth()
        bits = (1 << torch.arange(self.num_classes - 1, device=self.target.device)).to(self.target.dtype)
        return ((self.target.unsqueeze(1) & bits.view(1, -1, 1, 1)) != 0) & self.valid.unsqueeze(1)

    def cross_entropy(self, label_smoothing: float) -> Tensor:
        """-log p of the true answer, its truth moved by half the smoothing to the other; (N, H, W) or (N, F, H, W)."""
        logits = self.in_float32()
        smoothed = self.truth().to(logits.dtype) * (1.0 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        return losses if self.multilabel else losses.squeeze(1)

    def probabilities(self) -> Tensor:
        """(N, F, H, W)."""
        return self.in_float32().sigmoid()

    def cross_entropy_and_counts(self, label_smoothing: float) -> tuple[Tensor, SoftCounts]:
        """Both, each by itself."""
        foreground, over_pixels = self.probabilities(), (0, 2, 3)
        tp = (foreground * self.truth()).sum(over_pixels)
        predicted = (foreground * self.valid.unsqueeze(1)).sum(over_pixels)
        return self.cross_entropy(label_smoothing), self._counts(tp, predicted)
