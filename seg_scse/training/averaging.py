"""Averages of the weights over training: a second network beside the one that is trained.

| method | average | moved |
|---|---|---|
| ema | m <- m + (1 - d) (w - m), d = min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ... | after each step |
| swa | mean of the weights w at the ends of the last epochs (Izmailov et al., arXiv 1803.05407) | after each epoch |

The decay of `ema` rises from 0.1 as in TensorFlow's `ExponentialMovingAverage(num_updates=n)`, so that the random
weights of the beginning are forgotten at once. `ema` averages the statistics of BatchNorm as it does the weights; `swa`
computes them anew, because those of different weights have no meaning for their mean.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.config.schema import AveragingConfig
from seg_scse.errors import ConfigError
from seg_scse.training.optim import averaging_start

STATISTICS_BATCHES = 100
"""Most training batches from which `swa` computes the statistics of BatchNorm."""

Images = Callable[[], Iterator[Tensor]]
"""Starts anew to give batches (N, C, H, W) of standardised training images, the same ones at the same step."""


class Averager:
    """A copy of a network that follows it; what the two methods have in common.

    Nothing here makes the host wait for the device, and no random number is drawn.

    Args:
        model: the network that is trained, on its device, with the weights it starts from, and not compiled in
            another way than in place.

    Attributes:
        network: the average: a deep copy in evaluation mode whose parameters need no gradient. Gates that are attached
            to the model are attached to it too.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.network = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        # Collected once: walking through the modules at each step would take longer than the average itself.
        self._parameters = list(self.network.parameters()), [value.detach() for value in model.parameters()]
        self._buffers = list(self.network.buffers()), list(model.buffers())

    def after_step(self, step: int) -> None:
        """Take the weights after an optimizer step into account; `step` steps are done."""

    def end_epoch(self, step: int, images: Images) -> None:
        """Make `network` ready to be validated at the end of an epoch, when `step` steps are done."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and the tensors of `network`, which are not copied."""
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.network.load_state_dict(state["network"])


class ExponentialAverage(Averager):
    """`ema`; its weights are a function of all steps since the start.

    Args:
        model: see `Averager`.
        decay: share of the average that stays at a step, in (0, 1), reached after some steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay, self.updates = decay, 0

    def after_step(self, step: int) -> None:  # noqa: ARG002 - it counts its updates itself
        """Move the average towards the weights after a step."""
        weight = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        _move(*self._parameters, weight)
        _move(*self._buffers, weight)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the tensors of `network`."""
        return {**super().state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.updates = state["updates"]


class StochasticAverage(Averager):
    """`swa`: the mean of the weights at the ends of all epochs that began at step `start` or later.

    Until there is one, `network` is the model as it was at the end of the last epoch.

    Args:
        model: see `Averager`.
        start: optimizer steps before averaging begins.
    """

    def __init__(self, model: nn.Module, start: int) -> None:
        super().__init__(model)
        self.start, self.averaged, self.begun = start, 0, 0

    def end_epoch(self, step: int, images: Images) -> None:
        """Take the weights at the end of an epoch into the mean and compute the statistics of BatchNorm for it.

        They are cumulative averages over `STATISTICS_BATCHES` batches at most, in float32. Layers that the model holds
        fixed (in evaluation mode, as in frozen parts) keep theirs.

        Args:
            step: optimizer steps done.
            images: see `Images`; asked for only where there are statistics to compute.
        """
        counts = self.begun >= self.start
        _move(*self._parameters, 1.0 / (self.averaged + 1))
        _move(*self._buffers, 1.0)
        if counts:
            self.averaged += 1
            _compute_statistics(self.network, self._trained_normalisations(), images)
        self.begun = step

    def _trained_normalisations(self) -> list[nn.modules.batchnorm._BatchNorm]:
        """Return the averaged network's layers with running statistics that are in training mode in the model."""
        pairs = zip(self.network.modules(), self.model.modules(), strict=True)
        return [
            ours
            for ours, theirs in pairs
            if isinstance(ours, nn.modules.batchnorm._BatchNorm) and ours.running_mean is not None and theirs.training
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of averaged epochs, the step the current epoch began at, and the tensors of `network`."""
        return {**super().state_dict(), "averaged": self.averaged, "begun": self.begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.averaged, self.begun = state["averaged"], state["begun"]


def build_averager(
    config: AveragingConfig, model: nn.Module, total_steps: int, steps_per_epoch: int | None = None
) -> Averager | None:
    """Build the average that a configuration asks for; None where it asks for none.

    Args:
        config: the section `averaging`.
        model: the network that is trained, on its device and with the weights it starts from; before
            `torch.compile` and `DistributedDataParallel`.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: steps of an epoch, to refuse an `swa` that would average nothing; None does not.

    Raises:
        ConfigError: fewer than two epochs would be averaged.
    """
    if config.method == "none":
        return None
    if config.method == "ema":
        return ExponentialAverage(model, config.decay)
    start = averaging_start(config, total_steps)
    if steps_per_epoch is not None:
        _refuse_short(config, start, total_steps, steps_per_epoch)
    return StochasticAverage(model, start)


def _refuse_short(config: AveragingConfig, start: int, total_steps: int, steps_per_epoch: int) -> None:
    epochs = math.ceil(total_steps / steps_per_epoch)
    averaged = max(0, epochs - math.ceil(start / steps_per_epoch))
    if averaged < 2:
        raise ConfigError(
            f"averaging.method=swa: of {epochs} epochs, {averaged} begin after averaging.start={config.start:g} of the "
            "run, but an average needs two or more. Lower averaging.start, train for more epochs, or use "
            "averaging.method=ema."
        )


def _move(ours: Sequence[Tensor], theirs: Sequence[Tensor], weight: float) -> None:
    """Move tensors in place by `weight` in (0, 1] of their distance to others; whole numbers become equal."""
    pairs = list(zip(ours, theirs, strict=True))
    moved = [pair for pair in pairs if weight < 1.0 and pair[0].is_floating_point()]
    copied = [pair for pair in pairs if weight == 1.0 or not pair[0].is_floating_point()]
    with torch.no_grad():
        if moved:
            torch._foreach_lerp_([own for own, _ in moved], [other for _, other in moved], weight)
        if copied:
            torch._foreach_copy_([own for own, _ in copied], [other for _, other in copied])


def _compute_statistics(network: nn.Module, layers: Sequence[nn.modules.batchnorm._BatchNorm], images: Images) -> None:
    """Compute the running statistics of layers anew; all other layers, such as dropout, stay in evaluation mode."""
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # torch's word for a cumulative average
    try:
        with torch.no_grad():
            for batch in islice(images(), STATISTICS_BATCHES):
                network(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.eval()
            layer.momentum = momentum
