"""One optimizer step, and all the state that the next one depends on."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seg_scse import distributed
from seg_scse.config.schema import Config
from seg_scse.data.dataset import Batch
from seg_scse.inference.predictor import autocast
from seg_scse.losses import SegmentationLoss
from seg_scse.training.averaging import Averager
from seg_scse.training.difficulty import Difficulty
from seg_scse.training.freezing import Freezing
from seg_scse.training.journal import StepResult
from seg_scse.training.mixing import Targets, mix
from seg_scse.training.optim import Schedule

_BLOCK = 20  # steps whose seeds are drawn together: alone, between the work of the steps, one takes twice as long
_MIXING = 2  # tells these numbers from those of augmentation and placement


@dataclass
class Learner:
    """A network and all that changes it; a step makes the host wait for no GPU, except for the scaler of fp16.

    Attributes:
        config: the resolved configuration.
        model: the network that is trained, on its device.
        standardize: from uint8 images to network input, on the same device.
        loss: from logits, of one or several sizes, and targets to (total, parts).
        optimizer: over the parameters that are trained at any time; a group's `factor` multiplies its rate.
        schedule: learning rate by step.
        device: where the network lives.
        precision: fp32, bf16 or fp16.
        averager: average of the weights, which is what validation scores then; None for no average.
        difficulty: errors of the training samples, for the sampler; None where it does not ask.
    """

    config: Config
    model: nn.Module
    standardize: nn.Module
    loss: SegmentationLoss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    device: torch.device
    precision: str
    averager: Averager | None = None
    difficulty: Difficulty | None = None

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.freezing = Freezing(self.config.finetune, self.model)
        self.network: nn.Module | None = None
        self._trained: list[nn.Parameter] = []

    @property
    def scored(self) -> nn.Module:
        """The network that validation scores and that a checkpoint has as its `model`."""
        return self.model if self.averager is None else self.averager.network

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or release parts for an epoch, counted from 0, and set training mode; every process must call it."""
        if self.freezing.apply(epoch) or self.network is None:
            if epoch and epoch == self.config.finetune.unfreeze_epoch and distributed.is_main():
                print(f"from epoch {epoch + 1} on, {', '.join(self.config.finetune.freeze)} is trained too")
            self._wrap()
            # walking through the modules at each step would take longer than to clip
            self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        assert self.network is not None
        self.freezing.train(self.network)

    def _wrap(self) -> None:
        """Let the processes share gradients, of those parameters that are trained now."""
        self.network = None  # the hooks of the previous wrapper go with it, before the next one sets its own
        if distributed.world_size() > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.model, device_ids=ids)
        else:
            self.network = self.model

    def step(self, batches: Iterator[Batch], step: int, epoch: int) -> StepResult:
        """Do optimizer step `step` of the run, which is in epoch `epoch`, both from 0, over `accumulate` batches.

        Random numbers of the network, such as those of dropout, are a function of (seed, step, rank).
        """
        if self.network is None:
            self.begin_epoch(epoch)
        parts, rank = self.config.trainer.accumulate, distributed.rank()
        self._seed(_seeds(self.config.seed, step // _BLOCK, rank)[step % _BLOCK])
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[list[Tensor]] = []
        indices: list[int] = []
        for part in range(parts):
            batch = next(batches)
            losses.append(self._backward(batch, (step, rank, part)))
            indices += batch["index"].tolist()
        norm = self._update()
        if self.averager is not None:
            self.averager.after_step(step + 1)
        return StepResult(step, epoch, rate, indices, _values(norm, losses))

    def _seed(self, seed: int) -> None:
        """Seed the device that computes; `torch.manual_seed` takes 0.6 ms for those that there are not."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _update(self) -> Tensor:
        """Let the optimizer use the gradients, clipped; return their norm before that."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.trainer.clip_grad_norm
        if limit is None:
            gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
        else:
            norm = nn.utils.clip_grad_norm_(self._trained, limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _backward(self, batch: Batch, place: tuple[int, int, int]) -> list[Tensor]:
        """Add the gradients of a batch and return its detached losses: total, then each term.

        Args:
            batch: of the loader.
            place: (step, rank, part), of which the draws of the mixing are a function.
        """
        plain = self.images(batch)
        target = batch["mask"].to(self.device, non_blocking=True)
        images, targets = self._mixed(plain, target, place)
        parts, network = self.config.trainer.accumulate, self.network
        assert network is not None
        early = place[2] < parts - 1 and isinstance(network, DistributedDataParallel)
        with network.no_sync() if early else nullcontext():  # type: ignore[operator]  # isinstance was asked
            with autocast(self.device, self.precision):
                logits = network(images)
            total, terms = self._weighed(logits, targets)
            torch.autograd.backward(self.scaler.scale(total if parts == 1 else total / parts))
        if self.difficulty is not None and images is plain:  # of a mixture nobody knows whose error it is
            self.difficulty.observe(batch["index"], logits, target)
        return [total.detach(), *terms.values()]

    def images(self, batch: Batch) -> Tensor:
        """Return a batch's images as the network takes them, float32 (N, C, H, W) on the device."""
        standardized: Tensor = self.standardize(batch["image"].to(self.device, non_blocking=True))
        return standardized

    def _mixed(self, images: Tensor, target: Tensor, place: tuple[int, int, int]) -> tuple[Tensor, Targets]:
        augmentation = self.config.augmentation
        if augmentation.mix == "none":
            return images, [(1.0, target)]
        return mix(images, target, augmentation, np.random.default_rng([self.config.seed, *place, _MIXING]))

    def _weighed(self, logits: Tensor | list[Tensor], targets: Targets) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted sums of the losses against each target."""
        if len(targets) == 1:
            total, terms = self.loss(logits, targets[0][1])
            return total, terms
        found = [(weight, self.loss(logits, target)) for weight, target in targets]
        names = found[0][1][1]
        terms = {name: reduce(torch.add, [weight * terms[name] for weight, (_, terms) in found]) for name in names}
        return reduce(torch.add, [weight * total for weight, (total, _) in found]), terms

    def not_finite(self) -> tuple[list[str], int]:
        """Name the tensors of the network, and of its average, that are not finite; and count all of them."""
        states = [self.model.state_dict()] + ([] if self.averager is None else [self.scored.state_dict()])
        named = [(name, value) for state in states for name, value in state.items() if value.is_floating_point()]
        finite = torch.stack([value.isfinite().all() for _, value in named]).tolist()  # one wait for all of them
        return [name for (name, _), good in zip(named, finite, strict=True) if not good], sum(map(len, states))

    def state_dict(self) -> dict[str, Any]:
        """Return weights and all that later steps depend on, for a checkpoint; every process must call it.

        `model` holds the weights that validation scores. Where they are an average, `training` holds those that are
        trained.
        """
        state = {
            "model": self.scored.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        if self.averager is not None:
            state |= {"training": {"model": self.model.state_dict()}, "averaging": self.averager.state_dict()}
        if self.difficulty is not None:
            state["difficulty"] = self.difficulty.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, but for the weights of `model` themselves (see `Trainer.load`)."""
        self.optimizer.load_state_dict(state["optimizer"])
        # The optimizer keeps its own settings; a checkpoint written before the next step has the rate of the last one.
        for group, saved in zip(self.optimizer.param_groups, state["optimizer"]["param_groups"], strict=True):
            group["lr"] = saved["lr"]
        self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        if self.averager is not None and "averaging" in state:
            self.averager.load_state_dict(state["averaging"])
        if self.difficulty is not None and "difficulty" in state:
            self.difficulty.load_state_dict(state["difficulty"])


@lru_cache(maxsize=1)
def _seeds(seed: int, block: int, rank: int) -> tuple[int, ...]:
    """Return the seeds of `_BLOCK` steps, each a function of (seed, step, rank) alone."""
    steps = range(block * _BLOCK, (block + 1) * _BLOCK)
    words = (np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] for step in steps)
    return tuple(int(word >> 1) for word in words)


def _values(norm: Tensor, losses: list[list[Tensor]]) -> Tensor:
    """Return the norm and the means over the batches of a step of each loss, (1 + losses,)."""
    if len(losses) == 1:
        return torch.stack([norm, *losses[0]])
    return torch.cat([norm.view(1), reduce(torch.add, map(torch.stack, losses)) / len(losses)])
