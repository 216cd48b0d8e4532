"""`predict`: from runs and inputs to a folder of results, as far as it is not there yet."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch

from seg_scse import distributed, provenance
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.errors import ConfigError, WriteError
from seg_scse.evaluation.loaded import Loaded
from seg_scse.evaluation.members import member_facts
from seg_scse.holding import alone
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Network
from seg_scse.inference.spacing import Spacing, trained_spacing, training_resample
from seg_scse.prediction.folder import SUMMARY, Folder, is_file_name
from seg_scse.prediction.inputs.items import Found, Item, find_items
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.inputs.scenes import is_scene
from seg_scse.prediction.ledger import Ledger, Task, summary_row
from seg_scse.prediction.locking import held
from seg_scse.prediction.networks import config_of, load_networks, passes_of, protocol_of
from seg_scse.prediction.outcome import Outcome
from seg_scse.prediction.outputs import Outputs
from seg_scse.prediction.predicting import Predicting
from seg_scse.prediction.records import Records, fingerprint
from seg_scse.prediction.settings import Settings, described
from seg_scse.prediction.sharing import Share
from seg_scse.prediction.volume_work import VolumeWork
from seg_scse.prediction.work import Work
from seg_scse.prediction.writing.polygons import require_polygons
from seg_scse.prediction.writing.summary import write_summary
from seg_scse.stopping import ending

Build = Callable[[Sequence[Loaded], torch.device], Network]
"""Makes what predicts of checkpoints; called in every process, or in none."""

_SUMMARY_PATIENCE = 60.0  # seconds, for another call that writes the summary


class _Plan(NamedTuple):
    """What is to be done, the same for all processes."""

    items: tuple[Item, ...]
    pending: frozenset[str]
    scenes: frozenset[str]
    notes: tuple[str, ...]


def predict(settings: Settings, build: Build) -> Outcome | None:
    """Predict what is not predicted yet, in this process or, under `torchrun`, in several.

    Args:
        settings: what, with what, and where to.
        build: makes the network.

    Returns:
        What became of it; None in processes that do not speak for all.

    Raises:
        ConfigError: settings that contradict each other or what the output holds.
        CheckpointError: no usable checkpoint.
        DataError: nothing to predict. What is wrong with one item is in the outcome.
        WriteError: the disk is full, or the output cannot be written; every file that exists is complete.
        Stopped: a signal came.
    """
    members = load_networks(settings.runs, settings.checkpoint, settings.overrides)
    config = config_of(members[0], settings.overrides)
    if "polygons" in settings.choices.save:
        require_polygons()
    call = _Call(settings, members, config, choose_device(config.trainer), Folder.of(settings.output))
    found = call.find() if distributed.is_main() else None  # before anything is written
    call.pixel_size()
    with call.claimed() as records:
        return call.run(found, records, build)


@dataclass(frozen=True)
class _Call:
    """A call and what it was told."""

    settings: Settings
    members: Sequence[Loaded]
    config: Config
    device: torch.device
    folder: Folder

    @property
    def share(self) -> Share:
        number, count = self.settings.shard
        return Share(number - 1, count, distributed.rank(), distributed.world_size())

    def _described(self) -> dict[str, Any]:
        protocol = protocol_of(self.config, self.device) | {"spacing": self._spacing and list(self._spacing)}
        return described(self.settings.choices, [member.digest for member in self.members], protocol)

    @property
    def _spacing(self) -> Spacing | None:
        """The configured size of a pixel."""
        evaluation = self.config.evaluation
        return None if evaluation.spacing is None else Spacing(*evaluation.spacing, evaluation.unit)

    @contextmanager
    def claimed(self) -> Iterator[Records]:
        """Hold the output folder for this call: the main process does, for all of its processes."""
        described_, overwrite = self._described(), self.settings.overwrite
        if not distributed.is_main():
            yield self.folder.records(described_)
            return
        self.folder.check(described_, overwrite)
        with held(self.folder.hidden, self.settings.shard, self.folder.clear_leftovers):
            yield self.folder.claim(described_, self._facts(), overwrite)

    def _facts(self) -> dict[str, Any]:
        data = self.config.data
        return {
            "runs": member_facts(self.members),
            "classes": list(data.classes),
            "task": data.task,
            "bands": list(data.band_names),
            "inputs": list(self.settings.inputs),
            "created": provenance.now(),
            "versions": provenance.versions(),
        }

    def find(self) -> Found:
        choices, limit = self.settings.choices, self.settings.limit
        found = find_items(self.settings.inputs, self.config.data, self.settings.output, choices.series)
        found = found._replace(items=found.items if limit is None else found.items[:limit])
        _require_one_file(self.settings, found.items)
        return found

    def run(self, found: Found | None, records: Records, build: Build) -> Outcome | None:
        start = perf_counter()
        plan = distributed.from_main(None if found is None else self._plan(found, records))
        assert plan is not None
        if distributed.is_main():
            self._announce(plan)
        ledger = Ledger(records, self.folder, self.share.label, self.settings.debug)
        mine = len(plan.pending)
        with ending(lambda: _so_far(ledger, mine)), _counting(ledger, mine):
            tasks = self._tasks(plan, ledger)
            if plan.pending:
                network = build(self.members, self.device)
                self._work(network, ledger).run(tasks)
            everyone = distributed.gather((ledger.done, ledger.failures, list(ledger.notes)))
        if not distributed.is_main():
            return None
        done = {name for names, _, _ in everyone for name in names}
        failed = {name: error for _, errors, _ in everyone for name, error in errors.items() if name not in done}
        notes = dict.fromkeys(note for _, _, notes in everyone for note in notes)
        return self._ended(plan, records, (done, failed, tuple(notes)), perf_counter() - start)

    def _plan(self, found: Found, records: Records) -> _Plan:
        pending = frozenset(item.id for item in found.items if records.finished(item) is None)
        self.folder.forget_strips(item.id for item in found.items if item.id not in pending)
        looked_at = [item for item in found.items if self.share.shards > 1 or item.id in pending]
        scenes = frozenset(item.id for item in looked_at if self.share.count > 1 and is_scene(item))
        return _Plan(found.items, pending, scenes, found.notes)

    def _announce(self, plan: _Plan) -> None:
        for note in plan.notes:
            print(f"input: {note}")
        done, processes = len(plan.items) - len(plan.pending), self.share.count
        earlier = f", {done} done earlier" if done else ""
        among = f", by {processes} processes" if processes > 1 else ""
        print(f"predict: {counted(len(plan.items), 'item')}{earlier}; on {self.device.type}{among}", flush=True)

    def _tasks(self, plan: _Plan, ledger: Ledger) -> list[Task]:
        """What this process does, scenes that all share first: they end in whoever is last."""
        looked_at = [item for item in plan.items if self.share.shards > 1 or item.id in plan.pending]
        shared, own = self.share.divide(looked_at, lambda item: item.id in plan.scenes)
        tasks: list[Task] = []
        for item, together in [(item, True) for item in shared] + [(item, False) for item in own]:
            if item.id in plan.pending:
                with ledger.attempt(Task(item, "", together)):
                    tasks.append(Task(item, fingerprint(item, ledger.records.settings), together))
        return tasks

    def pixel_size(self) -> tuple[float, float] | None:
        """Return the size of a pixel that slices of volumes are brought to; None: as they are.

        Raises:
            ConfigError: that of the training is asked for, and is unknown or not the same for all networks.
        """
        asked = self.settings.choices.resample
        if asked != "training":
            return None if asked == "none" else asked
        sizes = [training_resample(member.state) for member in self.members]
        if len(set(sizes)) > 1:
            words = ", ".join(f"{height:g} x {width:g}" for height, width in dict.fromkeys(sizes))
            raise ConfigError(
                f"--resample training: the networks were trained at {words} mm. Give one size, such as --resample "
                f"{sizes[0][0]:g} {sizes[0][1]:g}."
            )
        return sizes[0]

    def _work(self, network: Network, ledger: Ledger) -> Work:
        choices, state = self.settings.choices, self.members[0].state
        reading = Reading(self.config.data, state.get("scale"))
        return Work(
            Predicting(network, choices, passes_of(self.members)),
            Outputs(self.folder, choices, self.config.data, self._spacing),
            VolumeWork(network, reading, choices, self.folder, ledger, self.pixel_size(), trained_spacing(state)),
            reading,
            ledger,
            self.share,
        )

    def _ended(
        self, plan: _Plan, records: Records, found: tuple[set[str], dict[str, str], tuple[str, ...]], seconds: float
    ) -> Outcome:
        done, failed, notes = found
        if self.folder.target is None:
            self._write_summary(plan, records)
        left = len(plan.pending) - len(done) - len(failed)
        if not left:
            self.folder.finish(failed=bool(failed))
        skipped = len(plan.items) - len(plan.pending)
        return Outcome(str(self.settings.output), len(plan.items), len(done), skipped, failed, left, seconds, notes)

    def _write_summary(self, plan: _Plan, records: Records) -> None:
        """Write the table of all items that are known; calls that share the work do so one after the other."""
        with alone(self.folder.hidden / "summary.lock", _SUMMARY_PATIENCE):
            rows = [summary_row(record) for record in records.of(plan.items)]
            write_summary(self.folder.root / SUMMARY, rows, self.config.data.classes)


def _require_one_file(settings: Settings, items: Sequence[Item]) -> None:
    if not is_file_name(settings.output):
        return
    if len(items) > 1:
        raise ConfigError(
            f"--output {settings.output}: names one file, but there are {len(items)} items to predict. Name a folder."
        )
    if settings.choices.save != ("labels",):
        raise ConfigError(f"--output {settings.output}: names one label map. Name a folder for --save.")


def _so_far(ledger: Ledger, total: int) -> str:
    failed = f", {len(ledger.failures)} failed" if ledger.failures else ""
    left = total - len(ledger.done) - len(ledger.failures)
    return f"{len(ledger.done)} of {counted(total, 'item')} finished{failed}, {left} left"


@contextmanager
def _counting(ledger: Ledger, total: int) -> Iterator[None]:
    """Say with an error of the disk how far the work is."""
    try:
        yield
    except WriteError as error:
        said = f"{_so_far(ledger, total)}; every file that exists is complete. The same command goes on from there."
        raise WriteError(f"{error}\n{said}") from error
