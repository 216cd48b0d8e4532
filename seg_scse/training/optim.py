"""The optimizer and the learning rate of every step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from seg_scse.config.schema import AveragingConfig, OptimizerConfig
from seg_scse.config.training import Part
from seg_scse.errors import ConfigError
from seg_scse.models.parts import encoder_stages, part_of


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters.

    Weight decay spares biases and normalisation scales, which are the tensors of at most one dimension: pulling them
    to zero does not regularise (He et al. 2019, arXiv 1812.01187, section 3.1).

    Each group has the key `factor`: its learning rate is the schedule's, times this. It is that of the part in
    `lr_factors`, in the encoder times `layer_decay` to the power of the stages that follow, as in BEiT (Bao et al.
    2021, arXiv 2106.08254), but by stage and not by block.

    Build it before parts are frozen (`Freezing.apply`) and before the network is compiled: a part that is trained later
    must be in it from the start; while its parameters have no gradient, they are left as they are, without decay.
    Loading a state restores moments only: the settings are those of the configuration.
    """
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) is decays], "weight_decay": decay, "factor": factor}
        for factor, parameters in sorted(_by_factor(config, model).items(), reverse=True)
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    optimizer = _algorithm(config, groups)
    _keep_settings(optimizer)
    return optimizer


def _by_factor(config: OptimizerConfig, model: nn.Module) -> dict[float, list[nn.Parameter]]:
    stages = encoder_stages(model) if config.layer_decay < 1.0 else {}
    last = max(stages.values(), default=0)
    found: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = config.lr_factors.get(part_of(name), 1.0) * config.layer_decay ** (last - stages.get(name, last))
            found.setdefault(factor, []).append(parameter)
    return found


def rate_factors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[Part, list[float]]:
    """Return the factors of the learning rate in each part; in the encoder those of its stages, from the image on.

    Args:
        optimizer: of `build_optimizer`.
        model: the network, without any wrapper.
    """
    factor = {id(p): float(group.get("factor", 1.0)) for group in optimizer.param_groups for p in group["params"]}
    found: dict[Part, set[float]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in factor:
            found.setdefault(part_of(name), set()).add(factor[id(parameter)])
    return {part: sorted(values) for part, values in found.items()}


def rates_note(optimizer: torch.optim.Optimizer, model: nn.Module) -> str:
    """Say by what the learning rate is multiplied in each part; nothing where it is the same everywhere.

    Args:
        optimizer: of `build_optimizer`.
        model: the network, without any wrapper.
    """
    factors = rate_factors(optimizer, model)
    if all(values == [1.0] for values in factors.values()):
        return ""
    listed = [f"{part} {' '.join(f'{value:.3g}' for value in values)}" for part, values in factors.items()]
    stages = " (encoder: by stage, from the image on)" if len(factors.get("encoder", ())) > 1 else ""
    return f"learning rate: that of the schedule times {', '.join(listed)}{stages}"


def _algorithm(config: OptimizerConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    algorithm = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return algorithm(groups, lr=config.lr)


def _keep_settings(optimizer: torch.optim.Optimizer) -> None:
    """Keep factors, decay and momentum when a state is loaded, which may be older or of a changed configuration."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    sizes = [len(group["params"]) for group in optimizer.param_groups]

    def check(_optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        if [len(group["params"]) for group in state["param_groups"]] != sizes:
            raise ConfigError(
                "the optimizer's state is of other groups of parameters: the network, optimizer.lr_factors or "
                "optimizer.layer_decay were changed. Set them as they were, or start a new run `--from` this one."
            )

    def restore(loaded: torch.optim.Optimizer) -> None:
        for group, own in zip(loaded.param_groups, settings, strict=True):
            group.update(own)

    optimizer.register_load_state_dict_pre_hook(check)
    optimizer.register_load_state_dict_post_hook(restore)


def _shape(name: str, progress: float, low: float) -> float:
    """Return the factor of a schedule at `progress` in [0, 1], at whose end it is `low`."""
    if name == "cosine":
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * progress))
    if name == "poly":  # power 0.9 as in DeepLab (Chen et al. 2017, arXiv 1606.00915)
        return low + (1.0 - low) * math.pow(1.0 - progress, 0.9)
    if name == "onecycle":  # torch's OneCycleLR: lr/25 up to lr over 30 %, then down by cosines
        start, peak = 1 / 25, 0.3
        if progress < peak:
            return start + (1.0 - start) * 0.5 * (1.0 - math.cos(math.pi * progress / peak))
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * (progress - peak) / (1.0 - peak)))
    return 1.0


def averaging_start(averaging: AveragingConfig, total_steps: int) -> int:
    """Return the first optimizer step, from 0, that swa does at its constant learning rate."""
    return math.ceil(round(averaging.start * total_steps, 6))  # 0.55 * 100 is a little more than 55


class Schedule:
    """The learning rate as a function of the step, so that resuming needs no history.

    Only `plateau` has a state: the factor it has come down to, and what it has seen.

    With stochastic weight averaging the schedule ends where the averaging starts, and at its rate, which then stays
    (Izmailov et al. 2018, arXiv 1803.05407, section 4: decay to the constant rate, then keep it).

    Args:
        config: shape, warm-up and lowest factor.
        total_steps: optimizer steps of the whole run.
        averaging: how weights are averaged; only swa has a rate of its own.
    """

    def __init__(self, config: OptimizerConfig, total_steps: int, averaging: AveragingConfig | None = None) -> None:
        self.config = config
        self.total_steps = total_steps
        # OneCycleLR ends at lr / 250,000 by torch's default factors.
        self._low = 1 / 250_000 if config.schedule == "onecycle" else config.min_factor
        self._end = total_steps
        if averaging is not None and averaging.method == "swa":
            self._low, self._end = averaging.lr_factor, averaging_start(averaging, total_steps)
        # torch's scheduler acts on an optimizer of its own whose learning rate is our factor.
        self._holder = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, mode="max", factor=0.5, patience=config.patience, min_lr=config.min_factor
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0."""
        warmup = self.config.warmup_steps
        if step >= self._end and self._end < self.total_steps:
            return self.config.lr * self._low
        if step < warmup:
            return self.config.lr * (step + 1) / (warmup + 1)
        if self.config.schedule == "plateau":
            return self.config.lr * float(self._holder.param_groups[0]["lr"])
        progress = min(1.0, (step - warmup) / max(1, self._end - warmup))
        return self.config.lr * _shape(self.config.schedule, progress, self._low)

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
