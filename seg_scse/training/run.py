"""A run from its configuration to its folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import checkpoint, distributed, provenance
from seg_scse.config.loading import MAY_MOVE, load_config, override, refuse_overrides
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.files import write_text
from seg_scse.inference.device import choose_device
from seg_scse.models import describe_model
from seg_scse.training.building import OnEpoch, build_trainer
from seg_scse.training.folder import claim, refuse_changes
from seg_scse.training.lock import locked
from seg_scse.training.loop import Trainer
from seg_scse.training.state import Progress

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
            data = prepare_data(config.data)
            config = config.model_copy(update={"data": data.config})
            trainer = build_trainer(config, data, device, folder, on_epoch, config.model)
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
        network, device = config.model.without_weights(), choose_device(config.trainer)
        trainer = build_trainer(config, data, device, folder, on_epoch, network)
        checkpoint.load_weights(trainer.model, state, folder / checkpoint.LAST)
        trainer.load(state)
        if distributed.is_main():
            print(f"resuming {folder} at step {progress.step}")
        return Outcome(folder, trainer.fit())


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
