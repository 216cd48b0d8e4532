"""Runs for tests: an untrained network whose normalisation has seen noise, so that its labels vary."""

from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.models import build_model

CLASSIC = ["model.architecture=classic_unet", "model.width=4", "model.depth=2"]
UNET = ["model.architecture=unet", "model.encoder=resnet18", "model.decoder_channels=[32, 16, 16, 16, 16]"]


def saved_run(folder: Path, discs: Path, *overrides: str, seed: int = 0) -> Path:
    """Write the configuration and the checkpoint of a run on the discs."""
    settings = [f"data.root={discs}", "data.mask.encoding=binary", "trainer.crop=64", "evaluation.batch_size=2"]
    config = load_config(None, ["name=discs", *settings, *overrides])
    torch.manual_seed(seed)
    model = build_model(config.model, len(config.data.band_names), len(config.data.classes), config.data.task)
    for _ in range(2):
        model(torch.randn(2, len(config.data.band_names), 64, 64))
    state: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "data_digest": "none",
        "mean": [0.3] * len(config.data.band_names),
        "std": [0.2] * len(config.data.band_names),
        "model": model.state_dict(),
        "progress": {"epoch": 1, "step": 1},
        "splits": {f"s{index:02}": ("train", "val", "test")[index % 3] for index in range(12)},
    }
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint.save(folder / checkpoint.BEST, state)
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder
