"""What is not as it was when a run is resumed, whether that may be, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from seg_scse import checkpoint, distributed
from seg_scse.config.loading import MAY_DIFFER
from seg_scse.config.schema import Config
from seg_scse.errors import CheckpointError, ConfigError, numbered
from seg_scse.models import build_model

_NETWORK = "the weights fit no other network"
_FIXED = {
    "data.classes": _NETWORK,
    "data.task": _NETWORK,
    "data.channels": _NETWORK,
    "data.bands": _NETWORK,
    "data.use": _NETWORK,
    "data.volume.neighbours": _NETWORK,
    "data.split.": "the samples stay as splits.csv divides them",
    "data.scale.": "the network has learned from this scale",
    "averaging.method": "the steps so far were not averaged so",
    "optimizer.name": "the state of another optimizer means nothing to it",
    "finetune.source": "training has begun from its own",
    "finetune.statistics": "the network has learned from the others",
    "trainer.monitor": "the best checkpoint so far was chosen by the other",
}
"""Beginnings of keys that stay as they are, and why."""

_ORDER = ("seed", "trainer.draw", "trainer.repeats", "trainer.hard_share")
"""Keys of which the order of an epoch's crops is a function; so are the samples of a step."""


@dataclass(frozen=True)
class Change:
    """A key with another value than before; None stands for a key that is not there, too."""

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r} -> {self.after!r}"

    @property
    def obstacle(self) -> str | None:
        """Why a run cannot go on with it, whatever is allowed; None where it can."""
        if self.key.startswith("loss.terms.") and None in (self.before, self.after):
            return "steps.csv has a column for each term; its weight may change"
        return next(
            (why for key, why in _FIXED.items() if f"{self.key}.".startswith(key.removesuffix(".") + ".")), None
        )


def differences(then: Config, now: Config) -> list[Change]:
    """Return the changed keys that can make a difference to the weights; `auto` for a batch size is no change."""
    before, after = _flat(then.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    found = [Change(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())]
    return [one for one in found if one.before != one.after and one.key not in MAY_DIFFER and one.after != "auto"]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def refuse_changes(what: str, changes: Sequence[Change], cure: str) -> None:
    """Refuse changes, if there are any.

    Raises:
        ConfigError: naming each key with both values.
    """
    if changes:
        count = "a setting differs" if len(changes) == 1 else f"{len(changes)} settings differ"
        raise ConfigError(f"{what}: {count}:\n{numbered([str(change) for change in changes])}\n{cure}")


@dataclass(frozen=True)
class Plan:
    """How a run goes on.

    Attributes:
        config: its configuration from now on.
        changes: what is not as it was.
        processes: number of processes that `trainer.batch_size` is meant for.
        samples: samples per forward pass of each of the processes that there are.
        anew: the current epoch begins anew, because its steps would see other samples than those still to come.
        other_data: the images or masks are not those of the checkpoint.
    """

    config: Config
    changes: tuple[Change, ...]
    processes: int
    samples: int
    anew: bool
    other_data: bool = False

    @classmethod
    def of(cls, folder: Path, then: Config, now: Config, state: Mapping[str, Any], allowed: bool) -> Self:
        """Compare a configuration with that of the checkpoint.

        Args:
            folder: the run folder, for messages.
            then: the configuration in the checkpoint.
            now: the configuration to go on with.
            state: the checkpoint.
            allowed: `--allow-change` was given.

        Raises:
            ConfigError: a key that cannot change, a change that was not allowed, or processes that the batch cannot be
                divided among.
        """
        if now.trainer.batch_size == "auto":
            trainer = now.trainer.model_copy(update={"batch_size": then.trainer.batch_size})
            now = now.model_copy(update={"trainer": trainer})
        changes = differences(then, now)
        _refuse_impossible(folder, changes, now, state)
        if not allowed:
            refuse_changes(
                f"{folder}: not as the checkpoint was written", changes, "Undo it, or go on with it: --allow-change."
            )
        return cls._divided(folder, then, now, state, tuple(changes))

    @classmethod
    def _divided(
        cls, folder: Path, then: Config, now: Config, state: Mapping[str, Any], changes: tuple[Change, ...]
    ) -> Self:
        """Divide the batch of all processes among those that there are."""
        keys, world, started = {change.key for change in changes}, distributed.world_size(), int(state["processes"])
        processes = world if "trainer.batch_size" in keys else started
        batch = processes * now.trainer.samples
        if batch % world:
            fitting = ", ".join(str(number) for number in range(1, batch + 1) if batch % number == 0)
            raise ConfigError(
                f"{folder}: its batch of {processes} x {now.trainer.samples} samples cannot be divided among {world} "
                f"processes. Resume it with as many as divide {batch} ({fitting}), or change the batch: "
                f"trainer.batch_size=N --allow-change."
            )
        same_step = started * then.trainer.samples * then.trainer.accumulate == batch * now.trainer.accumulate
        ordered = not keys & {*_ORDER, *(["trainer.crop"] if now.trainer.draw == "area" else [])}
        return cls(now, changes, processes, batch // world, anew=not (same_step and ordered))

    def with_other_data(self) -> Self:
        """Return the same plan for other images or masks."""
        return replace(self, anew=True, other_data=True)

    def adapted(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of the checkpoint as the run goes on with it."""
        state = {**state, "processes": self.processes}
        if self._repeats(state):
            state["progress"] = {**state["progress"], "in_epoch": 0}
        if self.other_data:
            state.pop("difficulty", None)  # of other samples
        return state

    def _repeats(self, state: Mapping[str, Any]) -> bool:
        """Tell whether the epoch begins anew. One whose steps are done and averaged has only to be validated."""
        return self.anew and not state["progress"].get("closed", False)

    def lines(self, state: Mapping[str, Any]) -> list[str]:
        """Say what is not as it was in the checkpoint, and what follows from it."""
        said = [f"changed: {change}" for change in self.changes]
        if self.other_data:
            said.append("changed: the images or masks; the standardisation stays that of the first ones")
        if self._repeats(state) and state["progress"].get("in_epoch", 1):
            said.append("the current epoch begins anew: its steps would see other samples than those still to come")
        before = int(state.get("world", state["processes"]))
        world = distributed.world_size()
        if before != world:
            said.append(
                f"{before} -> {world} processes: a step's batch stays {self.samples * world} samples, now {world} x "
                f"{self.samples}; BatchNorm sees {self.samples} at a time"
            )
        return said


def _refuse_impossible(folder: Path, changes: Sequence[Change], now: Config, state: Mapping[str, Any]) -> None:
    bad = [(change, change.obstacle) for change in changes if change.obstacle]
    network = [change for change in changes if change.key.startswith("model.")]
    if network and not bad and not _weights_fit(now, state):
        bad = [(change, _NETWORK) for change in network]
    if bad:
        named = [f"{change} ({why})" for change, why in bad]
        raise ConfigError(
            f"{folder}: a run cannot go on with this change:\n{numbered(named)}\n"
            f"Undo it, or fine-tune from the run instead: train.py --config FILE --from {folder}."
        )


def _weights_fit(config: Config, state: Mapping[str, Any]) -> bool:
    try:
        model = build_model(
            config.model.without_weights(), len(config.data.band_names), len(config.data.classes), config.data.task
        )
        checkpoint.load_weights(model, state.get("training", state), Path(checkpoint.LAST))
    except (CheckpointError, ConfigError):
        return False
    return True
