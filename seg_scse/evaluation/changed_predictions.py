"""Predictions of a few images made again, as an evaluation made them, for pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from seg_scse.config.schema import Config
from seg_scse.data.display import displayed
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.errors import CheckpointError, ConfigError, DataError
from seg_scse.evaluation import cases
from seg_scse.evaluation.comparable import Candidate
from seg_scse.evaluation.loaded import Loaded, data_of, load_run
from seg_scse.evaluation.masks_only import SPLIT as MASKS_ONLY
from seg_scse.evaluation.members import build_network
from seg_scse.evaluation.prediction_files import ENCODINGS, Expected, prediction_files, read_prediction
from seg_scse.inference.device import choose_device
from seg_scse.metrics.counts import count_pixels

Label = NDArray[np.uint8]
Predict = Callable[[int], Label]
"""From the place of a sample in the manifest to its label map."""


@dataclass(frozen=True)
class Remade:
    """One image as it is drawn: PNG files of one size.

    Attributes:
        image: the displayed image.
        truth: class indices, or bits, 255 = ignored.
        prediction: class indices, or bits.
        scale: drawn size / original size.
        same: whether the prediction has the pixel counts that were scored.
    """

    image: bytes
    truth: bytes
    prediction: bytes
    scale: float
    same: bool


@dataclass(frozen=True)
class Unavailable:
    """Why predictions cannot be made again, as a whole sentence."""

    reason: str


class _Gone(Exception):  # noqa: N818 - a reason, not an error: the comparison goes on without pictures
    """What is needed is not there any more, or not what it was."""


def remake(candidate: Candidate, ids: Sequence[str]) -> Mapping[str, Remade] | Unavailable:
    """Predict images again with the weights, data and settings of an evaluation, or read its files again.

    Args:
        candidate: the evaluation.
        ids: the images; few, since all are kept.

    Returns:
        by id, or why it cannot be done.
    """
    try:
        config = Config.model_validate(candidate.results["config"])
        prepare = _from_files if candidate.results.get("predictions") else _from_weights
        data, predict = prepare(candidate, config)
        index_of = {sample.id: index for index, sample in enumerate(data.manifest.samples)}
        if absent := [name for name in ids if name not in index_of]:
            raise _Gone(f"the data do not hold {absent[0]!r} any more")
        return {name: _remade(candidate, data, index_of[name], predict) for name in ids}
    except (_Gone, CheckpointError, ConfigError, DataError, ValidationError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return Unavailable(f"No pictures: the predictions of {candidate.label} could not be made again ({reason}).")


def _from_weights(candidate: Candidate, config: Config) -> tuple[PreparedData, Predict]:
    """The data of one checkpoint or of several that predict together, and the network as it was applied."""
    results = candidate.results
    if results.get("folds"):
        raise _Gone("each image comes from the network of its fold")
    if results["protocol"].get("gates", "own") != "own":
        raise _Gone("its gates were replaced by their means")
    facts = results.get("members") or [results["checkpoint"]]
    files = _sources(candidate)
    if len(files) != len(facts):
        raise _Gone("the results do not say where the weights are: evaluate again")
    members = [_loaded(file, one["sha256"], config) for file, one in zip(files, facts, strict=True)]
    if results["data"]["same_as_training"] is None:  # another data set, divided by its own rules
        data = prepare_data(config.data, scale=members[0].state.get("scale"))
    else:
        data = data_of(replace(members[0], config=config))
    network = build_network(members, choose_device(config.trainer))
    return data, lambda index: network.labels(network.probabilities(data.store.image(index)))


def _sources(candidate: Candidate) -> list[Path]:
    """The checkpoint files, or the folder of predictions, that were scored."""
    return [candidate.folder / place for place in candidate.results.get("sources", ())]


def _loaded(file: Path, digest: str, config: Config) -> Loaded:
    """A checkpoint, to be applied as the configuration of an evaluation says."""
    found = load_run(file, "best")
    if found.digest != digest:
        raise _Gone(f"{found.file} holds other weights than those that were scored")
    changes = {name: getattr(config.trainer, name) for name in ("device", "precision")}
    trainer = found.config.trainer.model_copy(update=changes)
    return replace(found, config=found.config.model_copy(update={"evaluation": config.evaluation, "trainer": trainer}))


def _from_files(candidate: Candidate, config: Config) -> tuple[PreparedData, Predict]:
    """The data that files were scored against, and the files."""
    if candidate.results["split"] == MASKS_ONLY:
        raise _Gone("two folders of masks were scored, without images")
    sources = _sources(candidate)
    if not sources or not sources[0].is_dir():
        raise _Gone(f"{candidate.results['predictions']} is not there any more")
    data, files = prepare_data(config.data), prediction_files(sources[0], candidate.tables.ids)

    def read(index: int) -> Label:
        return _read(candidate, data, index, files[data.manifest.samples[index].id])

    return data, read


def _read(candidate: Candidate, data: PreparedData, index: int, file: Path) -> Label:
    """The label map in a file, in the encoding that gives the counts that were scored."""
    entry = data.store.entries[index]
    for encoding in ENCODINGS:
        try:
            labels = read_prediction(file, Expected(entry.shape[:2], entry.place), encoding, data.config)
        except DataError:
            continue
        if _is_scored(candidate, data, index, labels):
            return labels
    raise _Gone(f"{file} does not hold what was scored")


def _is_scored(candidate: Candidate, data: PreparedData, index: int, prediction: Label) -> bool:
    """Whether a prediction has the counts that were scored."""
    table = candidate.tables.counts
    counted = count_pixels(prediction, np.asarray(data.store.mask(index)), table.num_classes, table.task)
    scored = table.counts(data.manifest.samples[index].id)
    return bool(np.array_equal(counted.confusion, scored.confusion))


def _remade(candidate: Candidate, data: PreparedData, index: int, predict: Predict) -> Remade:
    truth, prediction = np.asarray(data.store.mask(index)), predict(index)
    scale, size = cases.drawn_size(*truth.shape)
    return Remade(
        image=cases.png(cases.rgb(displayed(data.store.image(index), data.config.own_channels)), size, smooth=True),
        truth=cases.png(truth, size, smooth=False),
        prediction=cases.png(prediction, size, smooth=False),
        scale=scale,
        same=_is_scored(candidate, data, index, prediction),
    )
