"""Trained networks for Python: `load("runs/x").predict(image)`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import torch

from seg_scse.api.trained import Trained
from seg_scse.config.loading import nearest, require_known
from seg_scse.config.schema import TrainerConfig
from seg_scse.data.names import shown
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.evaluation.loaded import Loaded
from seg_scse.evaluation.members import build_network, labels, require_together
from seg_scse.evaluation.shared import load_shared
from seg_scse.inference.device import choose_device
from seg_scse.inference.tta import TTA
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.networks import load_networks

Which = Literal["best", "last"]


class Settings(TypedDict, total=False):
    """How images are predicted, where it is not to be as the evaluation of the run says (`evaluation.*`).

    Attributes:
        tta: average over copies of each tile: none, flips (4) or d4 (8).
        scales: average over each tile at these sizes too, such as (0.75, 1.0, 1.25).
        threshold: two classes, and each class of multilabel: present above this probability.
        overlap: of tiles, as a share of a side.
        blend: weights where tiles overlap: linear or gaussian.
        margin: border of a tile in pixels that counts only where no other tile reaches.
        batch_size: tiles per forward pass.
    """

    tta: TTA
    scales: Sequence[float]
    threshold: float
    overlap: float
    blend: Literal["linear", "gaussian"]
    margin: int
    batch_size: int


def load(
    source: str | Path,
    *more: str | Path,
    checkpoint: Which = "best",
    device: str | torch.device = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    **settings: Unpack[Settings],
) -> Trained:
    """Make a trained network ready to predict.

    Args:
        source: a run folder, a checkpoint file, a folder that `save_pretrained` wrote, or such a repository of the
            Hugging Face Hub (`owner/name`); a cross-validation stands for all of its folds.
        more: further ones, which predict together with it: the mean of their probabilities.
        checkpoint: of a run folder.
        device: `auto` is a GPU where there is one; or `cpu`, `cuda`, `cuda:1`.
        precision: of the network's arithmetic; None: as in training, `auto` is bf16 on a GPU, else fp32.
        revision: branch, tag or commit of a repository of the Hub; None: its newest.
        local_files_only: take a repository from the Hub's cache, without asking the Hub.
        settings: see `Settings`; what is not given is as in the evaluation of the run.

    Raises:
        CheckpointError: nothing there, damaged, or of a newer version.
        ConfigError: a setting out of its range, no such device, or networks that cannot predict together.

    Example:
        >>> model = load("runs/nuclei")
        >>> mask = model.predict(image)  # uint8 (H, W)
    """
    require_known("checkpoint", checkpoint, Which)
    overrides = [f"evaluation.{name}={json.dumps(value)}" for name, value in settings.items()]
    overrides += [] if precision is None else [f"trainer.precision={precision}"]
    members = [
        member
        for place in (source, *more)
        for member in _members(place, checkpoint, overrides, revision, local_files_only)
    ]
    require_together(members)
    first = members[0]
    network = build_network(members, _device(first.config.trainer, device))
    name = " + ".join(labels(members))
    return Trained(name, network, Reading(resolve_card(first.config.data), first.state.get("scale")))


def _members(
    source: str | Path, which: str, overrides: Sequence[str], revision: str | None, local_files_only: bool
) -> list[Loaded]:
    """Read what one source stands for."""
    place = Path(source).expanduser()
    if place.exists():
        return load_networks([place], which, overrides)
    if place.parent != Path() and place.parent.is_dir():  # `runs/x` has the form `owner/name` too
        names = sorted(path.name for path in place.parent.iterdir())
        raise CheckpointError(f"{shown(place)}: no such run, checkpoint or network{nearest(place.name, names) or '.'}")
    return [load_shared(source, revision, local_files_only, overrides)]


def _device(trainer: TrainerConfig, device: str | torch.device) -> torch.device:
    """Choose as training does, but for its number of threads: those of this process are not ours."""
    if str(device) == "auto":
        return choose_device(trainer.model_copy(update={"device": "auto", "threads": 0}))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device!r} is none of torch's. Use auto, cpu, cuda, or cuda:1.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={device!r}: networks run on a CPU or by CUDA. Use auto, cpu, cuda, or cuda:1.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={device!r}, but torch sees {torch.cuda.device_count()} CUDA devices. Use device='auto' or 'cpu'."
        )
    return chosen
