"""A run from its configuration to its folder."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_scse import checkpoint, distributed, provenance
from seg_scse.attention.compiling import compile_gates
from seg_scse.config.loading import MAY_MOVE, load_config, override, refuse_overrides
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config, ModelConfig, TrainerConfig
from seg_scse.data.crops import Placement
from seg_scse.data.dataset import TrainingSet, training_loader
from seg_scse.data.prepare import PreparedData, prepare_data, require_multiclass
from seg_scse.data.sampler import EpochBatchSampler, crops_to_cover
from seg_scse.data.standardize import Standardizer
from seg_scse.data.transforms import build_transform
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.files import write_text
from seg_scse.inference.counting import count_split
from seg_scse.inference.device import choose_device, choose_precision, choose_workers
from seg_scse.inference.predictor import Predictor
from seg_scse.losses import build_loss
from seg_scse.models import build_model, describe_model
from seg_scse.training.folder import claim, refuse_changes
from seg_scse.training.lock import locked
from seg_scse.training.loop import Trainer
from seg_scse.training.optim import Schedule, build_optimizer
from seg_scse.training.state import Progress

OnEpoch = Callable[[Path], object]
CONFIG, FACTS, SPLITS = "config.yaml", "run.json", "splits.csv"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    progress: Progress

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {"run": str(self.folder), **self.progress.as_dict()}


def start(
    config: Config,
    out: Path | None,
    on_epoch: OnEpoch,
    reasons: Mapping[str, str] | None = None,
    evaluate: str | None = None,
) -> Outcome:
    """Train from the beginning.

    Args:
        config: the configuration.
        out: run folder; None chooses `runs/<name>`, with a number where that is taken.
        on_epoch: called by the main process with the run folder after each epoch.
        reasons: comments for the saved configuration, by dotted key.
        evaluate: split that will be scored afterwards, so that an empty one is refused before training.

    Raises:
        SegScseError: see `errors`; before the first step nothing is left behind.
    """
    device = choose_device(config.trainer)
    claimed = claim(config.name, out) if distributed.is_main() else None
    folder, created = distributed.from_main(claimed) or (Path(), False)
    with locked(folder):
        if (folder / checkpoint.LAST).exists():
            raise ConfigError(f"{folder}: holds a run already. Continue it with --resume {folder}, or choose --out.")
        try:
            require_multiclass(config.data)
            data = prepare_data(config.data)
            config = config.model_copy(update={"data": data.config})
            trainer = _build(config, data, device, folder, on_epoch, config.model)
            if evaluate:
                data.require(evaluate, "Change data.split, or train without --evaluate.")
            if distributed.is_main():
                _write_facts(folder, config, data, trainer, reasons)
        except BaseException:
            if created and distributed.is_main():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return Outcome(folder, trainer.fit())


def resume(folder: Path, on_epoch: OnEpoch, overrides: Sequence[str] = ()) -> Outcome:
    """Continue a run from its last checkpoint.

    Args:
        folder: the run folder.
        on_epoch: called by the main process with the run folder after each epoch.
        overrides: `section.key=value` texts for the keys of `MAY_MOVE`: where the data are now.

    Raises:
        ConfigError: the folder holds no run, its configuration was edited since, or the processes are not as many.
        CheckpointError: the last checkpoint cannot be used, or the data are not those it was trained with.
        DataError: the data cannot be read.
    """
    refuse_overrides(overrides, MAY_MOVE, "A run is resumed as it was started.")
    if not (folder / CONFIG).is_file() or not (folder / checkpoint.LAST).is_file():
        raise ConfigError(f"{folder}: no run with a checkpoint to resume. Start one with --config, or check the path.")
    with locked(folder):
        config = load_config(folder / CONFIG)
        state, _ = checkpoint.load(folder / checkpoint.LAST)
        _refuse_changes(folder, config, state)
        progress = Progress(**state["progress"])
        if progress.finished:
            print(f"{folder}: already finished after {progress.epoch} epochs.")
            return Outcome(folder, progress)
        config = override(config, overrides)
        data = prepare_data(config.data, state["splits"], state.get("scale"))
        if data.store.digest != state["data_digest"]:
            raise CheckpointError(
                f"{folder}: the images or masks are not those of the checkpoint. Restore them, or start a new run."
            )
        trainer = _build(config, data, choose_device(config.trainer), folder, on_epoch, config.model.without_weights())
        checkpoint.load_weights(trainer.model, state, folder / checkpoint.LAST)
        trainer.load(state)
        if distributed.is_main():
            print(f"resuming {folder} at step {progress.step}")
        return Outcome(folder, trainer.fit())


def _build(
    config: Config,
    data: PreparedData,
    device: torch.device,
    folder: Path,
    on_epoch: OnEpoch,
    network: ModelConfig,
) -> Trainer:
    """Build everything a trainer needs; all that can be wrong with a configuration shows here.

    `network` is that of `config`, or the same without the files it starts from, when a checkpoint will fill it.
    """
    settings, classes = config.trainer, config.data.classes
    precision = choose_precision(settings, device)
    train = data.require("train", "Raise data.split.train.")
    val = data.require("val", "The best checkpoint is chosen on it: raise data.split.val.")
    statistics = data.store.statistics(train)
    torch.manual_seed(config.seed)
    model = build_model(network, len(data.config.band_names), len(classes))
    model = model.to(device).to(memory_format=torch.channels_last)
    facts = {
        "config": config.model_dump(mode="json"),
        "mean": list(statistics.mean),
        "std": list(statistics.std),
        "scale": data.store.scales.as_state(),
        "data_digest": data.store.digest,
        "splits": data.splits(),
        "processes": distributed.world_size(),
    }
    standardize = Standardizer(statistics.mean, statistics.std).to(device)
    loss = build_loss(config.loss, len(classes)).to(device)
    sampler = _sampler(config, statistics.sizes)
    transform = build_transform(config.augmentation, settings.crop, colour=config.data.bands is None)
    dataset = TrainingSet(data.store, train, transform, config.seed, _placement(settings))
    predictor = Predictor.from_config(config, model, standardize, device, precision)
    steps = _total_steps(config, len(sampler))
    _compile(model, settings.compile)
    return Trainer(
        config=config,
        model=model,
        standardize=standardize,
        loss=loss,
        optimizer=build_optimizer(config.optimizer, model),
        schedule=Schedule(config.optimizer, steps),
        loader=training_loader(dataset, sampler, choose_workers(settings, device), device.type == "cuda"),
        sampler=sampler,
        validate=lambda: count_split(predictor, data, val, len(classes), loss=loss, progress="validation"),
        names=lambda index: data.manifest.samples[index].id,
        device=device,
        precision=precision,
        folder=folder,
        facts=facts,
        on_epoch=on_epoch,
    )


def _placement(settings: TrainerConfig) -> Placement | None:
    return None if settings.crops == "random" else Placement(settings.crops, settings.crops_share)


def _sampler(config: Config, sizes: Sequence[tuple[int, int]]) -> EpochBatchSampler:
    """Return the order in which this process draws crops of images of these sizes."""
    settings = config.trainer
    crops = crops_to_cover(sizes, settings.crop) if settings.draw == "area" else [1] * len(sizes)
    draws = [settings.repeats * number for number in crops]
    return EpochBatchSampler(draws, settings.batch_size, config.seed, distributed.rank(), distributed.world_size())


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


def _write_facts(
    folder: Path, config: Config, data: PreparedData, trainer: Trainer, reasons: Mapping[str, str] | None
) -> None:
    header = (
        f"{config.name}: the configuration of this run, fully resolved.\nAgain: train.py --config {folder}/{CONFIG}"
    )
    model = describe_model(trainer.model)
    sizes = data.split_sizes()
    facts = {
        **provenance.environment(trainer.device),
        "precision": trainer.precision,
        "seed": config.seed,
        "processes": distributed.world_size(),
        "data": {"digest": data.store.digest, "samples": sizes, "notes": list(data.notes)},
        "bands": list(config.data.band_names),
        "scale": trainer.facts["scale"],
        "standardization": {"mean": trainer.facts["mean"], "std": trainer.facts["std"]},
        "model": model,
        "steps": trainer.schedule.total_steps,
    }
    write_text(folder / CONFIG, to_yaml(config, reasons, header))
    write_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")
    data.write_splits(folder / SPLITS)
    for note in data.notes:
        print(f"data: {note}")
    print(
        f"model: {config.model.label}, {model['parameters']:,} parameters, "
        f"{len(model['gates'])} {config.model.attention.type} gates; {provenance.describe_device(trainer.device)}, "
        f"{trainer.precision}"
    )
    print(f"training: {trainer.schedule.total_steps} steps of {config.trainer.batch_size} crops, into {folder}")


def _refuse_changes(folder: Path, config: Config, state: Mapping[str, Any]) -> None:
    """Refuse to continue with another configuration or another number of processes than the checkpoint's."""
    then = checkpoint.config_of(state, folder / checkpoint.LAST)
    refuse_changes(folder / CONFIG, then, config, "the checkpoint was written")
    started, found = state["processes"], distributed.world_size()
    if started != found:
        raise ConfigError(
            f"{folder}: started with {started} processes, resumed with {found}: the batches would differ. "
            f"Resume with torchrun --nproc-per-node (x --nnodes) = {started}."
        )
