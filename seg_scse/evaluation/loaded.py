"""A checkpoint made ready to predict with."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint
from seg_scse.config.loading import MAY_MOVE, override, refuse_overrides
from seg_scse.config.schema import IGNORE_INDEX, Config, DataConfig
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.sets.cards import short_name
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import CheckpointError
from seg_scse.inference.device import choose_precision
from seg_scse.inference.predictor import Predictor
from seg_scse.models import build_model

MAY_CHANGE = ("evaluation.", "trainer.device", "trainer.precision", *MAY_MOVE)
"""Keys that an evaluation may override; others would describe another network or other truth."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint and what it says about itself."""

    file: Path
    digest: str
    state: Mapping[str, Any]
    config: Config
    run: Path | None
    """The run folder it lies in, None for a checkpoint file by itself."""

    @property
    def label(self) -> str:
        """Name of the run folder, or of a checkpoint file by itself."""
        return self.file.stem if self.run is None else self.run.resolve().name


def load_run(run: Path, which: str, overrides: Sequence[str] = ()) -> Loaded:
    """Read a checkpoint and its configuration.

    Args:
        run: run folder or checkpoint file.
        which: `best` or `last`, for a run folder.
        overrides: `section.key=value` texts for the keys in `MAY_CHANGE`.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: an override that would describe another network or other truth.
    """
    refuse_overrides(overrides, MAY_CHANGE, "It would describe another network or other truth.")
    if run.is_dir():
        file = run / (checkpoint.BEST if which == "best" else checkpoint.LAST)
        folder: Path | None = run
        if not file.exists():
            raise CheckpointError(f"{run}: no {file.relative_to(run)}. Train first: python train.py --help.")
    else:
        file, folder = run, run_of(run)
    state, digest = checkpoint.load(file)
    config = override(checkpoint.config_of(state, file), overrides)
    return Loaded(file, digest, state, config, folder)


def run_of(file: Path) -> Path | None:
    """Return the run folder that a checkpoint file lies in, None where it lies by itself."""
    folder = file.parent.parent
    return folder if (folder / "config.yaml").exists() else None


def data_of(loaded: Loaded) -> PreparedData:
    """Prepare the data of a checkpoint, divided and scaled as in its training.

    Raises:
        DataError: with everything that cannot be used.
        WriteError: the cache cannot be written.
    """
    return prepare_data(loaded.config.data, loaded.state["splits"], loaded.state.get("scale"))


def print_notes(loaded: Loaded, data: PreparedData) -> None:
    """Print what the reader of the data had to say, and whether these are the data of the training."""
    for note in data.notes:
        print(f"data: {note}")
    if not same_data(loaded, data):
        print("warning: the images or masks are not those that the network was trained with; the report says so too")


def same_data(loaded: Loaded, data: PreparedData) -> bool:
    """Tell whether images and masks are those that the network was trained with."""
    return bool(data.store.digest == loaded.state["data_digest"])


def build_predictor(loaded: Loaded, device: torch.device) -> Predictor:
    """Build the network of a checkpoint on a device, with its weights and the way it is applied to images."""
    config, state = loaded.config, loaded.state
    model = build_model(config.model.without_weights(), len(state["mean"]), len(config.data.classes), config.data.task)
    checkpoint.load_weights(model, state, loaded.file)
    model = model.to(device).to(memory_format=torch.channels_last)
    standardize = Standardizer(state["mean"], state["std"]).to(device)
    return Predictor.from_config(config, model, standardize, device, choose_precision(config.trainer, device))


def result_folder(loaded: Loaded, what: str, split: str) -> Path:
    """Return where results of a kind belong: `RUN/<what>/<split>`, or beside a checkpoint file by itself."""
    if loaded.run is None:
        return loaded.file.with_name(f"{loaded.file.stem}-{what}") / split
    return loaded.run / what / (split if loaded.file.stem == "best" else f"{split}-{loaded.file.stem}")


def checkpoint_facts(loaded: Loaded) -> dict[str, Any]:
    """Say in plain JSON types which checkpoint a result was made with."""
    progress = loaded.state["progress"]
    return {
        "file": str(loaded.file.relative_to(loaded.run)) if loaded.run else str(loaded.file),
        "epoch": progress["epoch"],
        "step": progress["step"],
        "sha256": loaded.digest,
    }


def sources(folder: Path, places: Sequence[Path]) -> list[str]:
    """Say in plain JSON types where predictions came from, so that they can be made or read again.

    Args:
        folder: of the results. The paths start there, so that they hold after both were moved together.
        places: checkpoint files, or a folder of predictions.
    """
    return [os.path.relpath(place.resolve(), folder.resolve()) for place in places]


def data_facts(loaded: Loaded, data: PreparedData) -> dict[str, Any]:
    """Say in plain JSON types which data a result was made with."""
    return {**dataset_facts(data), "same_as_training": same_data(loaded, data)}


def dataset_facts(data: PreparedData, name: str | None = None) -> dict[str, Any]:
    """Say in plain JSON types which data these are; nothing is said about a training.

    Args:
        data: the samples.
        name: what to call them; default: their card or the name of their folder.
    """
    config = data.config
    place = Path(config.root).expanduser() if config.root else Path(config.images).expanduser().parent
    named = short_name(config.card) if config.card else shown(place.resolve().name)
    return {
        "name": name or named,
        "digest": data.store.digest,
        "same_as_training": None,
        "samples": data.split_sizes(),
    }


def scoring_protocol(predictor: Predictor, config: Config) -> dict[str, Any]:
    """Say in plain JSON types how images are predicted and scored."""
    return {
        "resolution": "original",
        "empty": config.evaluation.empty,
        "threshold": predictor.threshold if has_threshold(config.data) else None,
        "threshold_from": "configuration" if has_threshold(config.data) else None,
        "tta": predictor.tta,
        "scales": list(predictor.scales),
        "tile": predictor.tile,
        "overlap": predictor.overlap,
        "blend": predictor.blend,
        "tile_margin": predictor.margin,
        "ignore_index": IGNORE_INDEX,
        "precision": predictor.precision,
    }


def has_threshold(config: DataConfig) -> bool:
    """Tell whether classes are predicted where their probability is above a threshold: two classes, or multilabel."""
    return len(config.classes) == 2 or config.task == "multilabel"
