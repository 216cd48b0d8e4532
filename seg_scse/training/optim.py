"""The optimizer and the learning rate of every step."""

import math
from typing import Any

import torch
from torch import nn

from seg_scse.config.schema import OptimizerConfig


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters.

    Weight decay spares biases and normalisation scales, which are the tensors of at most one dimension: pulling them
    to zero does not regularise (He et al. 2019, arXiv 1812.01187, section 3.1).
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    algorithm = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return algorithm(groups, lr=config.lr)


def _shape(name: str, progress: float, low: float) -> float:
    """Return the factor of a schedule at `progress` in [0, 1]."""
    if name == "cosine":
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * progress))
    if name == "poly":  # power 0.9 as in DeepLab (Chen et al. 2017, arXiv 1606.00915)
        return low + (1.0 - low) * math.pow(1.0 - progress, 0.9)
    if name == "onecycle":  # torch's OneCycleLR: lr/25 up to lr over 30 %, then down to lr/250,000, by cosines
        start, peak, end = 1 / 25, 0.3, 1 / 250_000
        if progress < peak:
            return start + (1.0 - start) * 0.5 * (1.0 - math.cos(math.pi * progress / peak))
        return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * (progress - peak) / (1.0 - peak)))
    return 1.0


class Schedule:
    """The learning rate as a function of the step, so that resuming needs no history.

    Only `plateau` has a state: the factor it has come down to, and what it has seen.

    Args:
        config: shape, warm-up and lowest factor.
        total_steps: optimizer steps of the whole run.
    """

    def __init__(self, config: OptimizerConfig, total_steps: int) -> None:
        self.config = config
        self.total_steps = total_steps
        # torch's scheduler acts on an optimizer of its own whose learning rate is our factor.
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, mode="max", factor=0.5, patience=config.patience, min_lr=config.min_factor
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0."""
        warmup = self.config.warmup_steps
        if step < warmup:
            return self.config.lr * (step + 1) / (warmup + 1)
        if self.config.schedule == "plateau":
            return self.config.lr * float(self._holder.param_groups[0]["lr"])
        progress = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
        return self.config.lr * _shape(self.config.schedule, progress, self.config.min_factor)

    def validated(self, score: float | None) -> None:
        """Tell the plateau schedule the monitored score of a validation; None counts as no improvement."""
        if self.config.schedule == "plateau":
            self._plateau.step(-math.inf if score is None else score)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the plateau schedule as plain values."""
        return {
            "factor": float(self._holder.param_groups[0]["lr"]),
            "best": float(self._plateau.best),
            "bad": int(self._plateau.num_bad_epochs),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._holder.param_groups[0]["lr"] = state["factor"]
        self._plateau.best = state["best"]
        self._plateau.num_bad_epochs = state["bad"]
