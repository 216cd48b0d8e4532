"""Everything that a trainer needs, built from a configuration and its data; what is wrong with them shows here."""

import json
from collections.abc import Callable, Mapping, Sequence
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
from seg_scse.files import write_text
from seg_scse.inference.counting import Scored, count_split
from seg_scse.inference.device import choose_precision, choose_workers
from seg_scse.inference.predictor import Predictor
from seg_scse.inference.spacing import typical_spacing
from seg_scse.losses import SegmentationLoss, answer_counts, build_loss, class_weights, compile_loss, weights_text
from seg_scse.models import build_model
from seg_scse.models.recompute import recompute_stages
from seg_scse.models.transfer import transfer
from seg_scse.training.averaging import build_averager
from seg_scse.training.difficulty import Difficulty
from seg_scse.training.inputs import choose_statistics, input_notes
from seg_scse.training.loop import OnEpoch, Trainer, Validate
from seg_scse.training.optim import Schedule, build_optimizer
from seg_scse.training.panel import Panel
from seg_scse.training.sources import open_source
from seg_scse.training.state import Progress
from seg_scse.training.step import Learner

_CURES = {"train": "Raise data.split.train.", "val": "The best checkpoint is chosen on it: raise data.split.val."}

TRANSFER = "finetune.json"
"""File of a run folder that lists what became of each tensor of the source."""


def build_trainer(
    config: Config,
    data: PreparedData,
    device: torch.device,
    folder: Path,
    on_epoch: OnEpoch,
    network: ModelConfig,
    state: Mapping[str, Any] | None = None,
    batch: int | None = None,
) -> Trainer:
    """Build a trainer before its first step; `Trainer.load` is still to be called with a state.

    Args:
        config: the resolved configuration.
        data: the samples.
        device: where to train.
        folder: the run folder.
        on_epoch: called by the main process after each epoch.
        network: that of `config`, or the same without the files it starts from, when a checkpoint will fill it.
        state: of the checkpoint that the run will continue from; gives the standardisation and where the run ends.
        batch: samples per process and forward pass; None: those of the configuration.

    Raises:
        ConfigError: the settings do not fit the data, the machine, or the network to start from.
        DataError: the train or the val split is empty, or all its pixels are ignored.
    """
    train, val = _labelled(data, "train"), _labelled(data, "val")
    statistics = data.store.statistics(train)
    batch = batch or config.trainer.samples
    sampler = _sampler(config, statistics.sizes, batch)
    total = _total_steps(config, len(sampler), state)
    model = _model(config, network, data)
    mean, std = _start(config, data, model, folder, statistics) if state is None else (state["mean"], state["std"])
    model = model.to(device).to(memory_format=_layout(config.trainer))
    standardize = Standardizer(mean, std, config.trainer.channels_last).to(device)
    learner = build_learner(
        config, model, standardize, _loss(config, statistics).to(device), (total, len(sampler)), train
    )
    panel = Panel(data, val, config.trainer.panel)
    return Trainer(
        learner=learner,
        loader=_loader(config, data, train, sampler, device),
        sampler=sampler,
        validate=_validation(config, data, val, learner, panel),
        names=lambda index: data.manifest.samples[index].id,
        folder=folder,
        facts={**_facts(config, data, state), "mean": list(mean), "std": list(std), "steps": total},
        on_epoch=on_epoch,
        panel=panel,
        samples_per_step=batch * config.trainer.accumulate * distributed.world_size(),
    )


def build_learner(
    config: Config,
    model: nn.Module,
    standardize: Standardizer,
    loss: SegmentationLoss,
    length: tuple[int, int],
    train: Sequence[int],
) -> Learner:
    """Put everything around the network, in the order in which each finds it as it expects it.

    Args:
        config: the resolved configuration.
        model: on its device, as are the next two.
        standardize: from images to its input.
        loss: of its output.
        length: optimizer steps of the run, and batches of an epoch.
        train: the training samples, positions in the manifest.
    """
    (total, batches), device = length, next(model.parameters()).device
    optimizer = build_optimizer(config.optimizer, model)
    averager = build_averager(config.averaging, model, total, batches // config.trainer.accumulate)
    if config.trainer.gradient_checkpointing:
        recompute_stages(model)
    for one in (model,) if averager is None else (model, averager.network):
        _compile(one, config.trainer.compile)
    return Learner(
        config=config,
        model=model,
        standardize=standardize,
        loss=_compiled_loss(loss, config.trainer, device),
        optimizer=optimizer,
        schedule=Schedule(config.optimizer, total, config.averaging),
        device=device,
        precision=choose_precision(config.trainer, device),
        averager=averager,
        difficulty=Difficulty(train, device, config.data.task) if config.trainer.hard_share > 0 else None,
    )


def _validation(config: Config, data: PreparedData, val: Sequence[int], learner: Learner, panel: Panel) -> Validate:
    """Return what scores the network on the validation split and shows its predictions to the panel."""
    predictor = Predictor.from_config(config, learner.scored, learner.standardize, learner.device, learner.precision)
    classes = len(config.data.classes)

    def validate(check: Callable[[], None]) -> Scored:
        return count_split(
            predictor,
            data,
            val,
            classes,
            loss=learner.loss,
            on_image=panel.on_image,
            progress="validation",
            check=check,
        )

    return validate


def _compiled_loss(loss: SegmentationLoss, settings: TrainerConfig, device: torch.device) -> SegmentationLoss:
    """Compile the loss where compilation was asked for; not on a CPU, where benchmarks/losses.py finds it slower."""
    return compile_loss(loss) if settings.compile != "none" and device.type == "cuda" else loss


def _labelled(data: PreparedData, split: str) -> list[int]:
    """Return the positions of a split's samples, of which at least one pixel has a class."""
    indices = data.require(split, _CURES[split])
    if not any(data.store.entries[index].class_pixels.keys() - {IGNORE_INDEX} for index in indices):
        raise DataError(
            f"every pixel of the {split} split ({len(indices)} masks) is ignored: nothing is left to train or score "
            f"with. Correct data.mask (what means ignore, and nodata) or the masks; `seg-scse data check` shows them."
        )
    return indices


def _model(config: Config, network: ModelConfig, data: PreparedData) -> nn.Module:
    """Build the network; its random weights depend on the seed only."""
    torch.manual_seed(config.seed)
    return build_model(network, len(data.config.band_names), len(config.data.classes), config.data.task)


def _layout(settings: TrainerConfig) -> torch.memory_format:
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def _start(
    config: Config, data: PreparedData, model: nn.Module, folder: Path, statistics: Statistics
) -> tuple[Sequence[float], Sequence[float]]:
    """Fill the network from the source that is named, if any, and return mean and standard deviation of its input."""
    bands = data.config.band_names
    if config.finetune.source is None:
        return statistics.mean, statistics.std
    source = open_source(config.finetune.source)
    limits = data.store.scales.as_state()
    chosen = choose_statistics(source, config, (statistics.mean, statistics.std), limits)
    transferred = transfer(model, source, config.data.classes, bands)
    if distributed.is_main():
        notes = input_notes(source, config, chosen, limits)
        print("\n".join([transferred.table(), *(f"input: {note}" for note in notes)]))
        write_text(folder / TRANSFER, json.dumps({**transferred.as_dict(), "input": notes}, indent=2) + "\n")
    return chosen


def _loss(config: Config, statistics: Statistics) -> SegmentationLoss:
    """Build the loss, with the class weights that the training masks call for."""
    settings, task = config.loss, config.data.task
    if settings.class_balance != "none":
        pixels = statistics.class_pixels
        if task == "multilabel":
            valid = sum(height * width for height, width in statistics.sizes) - statistics.ignored
            pixels = answer_counts(pixels, valid)
        weights = class_weights(pixels, settings.class_balance)
        if distributed.is_main():
            print(weights_text(config.data.classes, weights, settings.class_balance))
        settings = settings.model_copy(update={"class_weights": weights})
    return build_loss(settings, len(config.data.classes), task)


def _facts(config: Config, data: PreparedData, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what every checkpoint says about configuration, data and machine."""
    return {
        "config": config.model_dump(mode="json"),
        "scale": data.store.scales.as_state(),
        "data_digest": data.store.digest,
        "splits": data.splits(),
        "spacing": _spacing(data),
        # Of the start: with the batch size of the configuration they are the samples of a step, which stay.
        "processes": distributed.world_size() if state is None else state["processes"],
        "world": distributed.world_size(),
    }


def _spacing(data: PreparedData) -> list[float | str] | None:
    """Return height, width and unit of a typical training pixel, None where the files do not say."""
    found = typical_spacing([data.store.entries[index].place for index in data.manifest.indices("train")])
    return None if found is None else list(found)


def _loader(
    config: Config, data: PreparedData, train: Sequence[int], sampler: EpochBatchSampler, device: torch.device
) -> TrainingLoader:
    settings = config.trainer
    transform = build_transform(config.augmentation, settings.crop, colour=data.config.coloured)
    dataset = TrainingSet(data.store, train, transform, config.seed, _placement(settings))
    return training_loader(dataset, sampler, choose_workers(settings, device), device.type == "cuda")


def _placement(settings: TrainerConfig) -> Placement | None:
    return None if settings.crops == "random" else Placement(settings.crops, settings.crops_share)


def _sampler(config: Config, sizes: Sequence[tuple[int, int]], batch: int) -> EpochBatchSampler:
    """Return the order in which this process draws crops of images of these sizes."""
    settings = config.trainer
    crops = crops_to_cover(sizes, settings.crop) if settings.draw == "area" else [1] * len(sizes)
    draws = [settings.repeats * number for number in crops]
    rank, world = distributed.rank(), distributed.world_size()
    return EpochBatchSampler(draws, batch, config.seed, rank, world, settings.hard_share)


def _compile(model: nn.Module, part: str) -> None:
    """Compile nothing (`none`), each gate (`gates`) or the whole (`network`), in place."""
    if part == "gates":
        compile_gates(model)
    elif part == "network":
        model.compile()


def _total_steps(config: Config, batches: int, state: Mapping[str, Any] | None) -> int:
    """Return the optimizer steps at which the run ends.

    From a checkpoint on, those done are counted, which its epochs may have had in another number; where the end was set
    before them, the run ends at once.
    """
    settings = config.trainer
    per_epoch = batches // settings.accumulate
    if per_epoch == 0:
        raise ConfigError(
            f"trainer.accumulate={settings.accumulate}, but an epoch has only {batches} batches: no step would be "
            f"made. Lower it, or raise trainer.repeats."
        )
    at = Progress() if state is None else Progress.restored(state["progress"], per_epoch)
    begun = at.step if at.closed else at.step - at.in_epoch
    steps = begun + per_epoch * (settings.max_epochs - at.epoch - at.closed)
    return max(at.step, min(steps, settings.max_steps) if settings.max_steps else steps)
