"""Volumes that are predicted by networks whose answers are known."""

from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.config.schema import DataConfig
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.predictor import Predictor
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volumes import VolumeOutputs, VolumeResult, predict_volume

from ..inference.drawn import Bright, predictor

RANGE = {"method": "range", "low": -900, "high": 3000}
CONFIG = DataConfig.model_validate({"channels": "gray", "scale": RANGE})
OBLIQUE = np.array([[-1.9, 0.3, 0.1, 40], [-0.2, -0.6, 1.2, 5], [0.3, 1.1, 0.7, -20], [0, 0, 0, 1.0]])
FLIPPED = np.diag([-0.8, 1.2, -3.0, 1.0])
ROUND = np.random.default_rng(1).normal(0, 150, (40, 36, 11))  # noise with a bright body in it
ROUND[8:30, 10:28, 2:9] += 1900
ROUND = ROUND.astype(np.int16)


class Point(nn.Module):
    """Decides pixel by pixel, so that the plane of the slices does not matter; the middle of several channels."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        middle = x[:, x.shape[1] // 2 :][:, :1]
        return torch.cat([middle * (k + 1) * 2 - 4.4 * k for k in range(self.classes)], 1)


def predicted(
    path: Path,
    out: Path,
    network: Predictor | Ensemble,
    plane: str = "axial",
    config: DataConfig = CONFIG,
    resample: tuple[float, float] | None = None,
    **more: object,
) -> tuple[np.ndarray, VolumeResult]:
    result = predict_volume(
        network, Item("a", "volume", (path,)), Reading(config, None), plane, resample, VolumeOutputs(out), **more
    )
    return np.asarray(nibabel.load(out).dataobj), result


def gray(model: nn.Module | None = None, **settings: object) -> Predictor:
    return predictor(model or Bright(1), bands=1, **settings)
