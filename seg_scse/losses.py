"""Losses for label maps: a weighted sum of terms, computed in float32 over the pixels that are not ignored.

Three families, one input: pixel losses (ce, focal) average over pixels; region losses (dice, jaccard, tversky) share
one set of soft counts; lovasz sorts the errors. Of a multilabel task each label is a question of its own, present or
not, and one label gives the numbers of two classes. docs/losses.md gives the formulas.
"""

from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_scse.config.masks import Task
from seg_scse.config.schema import IGNORE_INDEX, LossConfig
from seg_scse.errors import ConfigError

# Only keeps 0 / 0 away (Tversky with beta = 0); a class that is present has a denominator near its size in pixels.
EPSILON = 1e-7
# Lower bound of 1 - p in the focal loss: x ** gamma has an infinite slope at 0 for gamma < 1.
SMALLEST_ERROR = 1e-8


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms named in the configuration.

    Any floating-point logits are computed in float32 (float64 stays float64) with autocast off: in float16 a sum over
    the pixels of a batch overflows, and Lovasz cannot sort. No term makes the host wait for a GPU.
    """

    pixel_weights: Tensor

    def __init__(self, config: LossConfig, num_classes: int, task: Task = "multiclass") -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.multilabel = task == "multilabel"
        # Class -> weight. Whatever is not a class, so IGNORE_INDEX too, weighs 0.
        table = torch.zeros(IGNORE_INDEX + 1)
        table[:num_classes] = torch.tensor(config.class_weights or (1.0,) * num_classes)
        self.register_buffer("pixel_weights", table, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of one batch.

        Args:
            logits: any float dtype, (N, 1, H, W) for two classes (sigmoid), else (N, K, H, W) (softmax), or of a
                multilabel task (N, K - 1, H, W) (a sigmoid each); finite.
            target: uint8 or int64 (N, H, W), class indices 0 .. K - 1, of a multilabel task bit k - 1 where class k
                is, or 255 for pixels that count nowhere. Values are checked where masks are read, not here: a check
                would make the host wait for the GPU.

        Returns:
            The total, a differentiable scalar >= 0, and each unweighted term by name, a detached scalar >= 0. A batch
            of ignored pixels only has the total 0 and zero gradients.

        Raises:
            ValueError: the shapes do not match the number of classes or each other.
        """
        self._check(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            batch = (_LabelBatch if self.multilabel else _Batch)(logits, target.long(), self.num_classes)
            terms = {name: self._term(name, batch) for name in self.config.terms}
            total = torch.stack([weight * terms[name] for name, weight in self.config.terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def _term(self, name: str, batch: "_Batch") -> Tensor:
        """One unweighted term."""
        config = self.config
        match name:
            case "ce":
                return self._pixel_mean(batch.cross_entropy(config.label_smoothing), batch)
            case "focal":
                return self._pixel_mean(_focal(batch.cross_entropy(0.0), config.focal_gamma), batch)
            case "dice":
                return _tversky_loss(batch.soft_counts, alpha=0.5, beta=0.5)
            case "jaccard":
                return _tversky_loss(batch.soft_counts, alpha=1.0, beta=1.0)
            case "tversky":
                return _tversky_loss(batch.soft_counts, config.tversky_alpha, config.tversky_beta)
            case "lovasz":
                return _lovasz_hinge(batch) if batch.sigmoid else _lovasz_softmax(batch)
        raise ConfigError(f"loss.terms: unknown term {name!r}. Choose from ce, dice, jaccard, focal, tversky, lovasz.")

    def _pixel_mean(self, losses: Tensor, batch: "_Batch") -> Tensor:
        """Mean of `cross_entropy`'s losses, weighted by the class of each pixel; ignored pixels weigh 0."""
        weights = self.pixel_weights.to(losses.dtype)[batch.answers]
        return _ratio((weights * losses).sum(), weights.sum())

    def _check(self, logits: Tensor, target: Tensor) -> None:
        """Raise where broadcasting would hide a mistake."""
        channels = self.num_classes - 1 if self.multilabel or self.num_classes == 2 else self.num_classes
        expected = (target.shape[0], channels, *target.shape[1:])
        if target.ndim != 3 or tuple(logits.shape) != expected:
            raise ValueError(
                f"logits {tuple(logits.shape)} do not fit a target {tuple(target.shape)} with {self.num_classes} "
                f"classes: expected logits (N, {channels}, H, W) and a target (N, H, W)"
            )


def build_loss(config: LossConfig, num_classes: int, task: Task = "multiclass") -> SegmentationLoss:
    """Build the loss that `config` describes.

    Args:
        config: terms with their weights, and the parameters of the terms.
        num_classes: number of classes K, background included, 2 .. 255; 2 .. 8 of a multilabel task.
        task: `multiclass`, one class per pixel; or `multilabel`, any number of those after the first.

    Raises:
        ConfigError: the class weights do not fit, or a term would be constant.
    """
    weights = config.class_weights
    if weights is not None and len(weights) != num_classes:
        raise ConfigError(
            f"loss.class_weights has {len(weights)} numbers for {num_classes} classes: give one per class."
        )
    if weights is not None and not any(weights):
        raise ConfigError(f"loss.class_weights={list(weights)}: at least one must be above 0, or nothing is learned.")
    if "tversky" in config.terms and config.tversky_alpha + config.tversky_beta == 0.0:
        raise ConfigError("loss.tversky_alpha and loss.tversky_beta are both 0: no error would count; raise one.")
    return SegmentationLoss(config, num_classes, task)


class _SoftCounts(NamedTuple):
    """Sums of probabilities over the valid pixels of a batch; one entry per foreground class (F = K - 1)."""

    tp: Tensor  # (F,) probability of the class on its own pixels
    fp: Tensor  # (F,) probability of the class on other pixels
    fn: Tensor  # (F,) probability of anything else on its own pixels
    present: Tensor  # (F,) 1.0 where the class has at least one valid pixel, else 0.0
    pixels: Tensor  # () number of valid pixels


class _Batch:
    """The tensors that several terms share, each computed when first asked for."""

    def __init__(self, logits: Tensor, target: Tensor, num_classes: int) -> None:
        self.logits = logits
        self.target = target
        self.num_classes = num_classes
        self.binary = self.sigmoid = num_classes == 2
        self.valid = target != IGNORE_INDEX

    @property
    def answers(self) -> Tensor:
        """Class whose weight a pixel has, in the shape of `cross_entropy`; 255 for ignored pixels."""
        return self.target

    @cached_property
    def truth(self) -> Tensor:
        """Boolean (N, F, H, W): where each foreground class is. A quarter of the logits' memory, not twice it."""
        classes = torch.arange(1, self.num_classes, device=self.target.device).view(1, -1, 1, 1)
        return self.target.unsqueeze(1) == classes

    def cross_entropy(self, label_smoothing: float) -> Tensor:
        """-log p of the true class, (N, H, W), of a multilabel task of each label's true answer, (N, F, H, W).

        What it holds on ignored pixels must be weighted by 0.
        """
        if not self.binary:
            return F.cross_entropy(
                self.logits, self.target, ignore_index=IGNORE_INDEX, reduction="none", label_smoothing=label_smoothing
            )
        return _binary_cross_entropy(self.logits.squeeze(1), self.target == 1, label_smoothing)

    @cached_property
    def probabilities(self) -> Tensor:
        """In the shape of the logits: (N, 1, H, W) of class 1, (N, K, H, W), or (N, K - 1, H, W) of each label."""
        return self.logits.sigmoid() if self.sigmoid else self.logits.softmax(dim=1)

    @cached_property
    def soft_counts(self) -> _SoftCounts:
        """Pooled over the batch."""
        foreground = self.probabilities if self.sigmoid else self.probabilities[:, 1:]
        truth, over_pixels = self.truth, (0, 2, 3)
        tp = (foreground * truth).sum(over_pixels)
        predicted = (foreground * self.valid.unsqueeze(1)).sum(over_pixels)
        size = truth.sum(over_pixels).to(tp.dtype)
        # Sums that a GPU or compiler takes in different orders may differ by less than 0.
        fp, fn = (predicted - tp).clamp_min(0.0), (size - tp).clamp_min(0.0)
        return _SoftCounts(tp, fp, fn, (size > 0).to(tp.dtype), self.valid.sum().to(tp.dtype))


class _LabelBatch(_Batch):
    """A batch of a multilabel task: F = K - 1 questions at each pixel, each answered by a sigmoid."""

    def __init__(self, logits: Tensor, target: Tensor, num_classes: int) -> None:
        super().__init__(logits, target, num_classes)
        self.sigmoid = True

    @cached_property
    def truth(self) -> Tensor:
        """Boolean (N, F, H, W): the bits of the pixels that are not ignored, whose bits are all set."""
        bits = 1 << torch.arange(self.num_classes - 1, device=self.target.device).view(1, -1, 1, 1)
        return ((self.target.unsqueeze(1) & bits) != 0) & self.valid.unsqueeze(1)

    @property
    def answers(self) -> Tensor:
        """(N, F, H, W): k where label k is, 0 where it is not, 255 for ignored pixels."""
        labels = torch.arange(1, self.num_classes, device=self.target.device).view(1, -1, 1, 1)
        return torch.where(self.valid.unsqueeze(1), self.truth * labels, IGNORE_INDEX)

    def cross_entropy(self, label_smoothing: float) -> Tensor:
        """-log p of the true answer on each label, (N, F, H, W)."""
        return _binary_cross_entropy(self.logits, self.truth, label_smoothing)


def _binary_cross_entropy(logits: Tensor, truth: Tensor, label_smoothing: float) -> Tensor:
    """-log p of a true or false answer, with the truth moved by half the smoothing towards the other answer."""
    smoothed = truth.to(logits.dtype) * (1.0 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 0 (with zero gradient) where the denominator is 0."""
    return numerator / torch.where(denominator > 0, denominator, 1.0)


def _focal(cross_entropy: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma * -log p of the true class. Lin et al. 2017, arXiv 1708.02002, equation 4."""
    error = (-torch.expm1(-cross_entropy)).clamp_min(SMALLEST_ERROR)
    return error**gamma * cross_entropy


def _tversky_loss(counts: _SoftCounts, alpha: float, beta: float) -> Tensor:
    """1 - tp / (tp + alpha fp + beta fn), mean over present classes, plus the share given to absent classes.

    Salehi et al. 2017, arXiv 1706.05721; alpha = beta = 0.5 is Dice, 1 is Jaccard. There is no smoothing constant: a
    foreground class without a true pixel in the batch, where the quotient is always 1 and teaches nothing, is instead
    charged its mean probability over the valid pixels.
    """
    errors = alpha * counts.fp + beta * counts.fn
    losses = errors / (counts.tp + errors + EPSILON)
    present = _ratio((losses * counts.present).sum(), counts.present.sum())
    absent = _ratio((counts.fp * (1.0 - counts.present)).sum(), counts.pixels)
    return present + absent


def _lovasz_hinge(batch: _Batch) -> Tensor:
    """Lovasz hinge of the foreground, or the mean of each label's; over the whole batch.

    Berman et al. 2018, arXiv 1705.08790, equation 9.
    """
    losses = []
    for logits, truth in zip(batch.logits.unbind(dim=1), batch.truth.unbind(dim=1), strict=True):
        margins = F.relu(1.0 - torch.where(truth, logits, -logits))
        losses.append(_lovasz_extension(margins * batch.valid, truth))
    return torch.stack(losses).mean()


def _lovasz_softmax(batch: _Batch) -> Tensor:
    """Lovasz-Softmax, mean over the classes present, background too. Berman et al. 2018, equations 11 and 12."""
    losses, present = [], []
    for index, probabilities in enumerate(batch.probabilities.unbind(dim=1)):
        truth = batch.target == index
        errors = torch.where(truth, 1.0 - probabilities, probabilities) * batch.valid
        losses.append(_lovasz_extension(errors, truth))
        present.append(truth.any())
    weights = torch.stack(present)
    return _ratio((torch.stack(losses) * weights).sum(), weights.sum())


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
