"""Runs for tests: copies of a trained one whose weights are another's, and runs that were never trained."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.data.prepare import prepare_data
from seg_scse.models import build_model

ROOT = Path(__file__).parents[2]

FAST = ["evaluation.surface=false", "evaluation.overlays=0", "evaluation.resamples=1000"]
"""Overrides that leave out what a test does not look at."""


def another(trained: Path, folder: Path, seed: int, **changes: Any) -> Path:
    """Copy a run's configuration and best checkpoint, with noise on its weights and other facts in the checkpoint."""
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("evaluation", "tensorboard", "last.*", "explain"))
    state, _ = checkpoint.load(trained / checkpoint.BEST)
    torch.manual_seed(seed)
    state["model"] = {
        name: value + 0.05 * value.std() * torch.randn_like(value)
        if value.is_floating_point() and value.dim() > 1
        else value
        for name, value in state["model"].items()
    }
    state = {**state, "config": {**state["config"], "seed": seed}, **changes}
    state.pop("format")
    checkpoint.save(folder / checkpoint.BEST, state)
    (folder / "config.yaml").write_text(to_yaml(load_config(trained / "config.yaml", [f"seed={seed}"])))
    return folder


def write_run(folder: Path, overrides: Sequence[str], change: Callable[[nn.Module], None] = lambda _: None) -> Path:
    """A run folder as after a training that ended with the random weights it began with, changed a little."""
    config = load_config(ROOT / "configs" / "quickstart.yaml", [*overrides, "data.card=null"])
    data = prepare_data(config.data)
    torch.manual_seed(0)
    model = build_model(config.model, 3, 2)
    with torch.no_grad():
        change(model)
    state = {
        "config": config.model_dump(mode="json"),
        "data_digest": data.store.digest,
        "splits": data.splits(),
        "mean": [0.3] * 3,
        "std": [0.2] * 3,
        "progress": {"epoch": 3, "step": 9},
        "model": model.state_dict(),
    }
    checkpoint.save(folder / checkpoint.BEST, state)
    return folder
