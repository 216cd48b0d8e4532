"""The loss that a configuration describes."""

from collections.abc import Callable, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from seg_scse.config.masks import Task
from seg_scse.config.schema import IGNORE_INDEX, LossConfig
from seg_scse.config.training import LossName
from seg_scse.errors import ConfigError
from seg_scse.losses.batches import Batch, SigmoidBatch, SoftCounts, SoftmaxBatch
from seg_scse.losses.levels import level_shares, target_at
from seg_scse.losses.lovasz import lovasz_hinge, lovasz_softmax
from seg_scse.losses.pixels import focal, pixel_mean
from seg_scse.losses.regions import tversky_loss

REGION_TERMS: dict[str, tuple[float, float] | None] = {"dice": (0.5, 0.5), "jaccard": (1.0, 1.0), "tversky": None}
"""Terms made of soft counts, with the weights of false positives and false negatives; None: they are configured."""

PIXEL_TERMS = frozenset({"ce", "focal"})
"""Terms that are means over pixels, weighted by class."""


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms named in the configuration.

    Any floating-point logits are computed in float32 (float64 stays float64) with autocast off: in float16 a sum over
    the pixels of a batch overflows, and Lovasz cannot sort. No term makes the host wait for a GPU.
    """

    pixel_weights: Tensor

    def __init__(
        self,
        config: LossConfig,
        num_classes: int,
        task: Task = "multiclass",
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.multilabel = task == "multilabel"
        weights = config.class_weights if weights is None else weights
        self.weighted = weights is not None
        # Class -> weight. Whatever is not a class, so IGNORE_INDEX too, weighs 0.
        table = torch.zeros(IGNORE_INDEX + 1)
        table[:num_classes] = torch.tensor(weights or (1.0,) * num_classes)
        self.register_buffer("pixel_weights", table, persistent=False)
        self.training_terms: Callable[[Tensor, Tensor], Tensor] = self.terms
        """What `forward` calls where a gradient is wanted: `terms`, or the compiled form of it."""

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of one batch.

        Args:
            logits: any float dtype, (N, 1, H, W) for two classes (sigmoid), else (N, K, H, W) (softmax), or of a
                multilabel task (N, K - 1, H, W) (a sigmoid each); finite. Or several of them, as a network with deep
                supervision returns in training: the first of the target's size, further ones of any size.
            target: uint8 or int64 (N, H, W), class indices 0 .. K - 1, of a multilabel task bit k - 1 where class k
                is, or 255 for pixels that count nowhere. Values are checked where masks are read, not here: a check
                would make the host wait for the GPU.

        Returns:
            The total, a differentiable scalar >= 0, and each unweighted term by name, a detached scalar >= 0. Of
            several logits, each term is their mean, weighted by `level_shares`. A batch of ignored pixels only has the
            total 0 and zero gradients.

        Raises:
            ValueError: the shapes do not match the number of classes or each other.
        """
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        self._check(levels, target)
        with torch.autocast(target.device.type, enabled=False):
            terms = self._level(levels[0], target)
            if len(levels) > 1:
                shares = level_shares(len(levels))
                coarser = [self._level(level, target_at(target, *level.shape[2:])) for level in levels[1:]]
                terms = torch.stack([share * part for share, part in zip(shares, [terms, *coarser], strict=True)]).sum(
                    0
                )
            weights = self.config.terms.values()
            total = torch.stack([weight * term for weight, term in zip(weights, terms.unbind(), strict=True)]).sum()
        return total, dict(zip(self.config.terms, terms.detach().unbind(), strict=True))

    def terms(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted terms (T,) of one map of logits and a target of its size, in the configured order."""
        batch = self._batch(logits, target)
        shared = None
        if any(name in REGION_TERMS for name in self.config.terms):
            shared = batch.cross_entropy_and_counts(self.config.label_smoothing)
        return torch.stack([self._term(name, batch, shared) for name in self.config.terms])

    def _batch(self, logits: Tensor, target: Tensor) -> Batch:
        if self.multilabel or self.num_classes == 2:
            return SigmoidBatch(logits, target, self.num_classes, self.multilabel)
        return SoftmaxBatch(logits, target, self.num_classes)

    def _term(self, name: str, batch: Batch, shared: tuple[Tensor, SoftCounts] | None) -> Tensor:
        """One unweighted term; `shared` is what region terms and ce read of the logits together."""
        config = self.config
        match name:
            case "ce":
                losses = batch.cross_entropy(config.label_smoothing) if shared is None else shared[0]
                return self._pixel_mean(losses, batch)
            case "focal":
                unsmoothed = shared is not None and config.label_smoothing == 0.0
                losses = shared[0] if shared is not None and unsmoothed else batch.cross_entropy(0.0)
                return self._pixel_mean(focal(losses, config.focal_gamma), batch)
            case "lovasz":
                return lovasz_hinge(batch) if batch.sigmoid else lovasz_softmax(batch)
        if shared is None or name not in REGION_TERMS:
            raise ConfigError(f"loss.terms: unknown term {name!r}. Choose from {', '.join(get_args(LossName))}.")
        alpha, beta = REGION_TERMS[name] or (config.tversky_alpha, config.tversky_beta)
        return tversky_loss(shared[1], alpha, beta)

    def _pixel_mean(self, losses: Tensor, batch: Batch) -> Tensor:
        if self.weighted:
            weights = self.pixel_weights.to(losses.dtype)[batch.answers()]
        else:  # the same numbers without a look-up for each pixel
            valid = batch.valid if losses.dim() == batch.valid.dim() else batch.valid.unsqueeze(1)
            weights = valid.expand_as(losses).to(losses.dtype)
        return pixel_mean(losses, weights, self.config.hardest)

    def _level(self, logits: Tensor, target: Tensor) -> Tensor:
        terms = self.training_terms if logits.requires_grad else self.terms
        return terms(logits, target)

    def _check(self, levels: Sequence[Tensor], target: Tensor) -> None:
        """Raise where broadcasting would hide a mistake."""
        channels = self.num_classes - 1 if self.multilabel or self.num_classes == 2 else self.num_classes
        for index, logits in enumerate(levels):
            expected = (target.shape[0], channels, *(logits.shape[2:] if index else target.shape[1:]))
            if target.ndim != 3 or logits.ndim != 4 or tuple(logits.shape) != expected:
                raise ValueError(
                    f"logits {tuple(logits.shape)} do not fit a target {tuple(target.shape)} with {self.num_classes} "
                    f"classes: expected logits (N, {channels}, H, W) and a target (N, H, W)"
                )


def build_loss(
    config: LossConfig, num_classes: int, task: Task = "multiclass", weights: Sequence[float] | None = None
) -> SegmentationLoss:
    """Build the loss that `config` describes.

    Args:
        config: terms with their weights, and the parameters of the terms.
        num_classes: number of classes K, background included, 2 .. 255; 2 .. 8 of a multilabel task.
        task: `multiclass`, one class per pixel; or `multilabel`, any number of those after the first.
        weights: one per class, in place of `config.class_weights`: those that `class_weights` finds for
            `config.class_balance` in the training masks, which this function does not see.

    Raises:
        ConfigError: the class weights do not fit, a term would be constant, or a setting would change no term.
    """
    _refuse_idle(config)
    given = config.class_weights if weights is None else weights
    if given is not None and len(given) != num_classes:
        raise ConfigError(f"loss.class_weights has {len(given)} numbers for {num_classes} classes: give one per class.")
    if given is not None and not any(given):
        raise ConfigError(f"loss.class_weights={list(given)}: at least one must be above 0, or nothing is learned.")
    if "tversky" in config.terms and config.tversky_alpha + config.tversky_beta == 0.0:
        raise ConfigError("loss.tversky_alpha and loss.tversky_beta are both 0: no error would count; raise one.")
    return SegmentationLoss(config, num_classes, task, weights)


def _refuse_idle(config: LossConfig) -> None:
    """Refuse settings whose terms are not there. Not a rule of the schema: runs that have them must still be read."""
    terms = config.terms.keys()
    found = {
        "hardest": config.hardest < 1.0 and not terms & PIXEL_TERMS,
        "class_balance": config.class_balance != "none" and not terms & PIXEL_TERMS,
        "class_weights": config.class_weights is not None and not terms & PIXEL_TERMS,
        "label_smoothing": config.label_smoothing > 0.0 and "ce" not in terms,
    }
    idle = [name for name, is_idle in found.items() if is_idle]
    if idle:
        name, used_by = idle[0], "ce" if idle[0] == "label_smoothing" else "ce and focal"
        raise ConfigError(
            f"loss.{name}={getattr(config, name)} changes nothing: it is for {used_by}, but loss.terms are "
            f"{', '.join(terms)}. Add such a term, or leave it out."
        )
