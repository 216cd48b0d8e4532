"""Runs for tests: copies of a trained one whose weights are another's."""

import shutil
from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml

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
