"""How a network was trained, in words: for the report of an evaluation and for the model card.

Folders are left out, because a card is for everybody.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Self

from pydantic import ValidationError

from seg_scse.config.schema import Config
from seg_scse.report.reading import Results
from seg_scse.report.wording import count, joined

Fact = tuple[str, str]

_CHANGED = "changed: "
"""How a line of `resumed` in `run.json` begins that says what was set otherwise from there on."""


@dataclass(frozen=True)
class RunFiles:
    """What a run folder tells; an absent or damaged file tells nothing.

    Attributes:
        told: `run.json`.
        moved: `finetune.json`, of a network that started from another one.
    """

    told: Mapping[str, Any]
    moved: Mapping[str, Any]

    @classmethod
    def of(cls, run: Path | None) -> Self:
        """Read the files of a run folder, if there is one."""
        return cls(_read(run, "run.json"), _read(run, "finetune.json"))


def _read(run: Path | None, name: str) -> dict[str, Any]:
    try:
        found = json.loads((run / name).read_text(encoding="utf-8")) if run else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts_of_results(results: Results, run: Path) -> list[Fact]:
    """How the network of an evaluation was trained; empty where the evaluation does not tell.

    Args:
        results: the evaluation.
        run: the folder of the run, which need not exist.
    """
    if not results.config or results.predictions is not None or (results.members and not results.folds):
        return []
    try:
        config = Config.model_validate(results.config)
    except ValidationError:  # of a version with other keys
        return []
    at = None if results.folds or results.checkpoint is None else (results.checkpoint.epoch, results.checkpoint.step)
    return training_facts(config, at, RunFiles.of(run))


def training_facts(config: Config, at: tuple[int, int] | None, run: RunFiles) -> list[Fact]:
    """Say how a network was trained, as (term, words).

    Args:
        config: of its training.
        at: epoch and step of its weights; None where there are several, as in a cross-validation.
        run: what its run folder tells.
    """
    trainer = config.trainer
    facts = [
        ("Recipe", config.recipe),
        ("Start", _start(config, run)),
        ("Frozen", _frozen(config)),
        ("Weights", None if at is None else _weights(config, at)),
        ("Chosen by", f"{trainer.monitor} on the validation split"),
        ("Loss", _loss(config)),
        ("Optimizer", _optimizer(config)),
        ("Batches", _batches(config, run)),
        ("Augmentation", _augmentation(config)),
        ("Seed", str(config.seed)),
        ("Computed on", None if at is None else _computed_on(run)),
        ("Resumed", _resumed(run)),
    ]
    return [(term, words) for term, words in facts if words]


def _start(config: Config, run: RunFiles) -> str:
    if config.finetune.source is not None:
        return _fine_tuned(config, run)
    start = config.model.encoder_weights or "random weights"
    if config.model.weights:
        return "a network trained before"
    return "weights of the encoder from a file" if "/" in start or "\\" in start else start


def _fine_tuned(config: Config, run: RunFiles) -> str:
    words = [f"fine-tuned from {_named(str(config.finetune.source))}"]
    tensors = run.moved.get("tensors")
    if isinstance(tensors, dict):
        actions = [moved.get("action") for moved in tensors.values() if isinstance(moved, dict)]
        told = [f"{actions.count(action)} {action}" for action in ("loaded", "adapted", "skipped", "new")]
        words.append(f"tensors: {', '.join(one for one in told if not one.startswith('0 '))}")
    if config.finetune.statistics == "source":
        words.append("standardised as there")
    return "; ".join(words)


def _named(source: str) -> str:
    """Return a source without the folders above it: the run of a checkpoint, a file, or the id of the Hub as it is."""
    path = PurePath(source)
    if not path.is_absolute() and len(path.parts) == 2 and "\\" not in source:
        return source  # owner/name, or a run below here
    return path.parts[-3] if path.parent.name == "checkpoints" and len(path.parts) > 2 else path.name


def _frozen(config: Config) -> str | None:
    settings = config.finetune
    if not settings.freeze:
        return None
    time = "all the time" if settings.unfreeze_epoch is None else f"for {count(settings.unfreeze_epoch, 'epoch')}"
    return f"{joined(settings.freeze)}, with the statistics of BatchNorm, {time}"


def _weights(config: Config, at: tuple[int, int]) -> str:
    settings, (epoch, step) = config.averaging, at
    after = f"after epoch {epoch}, step {step}"
    if settings.method == "ema":
        return f"{after}: exponential moving average over the steps, decay {settings.decay:g}"
    if settings.method == "swa":
        return f"{after}: from {settings.start:.0%} of the run on, the mean over the ends of the epochs (SWA)"
    return after


def _loss(config: Config) -> str:
    loss, words = config.loss, [" + ".join(f"{weight:g} {name}" for name, weight in config.loss.terms.items())]
    if loss.class_weights is not None:
        words.append(f"class weights {', '.join(f'{weight:g}' for weight in loss.class_weights)}")
    if loss.class_balance != "none":
        words.append(f"class weights from the pixels of the training masks ({loss.class_balance})")
    if loss.hardest < 1:
        words.append(f"ce and focal of the {loss.hardest:.3g} of the pixels with the largest loss")
    if loss.label_smoothing:
        words.append(f"label smoothing {loss.label_smoothing:g}")
    if config.model.deep_supervision:
        words.append(f"deep supervision at {count(config.model.deep_supervision, 'coarser stage')}")
    return ", ".join(words)


def _optimizer(config: Config) -> str:
    optimizer = config.optimizer
    words = [
        f"{optimizer.name}, learning rate {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}, "
        f"{optimizer.schedule} schedule, {optimizer.warmup_steps} steps of warm-up"
    ]
    words += [f"learning rate of the {part} x {factor:g}" for part, factor in optimizer.lr_factors.items()]
    if optimizer.layer_decay < 1:
        words.append(f"layer decay {optimizer.layer_decay:g}")
    return ", ".join(words)


def _batches(config: Config, run: RunFiles) -> str:
    trainer, number = config.trainer, run.told.get("processes")
    words = [
        f"{trainer.batch_size} crops of {trainer.crop} x {trainer.crop} px (placed: {trainer.crops})",
        count(number, "process", "es") if isinstance(number, int) else "an unknown number of processes",
    ]
    if trainer.accumulate > 1:
        words.append(f"{trainer.accumulate} of them for a step")
    if trainer.hard_share:
        words.append(f"{trainer.hard_share:.0%} of the crops from images in proportion to their errors")
    return ", ".join(words)


def _augmentation(config: Config) -> str:
    settings = config.augmentation
    mixed = "" if settings.mix == "none" else f", {settings.mix} in {settings.mix_share:.0%} of the batches"
    return f"{settings.preset}{mixed}"


def _computed_on(run: RunFiles) -> str:
    return f"{run.told.get('device', 'unknown')}, {run.told.get('precision', 'unknown')}"


def _resumed(run: RunFiles) -> str | None:
    """At which steps the run was continued, and what was changed then."""
    entries = [entry for entry in run.told.get("resumed") or [] if isinstance(entry, dict)]
    return "; ".join(_entry(entry) for entry in entries) or None


def _entry(entry: Mapping[str, Any]) -> str:
    texts = [str(text) for text in entry.get("changes") or []]
    changes = [_without_folders(text.removeprefix(_CHANGED)) for text in texts if text.startswith(_CHANGED)]
    with_changes = f" with {', '.join(changes)}" if changes else ""
    return f"at step {entry.get('step', 'unknown')}{with_changes}"


def _without_folders(change: str) -> str:
    return f"another {change.partition(':')[0]}" if "/" in change or "\\" in change else change
