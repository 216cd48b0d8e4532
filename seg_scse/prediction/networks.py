"""The trained networks that predict, and what is known about them before one is built."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint
from seg_scse.config.loading import load_config, override, refuse_overrides
from seg_scse.config.schema import Config
from seg_scse.data.sets.cards import resolve_card
from seg_scse.evaluation.loaded import Loaded, has_threshold, load_run
from seg_scse.evaluation.members import load_members, require_together
from seg_scse.evaluation.shared import load_shared
from seg_scse.evaluation.thresholds import require_threshold
from seg_scse.inference.compiling import compiled
from seg_scse.inference.device import choose_precision
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.predictor import Network
from seg_scse.network_folder import WEIGHTS

_READING = ("data.max_pixels=",)
"""Overrides that say how a file may be read, and nothing about the network."""

_MAY_CHANGE = ("evaluation.", "trainer.device", "trainer.precision", "trainer.threads", "data.max_pixels")

_THRESHOLD = "evaluation.threshold="


def load_networks(runs: Sequence[Path], which: str, overrides: Sequence[str]) -> list[Loaded]:
    """Read the checkpoint of a run or of a shared folder, or those of several, which predict together.

    Args:
        runs: run folders, checkpoint files, cross-validations, or folders written by `save_pretrained`.
        which: `best` or `last`, of run folders.
        overrides: `section.key=value` texts.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: networks that do not belong together, or an override that would describe another network.
    """
    refuse_overrides(overrides, _MAY_CHANGE, "It would describe another network, or nothing that is predicted with it.")
    others = [text for text in overrides if not text.startswith(_READING)]
    members = [one for run in runs for one in _members(run, which, others)]
    require_together(members)
    return members


def _members(run: Path, which: str, overrides: Sequence[str]) -> list[Loaded]:
    if (run / WEIGHTS).is_file() and not (run / checkpoint.BEST).exists():
        return [load_shared(run, overrides=overrides)]
    if _has_folds(run):
        return load_members([run], which, overrides)
    return [load_run(run, which, overrides)]


def _has_folds(run: Path) -> bool:
    file = run / "config.yaml"
    split = resolve_card(load_config(file).data).split if file.is_file() else None
    return split is not None and split.folds is not None and split.fold is None


def config_of(loaded: Loaded, overrides: Sequence[str]) -> Config:
    """Return the configuration of a checkpoint with its card resolved, and the overrides that say how files are read.

    Raises:
        ConfigError: an override is wrong, or sets a threshold where the most probable of several classes is predicted.
    """
    config = override(loaded.config, [text for text in overrides if text.startswith(_READING)])
    config = config.model_copy(update={"data": resolve_card(config.data)})
    asked = [text.removeprefix(_THRESHOLD) for text in overrides if text.startswith(_THRESHOLD)]
    require_threshold(asked[-1] if asked else None, config.data, "test")
    return config


def protocol_of(config: Config, device: torch.device) -> dict[str, Any]:
    """Say in plain JSON types how images are predicted, so far as the results depend on it."""
    settings = config.evaluation
    return {
        "tile": config.trainer.crop,
        "overlap": settings.overlap,
        "blend": settings.blend,
        "margin": settings.margin,
        "tta": settings.tta,
        "scales": list(settings.scales),
        "threshold": settings.threshold if has_threshold(config.data) else None,
        "precision": choose_precision(config.trainer, device),
    }


def compiled_network(network: Network) -> Network:
    """Return a network, or each of an ensemble, compiled when it first predicts."""
    if isinstance(network, Ensemble):
        return replace(network, members=tuple(map(compiled, network.members)))
    return compiled(network.members[0])


def passes_of(members: Sequence[Loaded]) -> int:
    """Return how often each pixel is predicted: networks, times symmetries, times sizes."""
    symmetries = {"none": 1, "flips": 4, "d4": 8}
    settings = [member.config.evaluation for member in members]
    return sum(symmetries[each.tta] * len(each.scales) for each in settings)
