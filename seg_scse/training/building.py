"""Everything that a trainer needs, built from a configuration and its data; what is wrong with them shows here."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_scse import distributed
from seg_scse.attention.compiling import compile_gates
from seg_scse.config.schema import IGNORE_INDEX, Config, ModelConfig, TrainerConfig
from seg_scse.data.crops import Placement
from seg_scse.data.dataset import TrainingLoader, TrainingSet, training_loader
from seg_scse.data.prepare import PreparedData
from seg_scse.data.sampler import EpochBatchSampler, crops_to_cover
from seg_scse.data.standardize import Standardizer
from seg_scse.data.store import Statistics
from seg_scse.data.transforms import build_transform
from seg_scse.errors import ConfigError, DataError
from seg_scse.inference.counting import count_split
from seg_scse.inference.device import choose_precision, choose_workers
from seg_scse.inference.predictor import Predictor
from seg_scse.losses import build_loss
from seg_scse.models import build_model
from seg_scse.training.loop import Trainer
from seg_scse.training.optim import Schedule, build_optimizer

OnEpoch = Callable[[Path], object]

_CURES = {"train": "Raise data.split.train.", "val": "The best checkpoint is chosen on it: raise data.split.val."}


def build_trainer(
    config: Config, data: PreparedData, device: torch.device, folder: Path, on_epoch: OnEpoch, network: ModelConfig
) -> Trainer:
    """Build a trainer before its first step.

    `network` is that of `config`, or the same without the files it starts from, when a checkpoint will fill it.

    Raises:
        ConfigError: the settings do not fit the data or the machine.
        DataError: the train or the val split is empty, or all its pixels are ignored.
    """
    precision, classes = choose_precision(config.trainer, device), len(config.data.classes)
    train, val = _labelled(data, "train"), _labelled(data, "val")
    statistics = data.store.statistics(train)
    model = _model(config, network, data, device)
    standardize = Standardizer(statistics.mean, statistics.std).to(device)
    loss = build_loss(config.loss, classes, config.data.task).to(device)
    sampler = _sampler(config, statistics.sizes)
    predictor = Predictor.from_config(config, model, standardize, device, precision)
    schedule = Schedule(config.optimizer, _total_steps(config, len(sampler)))
    _compile(model, config.trainer.compile)
    return Trainer(
        config=config,
        model=model,
        standardize=standardize,
        loss=loss,
        optimizer=build_optimizer(config.optimizer, model),
        schedule=schedule,
        loader=_loader(config, data, train, sampler, device),
        sampler=sampler,
        validate=lambda: count_split(predictor, data, val, classes, loss=loss, progress="validation"),
        names=lambda index: data.manifest.samples[index].id,
        device=device,
        precision=precision,
        folder=folder,
        facts=_facts(config, data, statistics),
        on_epoch=on_epoch,
    )


def _labelled(data: PreparedData, split: str) -> list[int]:
    """Return the positions of a split's samples, of which at least one pixel has a class."""
    indices = data.require(split, _CURES[split])
    if not any(data.store.entries[index].class_pixels.keys() - {IGNORE_INDEX} for index in indices):
        raise DataError(
            f"every pixel of the {split} split ({len(indices)} masks) is ignored: nothing is left to train or score "
            f"with. Correct data.mask (what means ignore, and nodata) or the masks; `seg-scse data check` shows them."
        )
    return indices


def _model(config: Config, network: ModelConfig, data: PreparedData, device: torch.device) -> nn.Module:
    """Build the network; its random weights depend on the seed only."""
    torch.manual_seed(config.seed)
    model = build_model(network, len(data.config.band_names), len(config.data.classes), config.data.task)
    return model.to(device).to(memory_format=torch.channels_last)


def _facts(config: Config, data: PreparedData, statistics: Statistics) -> dict[str, Any]:
    """Return what every checkpoint holds beside weights and progress."""
    return {
        "config": config.model_dump(mode="json"),
        "mean": list(statistics.mean),
        "std": list(statistics.std),
        "scale": data.store.scales.as_state(),
        "data_digest": data.store.digest,
        "splits": data.splits(),
        "processes": distributed.world_size(),
    }


def _loader(
    config: Config, data: PreparedData, train: Sequence[int], sampler: EpochBatchSampler, device: torch.device
) -> TrainingLoader:
    settings = config.trainer
    transform = build_transform(config.augmentation, settings.crop, colour=config.data.bands is None)
    dataset = TrainingSet(data.store, train, transform, config.seed, _placement(settings))
    return training_loader(dataset, sampler, choose_workers(settings, device), device.type == "cuda")


def _placement(settings: TrainerConfig) -> Placement | None:
    return None if settings.crops == "random" else Placement(settings.crops, settings.crops_share)


def _sampler(config: Config, sizes: Sequence[tuple[int, int]]) -> EpochBatchSampler:
    """Return the order in which this process draws crops of images of these sizes."""
    settings = config.trainer
    crops = crops_to_cover(sizes, settings.crop) if settings.draw == "area" else [1] * len(sizes)
    draws = [settings.repeats * number for number in crops]
    return EpochBatchSampler(draws, settings.samples, config.seed, distributed.rank(), distributed.world_size())


def _compile(model: nn.Module, part: str) -> None:
    """Compile nothing (`none`), each gate (`gates`) or the whole (`network`), in place."""
    if part == "gates":
        compile_gates(model)
    elif part == "network":
        model.compile()


def _total_steps(config: Config, batches: int) -> int:
    settings = config.trainer
    per_epoch = batches // settings.accumulate
    if per_epoch == 0:
        raise ConfigError(
            f"trainer.accumulate={settings.accumulate}, but an epoch has only {batches} batches: no step would be "
            f"made. Lower it, or raise trainer.repeats."
        )
    steps = per_epoch * settings.max_epochs
    return min(steps, settings.max_steps) if settings.max_steps else steps
