"""A run from its configuration to its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import checkpoint, distributed, provenance
from seg_scse.config.loading import load_config, override
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import CheckpointError, ConfigError, is_out_of_memory
from seg_scse.inference.device import choose_device
from seg_scse.models import describe_model
from seg_scse.training.batch_size import resolve_batch_size
from seg_scse.training.building import build_trainer
from seg_scse.training.folder import (
    CONFIG,
    SPLITS,
    claim_together,
    facts_of,
    has_run,
    is_restarted,
    leaving_nothing,
    note_resume,
    require_out,
    write_config,
    write_facts,
)
from seg_scse.training.lock import locked
from seg_scse.training.loggers import require_loggers
from seg_scse.training.loop import OnEpoch, Trainer
from seg_scse.training.memory import out_of_memory
from seg_scse.training.optim import Schedule, rates_note
from seg_scse.training.preflight import preflight
from seg_scse.training.resuming import Plan, differences, refuse_changes
from seg_scse.training.state import Progress

__all__ = ["CONFIG", "Outcome", "resume", "start"]


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
    """Train from the beginning; or, started again by torchrun or SLURM, from where the same run came to.

    Args:
        config: the configuration.
        out: run folder; None chooses `runs/<name>`, with a number where that is taken.
        on_epoch: called by the main process after each epoch.
        reasons: comments for the saved configuration, by dotted key.
        evaluate: split that will be scored afterwards, so that an empty one is refused before training.

    Raises:
        SegScseError: see `errors`; before the first step nothing is left behind.
    """
    require_out(out)
    require_loggers(config.trainer)
    device = choose_device(config.trainer)
    folder, created = claim_together(config.name, out)
    with locked(folder):
        if distributed.from_main((folder / checkpoint.LAST).exists()):
            return _again(folder, config, on_epoch)
        with leaving_nothing(folder, created):
            data = prepare_data(config.data)
            config = config.model_copy(update={"data": data.config})
            config, found = resolve_batch_size(config, data, device)
            trainer = build_trainer(config, data, device, folder, on_epoch, config.model)
            if evaluate:
                data.require(evaluate, "Change data.split, or train without --evaluate.")
            trainer.facts["steps"] = trainer.schedule.total_steps
            room = preflight(trainer, config.trainer.samples)
            if distributed.is_main():
                _write(folder, config, data, trainer, {**(reasons or {}), **found})
                _introduce(config, data, trainer, room)
                for key, why in found.items():
                    print(f"{key}: {why}")
        return _fit(trainer, config.trainer.samples)


def resume(folder: Path, on_epoch: OnEpoch, overrides: Sequence[str] = (), allow_change: bool = False) -> Outcome:
    """Continue a run from its last checkpoint.

    Args:
        folder: the run folder.
        on_epoch: called by the main process after each epoch.
        overrides: `section.key=value` texts: those of `MAY_DIFFER` are free, others need `allow_change`.
        allow_change: go on although the configuration or the data are not those of the checkpoint.

    Raises:
        ConfigError: the folder holds no run, a change that is not allowed or not possible, or the batch cannot be
            divided among the processes.
        CheckpointError: the last checkpoint cannot be used, or the data are not those it was trained with.
        DataError: the data cannot be read.
    """
    if not has_run(folder):
        raise ConfigError(f"{folder}: no run with a checkpoint to resume. Start one with --config, or check the path.")
    with locked(folder):
        return _continue(folder, on_epoch, overrides, allow_change)


def _again(folder: Path, config: Config, on_epoch: OnEpoch) -> Outcome:
    """Go on with the run of a folder if this is its own command, started again; else refuse to overwrite it."""
    if not distributed.from_main(is_restarted(folder)):
        raise ConfigError(f"{folder}: holds a run already. Continue it with --resume {folder}, or choose --out.")
    asked = config.model_copy(update={"data": resolve_card(config.data)})
    refuse_changes(
        f"{folder}: holds a run that this command did not start",
        differences(load_config(folder / CONFIG), asked),
        f"Continue that one with --resume {folder}, or choose another --out.",
    )
    return _continue(folder, on_epoch, (), False)


def _continue(folder: Path, on_epoch: OnEpoch, overrides: Sequence[str], allowed: bool) -> Outcome:
    written = load_config(folder / CONFIG)
    state, _ = checkpoint.load(folder / checkpoint.LAST)
    then = checkpoint.config_of(state, folder / checkpoint.LAST)
    plan = Plan.of(folder, then, override(written, overrides), state, allowed)
    if state["progress"]["finished"] and not plan.changes:
        return _finished(folder, Progress.restored({**state["progress"], "in_epoch": 0}, 1))
    config, device = plan.config, choose_device(plan.config.trainer)
    data = prepare_data(config.data, state["splits"], state.get("scale"))
    if data.store.digest != state["data_digest"]:
        _refuse_data(folder, allowed)
        plan = plan.with_other_data()
    before, state = state, plan.adapted(state)
    network = config.model.without_weights()
    trainer = build_trainer(config, data, device, folder, on_epoch, network, state, plan.samples)
    _load(trainer, state, plan)
    if trainer.progress.finished:
        return _finished(folder, trainer.progress)
    room = preflight(trainer, plan.samples)
    if distributed.is_main():
        said = [*plan.lines(before), *_new_end(folder, then, before, trainer)]
        print("\n".join([f"resuming {folder} at step {trainer.progress.step}; {room}", *said]))
        if config != written:
            write_config(folder, config, facts_of(folder).get("reasons", {}))
        if plan.other_data:
            data.write_splits(folder / SPLITS)
        note_resume(folder, trainer.progress.step, trainer.schedule.total_steps, said, plan.samples)
    return _fit(trainer, plan.samples)


def _finished(folder: Path, progress: Progress) -> Outcome:
    if distributed.is_main():
        print(f"{folder}: already finished after {counted(progress.epoch, 'epoch')}.")
    return Outcome(folder, progress)


def _refuse_data(folder: Path, allowed: bool) -> None:
    if not allowed:
        raise CheckpointError(
            f"{folder}: the images or masks are not those of the checkpoint. Restore them, go on with these "
            f"(--allow-change), or start a new run."
        )


def _load(trainer: Trainer, state: dict[str, Any], plan: Plan) -> None:
    """Load the state of a checkpoint, of which some may not fit any more what was changed since."""
    if any(change.key in ("trainer.precision", "trainer.device") for change in plan.changes):
        state = {**state, "scaler": trainer.learner.scaler.state_dict()}
    trainer.load(state)
    trainer.facts["steps"] = trainer.schedule.total_steps
    at, patience = trainer.progress, trainer.config.trainer.early_stopping
    if at.finished:  # by the settings of then
        stopped = patience is not None and at.bad_validations >= patience
        at.finished = stopped or at.step >= trainer.schedule.total_steps
    elif at.epoch > 0 and at.in_epoch == 0 and not at.closed:  # between two epochs, of which none may be left now
        at.finished = at.step >= trainer.schedule.total_steps


def _new_end(folder: Path, then: Config, state: Mapping[str, Any], trainer: Trainer) -> list[str]:
    """Say where the schedule ends now and what it gives next, where one of them is not as it was."""
    new, step = trainer.schedule, trainer.progress.step
    old = Schedule(
        then.optimizer, int(state.get("steps") or facts_of(folder).get("steps") or new.total_steps), then.averaging
    )
    old.load_state_dict(state["schedule"])
    before, after = (old.total_steps, old.rate(step)), (new.total_steps, new.rate(step))
    if before == after:
        return []
    end = f"ends at step {after[0]}" + (f" instead of {before[0]}" if after[0] != before[0] else " as before")
    rate = f"learning rate of the next step, {step}: {after[1]:g} instead of {before[1]:g}"
    return [f"schedule: {end}" + (f"; {rate}" if step < after[0] else "")]


def _fit(trainer: Trainer, samples: int) -> Outcome:
    """Train to the end.

    Raises:
        SegScseError: as `Trainer.fit`; and out of memory, with what would need less.
    """
    try:
        return Outcome(trainer.folder, trainer.fit())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = f"step {trainer.progress.step}"
        raise out_of_memory(trainer.config, samples, where, trainer.precision, trainer.folder) from error


def _write(folder: Path, config: Config, data: PreparedData, trainer: Trainer, reasons: Mapping[str, str]) -> None:
    """Write what the run is: `config.yaml`, `run.json`, `splits.csv`."""
    facts = {
        **provenance.environment(trainer.device),
        "precision": trainer.precision,
        "seed": config.seed,
        "processes": distributed.world_size(),
        "samples": config.trainer.samples,
        "job": distributed.job(),
        "data": {"digest": data.store.digest, "samples": data.split_sizes(), "notes": list(data.notes)},
        "bands": list(config.data.band_names),
        "scale": trainer.facts["scale"],
        "standardization": {"mean": trainer.facts["mean"], "std": trainer.facts["std"]},
        "model": describe_model(trainer.model),
        "steps": trainer.schedule.total_steps,
        "reasons": dict(reasons),
        "resumed": [],
    }
    write_config(folder, config, reasons)
    write_facts(folder, facts)
    data.write_splits(folder / SPLITS)


def _introduce(config: Config, data: PreparedData, trainer: Trainer, room: str) -> None:
    """Say what is about to be trained."""
    for note in data.notes:
        print(f"data: {note}")
    model = describe_model(trainer.model)
    kind = config.model.attention.type
    gates = "no gates" if kind == "none" else counted(len(model["gates"]), f"{kind} gate")
    print(
        f"model: {config.model.label}, {model['parameters']:,} parameters, {gates}; "
        f"{provenance.describe_device(trainer.device)}, {trainer.precision}"
    )
    learner = trainer.learner
    for line in filter(None, (learner.freezing.note(), rates_note(learner.optimizer, trainer.model))):
        print(line)
    processes = f"{distributed.world_size()} x " if distributed.world_size() > 1 else ""
    print(
        f"training: {counted(trainer.schedule.total_steps, 'step')} of {processes}{config.trainer.samples} crops, into "
        f"{trainer.folder}; {room}"
    )
