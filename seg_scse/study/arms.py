"""One variant of a study, ready to do training steps on a random batch."""

from itertools import repeat

import torch
from torch import Tensor, nn

from seg_scse.config.schema import Config
from seg_scse.config.training import TrainerConfig
from seg_scse.data.standardize import Standardizer
from seg_scse.inference.cost import count_flops
from seg_scse.inference.device import choose_precision
from seg_scse.inference.predictor import Predictor
from seg_scse.losses import SegmentationLoss, build_loss
from seg_scse.models import build_model, describe_model
from seg_scse.training.building import build_learner
from seg_scse.training.kept import counting_kept

STEPS = 1_000_000
"""Length of the run that the steps are said to belong to: none of them is its last."""

LEAST = 2
"""Samples that BatchNorm needs where the deepest map is one pixel."""


class Arm:
    """A network of a variant with its loss and optimizer, and a batch of noise.

    Args:
        config: of the variant, with the settings of its card.
        device: where it is trained.
        share: of the batch of the configuration, in [0, 1]; at least `LEAST` samples where it has as many.

    Attributes:
        full: samples of a forward pass by the configuration; the default where it says `auto`.
        samples: those of the batch of noise.

    Raises:
        ConfigError: the network cannot be built.
    """

    def __init__(self, config: Config, device: torch.device, share: float) -> None:
        batch = config.trainer.batch_size
        self.full: int = batch if isinstance(batch, int) else int(TrainerConfig.model_fields["batch_size"].default)
        self.samples = max(min(LEAST, self.full), int(self.full * share))
        model, standardize = _network(config, device)
        self.size = _size(config, model, standardize, device)
        """Parameters, those of the gates among them, and operations (FLOPs) of the prediction of one crop."""
        length = STEPS, config.trainer.accumulate  # an epoch of one step
        self.learner = build_learner(config, model, standardize, _loss(config).to(device), length, [0])
        self._batch = _noise(config, self.samples)
        self._done = 0

    def step(self) -> None:
        """Do one optimizer step, of as many forward passes as the configuration accumulates."""
        self.learner.step(repeat(self._batch), self._done, 0)
        self._done += 1

    def memory(self, before: int) -> int:
        """Return the bytes that a step takes.

        On a GPU: what torch had allocated at most, beyond what was there before the network. Else: what is kept for the
        backward pass of one forward pass, weights not counted; each storage once.

        Args:
            before: bytes that torch had allocated on the GPU before the network was built.
        """
        if self.learner.device.type == "cuda":
            self.step()  # the optimizer takes its memory at the first step
            torch.cuda.reset_peak_memory_stats(self.learner.device)
            self.step()
            return torch.cuda.max_memory_allocated(self.learner.device) - before
        with counting_kept(self.learner.model) as kept:
            self.step()
        return kept.nbytes // self.learner.config.trainer.accumulate


def _network(config: Config, device: torch.device) -> tuple[nn.Module, Standardizer]:
    """Build a network with random weights, and what takes images to its input, with unit statistics."""
    trainer, data = config.trainer, config.data
    torch.manual_seed(config.seed)
    model = build_model(config.model.without_weights(), len(data.band_names), len(data.classes), data.task).to(device)
    standardize = Standardizer([0.5] * len(data.band_names), [0.25] * len(data.band_names), trainer.channels_last)
    return model.to(memory_format=standardize.layout), standardize.to(device)


def _loss(config: Config) -> SegmentationLoss:
    classes = len(config.data.classes)
    balanced = config.loss.class_balance != "none"  # weights found in masks; any will do
    return build_loss(config.loss, classes, config.data.task, (1.0,) * classes if balanced else None)


def _size(config: Config, model: nn.Module, standardize: Standardizer, device: torch.device) -> dict[str, int]:
    """Count before anything is compiled, because operations are counted in eager mode."""
    described = describe_model(model)
    precision = choose_precision(config.trainer, device)
    predictor = Predictor.from_config(config, model, standardize, device, precision)
    return {
        "parameters": described["parameters"],
        "gate_parameters": sum(gate["parameters"] for gate in described["gates"]),
        "flops": count_flops(predictor, len(config.data.band_names)),
    }


def _noise(config: Config, samples: int) -> dict[str, Tensor]:
    """Draw a batch as loaders give it: every value and every class, or set of labels, occurs."""
    side, classes = config.trainer.crop, len(config.data.classes)
    values = 2 ** (classes - 1) if config.data.task == "multilabel" else classes
    images = torch.randint(0, 256, (samples, len(config.data.band_names), side, side), dtype=torch.uint8)
    return {
        "image": images.contiguous(memory_format=torch.channels_last),
        "mask": torch.randint(0, values, (samples, side, side), dtype=torch.uint8),
        "index": torch.zeros(samples, dtype=torch.int64),
    }
