"""Scoring networks, one or several together, and folders of predictions on a split of a data set."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import distributed, provenance
from seg_scse.config.schema import Config
from seg_scse.data.names import shown, some
from seg_scse.data.prepare import PreparedData
from seg_scse.evaluation.gate_means import FROZEN, frozen_gates
from seg_scse.evaluation.loaded import (
    Loaded,
    checkpoint_facts,
    data_facts,
    data_of,
    dataset_facts,
    load_run,
    print_notes,
    result_folder,
    scoring_protocol,
    sources,
)
from seg_scse.evaluation.members import beside, build_network, labels, load_members, member_facts, require_unseen
from seg_scse.evaluation.other_data import OtherData, other_data
from seg_scse.evaluation.scored import Evaluated, Job, score
from seg_scse.evaluation.thresholds import TUNED, require_threshold, with_threshold
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Network
from seg_scse.inference.sources import NetworkSource

CURE = "Choose another --split."


@dataclass(frozen=True)
class Options:
    """What is optional in an evaluation.

    Attributes:
        data: another data set than that of the training: a configuration file or a card.
        threshold: probability above which a class is predicted; `tune:val` chooses it on the validation split; None
            takes `evaluation.threshold`.
        out: folder for the results instead of the usual one.
        save: folder for the predicted label maps.
        notes: whether to print what the reader of the data has to say; right after training it has been said.
    """

    data: str | None = None
    threshold: float | str | None = None
    out: Path | None = None
    save: Path | None = None
    notes: bool = True


def evaluate(
    run: Path,
    split: str,
    which: str,
    overrides: Sequence[str] = (),
    *,
    notes: bool = True,
    options: Options | None = None,
    frozen: bool = False,
) -> Evaluated | None:
    """Score a checkpoint on a split of its data, or of another data set, at the original resolution of each image.

    Writes the files of `scored.score` into `RUN/evaluation/<split>`, `RUN/evaluation/<split>-on-<name>` for another
    data set, with `-frozen` at the end for frozen gates.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test.
        which: `best` or `last`, for a run folder.
        overrides: `section.key=value` texts for the keys that do not change the network or the truth; with
            `options.data`, those of `data` describe that data set.
        notes: as in `Options`, which `options` replaces.
        options: what is optional.
        frozen: put the mean of each gate over training images in its place, see `frozen.evaluate_frozen`.

    Returns:
        the folder and the content of `results.json`; None in processes that do not write.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: an override that evaluation does not allow, or another data set that does not fit the network.
        DataError: the split is empty or a file unusable.
        WriteError: the results cannot be written.
    """
    options = options or Options(notes=notes)
    own, other = _divided(overrides, options)
    loaded = load_run(run, which, own)
    folder = options.out or result_folder(loaded, "evaluation", _part(split, other) + FROZEN * frozen)
    facts = {"checkpoint": checkpoint_facts(loaded), "members": []}
    return _score(_Networks([loaded], loaded.config.name, folder, facts, other, frozen), split, options)


def evaluate_ensemble(
    runs: Sequence[Path], split: str, which: str, overrides: Sequence[str], options: Options
) -> Evaluated | None:
    """Score the mean of the probabilities of several networks; a cross-validation stands for its folds.

    Writes into `<folder of the first run>/<names>-ensemble/evaluation/<split>`, or inside the one cross-validation.

    Args:
        runs: run folders or checkpoint files, or the folder of a cross-validation.
        split: as for `evaluate`.
        which: as for `evaluate`.
        overrides: as for `evaluate`.
        options: as for `evaluate`.

    Raises:
        ConfigError: besides those of `evaluate`: the networks do not fit together, or one may have been trained on
            images that are scored.
    """
    own, other = _divided(overrides, options)
    members = load_members(runs, which, own)
    home = runs[0] if len(runs) == 1 else beside(runs, "ensemble")
    part = _part(split, other) + ("" if which == "best" else f"-{which}")
    folder = options.out or home / "evaluation" / part
    facts = {"checkpoint": None, "members": member_facts(members)}
    name = f"ensemble of {', '.join(labels(members))}"
    return _score(_Networks(members, name, folder, facts, other), split, options)


def _divided(overrides: Sequence[str], options: Options) -> tuple[list[str], OtherData | None]:
    """The overrides of the run, and the other data set with those that describe it."""
    if options.data is None:
        return list(overrides), None
    theirs = [text for text in overrides if text.startswith("data.")]
    return [text for text in overrides if text not in theirs], other_data(options.data, theirs)


def _part(split: str, other: OtherData | None) -> str:
    return split if other is None else f"{split}-on-{other.name}"


@dataclass(frozen=True)
class _Networks:
    """The checkpoints that predict, one or several together.

    Attributes:
        members: the first one's configuration says how all are scored.
        name: of the run or the ensemble.
        folder: where the results go.
        facts: `checkpoint` and `members` of `results.json`.
        other: another data set than that of the training, or None.
        frozen: whether each gate is at its mean over training images.
    """

    members: Sequence[Loaded]
    name: str
    folder: Path
    facts: Mapping[str, Any]
    other: OtherData | None
    frozen: bool = False

    @property
    def first(self) -> Loaded:
        return self.members[0]

    def data(self) -> PreparedData:
        if self.other is None:
            return data_of(self.first)
        return self.other.for_network(self.first.config.data, self.first.state.get("scale"))

    def data_facts(self, data: PreparedData) -> dict[str, Any]:
        return data_facts(self.first, data) if self.other is None else dataset_facts(data, self.other.name)

    def network(self) -> Network:
        return build_network(self.members, choose_device(self.first.config.trainer))

    def gates(self, network: Network, data: PreparedData) -> AbstractContextManager[None]:
        """Put the means of the gates in their place, where that is asked for."""
        if not self.frozen:
            return nullcontext()
        return frozen_gates(network, data if self.other is None else data_of(self.first))


def _score(networks: _Networks, split: str, options: Options) -> Evaluated | None:
    first = networks.first
    require_threshold(options.threshold, first.config.data, split)
    data = networks.data()
    indices = data.require(split, CURE)
    if networks.other is None:
        tuning = data.manifest.indices("val") if options.threshold == TUNED else []
        require_unseen(networks.members, [data.manifest.samples[index].id for index in (*indices, *tuning)])
    if options.notes and distributed.is_main():
        _say(networks, data, indices)
    config = first.config.model_copy(update={"data": data.config})
    network = networks.network()
    with networks.gates(network, data):
        network, config, origin = with_threshold(network, config, data, options.threshold)
        facts = {
            **networks.facts,
            "sources": sources(networks.folder, [member.file for member in networks.members]),
            "predictions": None,
            "protocol": {**_protocol(network, config), "threshold_from": origin, **_gates(networks)},
            "data": networks.data_facts(data),
            "device": provenance.describe_device(network.device),
        }
        return score(
            Job(
                name=networks.name,
                split=split,
                folder=networks.folder,
                config=config,
                data=data,
                indices=indices,
                source=NetworkSource(network, data.store),
                facts=facts,
                save=options.save,
                timed=not networks.frozen,
            )
        )


def _gates(networks: _Networks) -> dict[str, str]:
    """Say what stood in for the gates; nothing where they were their own."""
    return {"gates": "mean"} if networks.frozen else {}


def _say(networks: _Networks, data: PreparedData, indices: Sequence[int]) -> None:
    """Print what the reader of the data had to say, and what a person should know before trusting the scores."""
    if networks.other is None:
        print_notes(networks.first, data)
        return
    for note in data.notes:
        print(f"data: {note}")
    seen = {id_ for member in networks.members for id_, split in member.state["splits"].items() if split != "test"}
    known = [shown(data.manifest.samples[index].id) for index in indices if data.manifest.samples[index].id in seen]
    if known:
        print(
            f"warning: {len(known)} of {len(indices)} images have the name of an image of the training: {some(known)}. "
            "If they are the same, the scores are too good."
        )


def _protocol(network: Network, config: Config) -> dict[str, Any]:
    """How images are predicted: what all members share, None for that in which they differ."""
    each = [scoring_protocol(member, config) for member in network.members]
    return {key: value if all(one[key] == value for one in each) else None for key, value in each[0].items()}
