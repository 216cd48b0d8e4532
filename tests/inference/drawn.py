"""Samples that are drawn in memory, and networks whose predictions are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.config.schema import DataConfig
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Place
from seg_scse.data.prepare import PreparedData
from seg_scse.data.samples import Manifest, Sample
from seg_scse.data.standardize import Standardizer
from seg_scse.data.store import Store
from seg_scse.inference.predictor import Predictor


class DrawnStore(Store):
    """Images and masks in memory."""

    def __init__(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], places: Sequence[Place | None]):
        self._images, self._masks = images, masks
        self.entries = tuple(map(_entry, images, places))

    def image(self, index: int) -> np.ndarray:
        return self._images[index]

    def mask(self, index: int) -> np.ndarray:
        return self._masks[index]


def _entry(image: np.ndarray, place: Place | None) -> Entry:
    none = (0,) * image.shape[2]
    return Entry(image.shape, "uint8", "", "", image[..., 0].size, none, none, none, none, none, {}, (), place, True)


def drawn(count: int, bands: int = 3, places: Sequence[Place | None] | None = None) -> PreparedData:
    """Grey noise with a brighter rectangle, of sides 40 to 120; one row of each truth is ignored."""
    images, masks = [], []
    for index in range(count):
        random = np.random.default_rng(index)
        height, width = random.integers(40, 121, 2)
        mask = np.zeros((height, width), np.uint8)
        mask[10 : random.integers(15, height), 5 : random.integers(10, width)] = 1
        noise = random.normal(90, 40, (height, width, bands)) + 70 * mask[..., None]
        mask[3] = 255
        images.append(np.clip(noise, 0, 255).astype(np.uint8))
        masks.append(mask)
    samples = tuple(Sample(f"s{index:02}", Path("none"), (), "test", f"s{index:02}") for index in range(count))
    return PreparedData(DataConfig(), Manifest(samples), DrawnStore(images, masks, places or [None] * count))


class Bright(nn.Module):
    """Tells bright from dark by a blur, so that the result depends on the tiling a little."""

    def __init__(self, bands: int = 3, classes: int = 1) -> None:
        super().__init__()
        self.blur = nn.Conv2d(bands, classes, 5, padding=2)
        with torch.no_grad():
            self.blur.weight.fill_(4 / (25 * bands))
            self.blur.weight.mul_(torch.arange(1.0, classes + 1)[:, None, None, None])
            self.blur.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.blur(x)


def predictor(model: nn.Module | None = None, bands: int = 3, **settings: object) -> Predictor:
    standardize = Standardizer([0.5] * bands, [0.2] * bands)
    given = {"tile": 32, "overlap": 0.25, "batch_size": 3, "threshold": 0.5} | settings
    return Predictor(model or Bright(bands), standardize, torch.device("cpu"), "fp32", **given)
