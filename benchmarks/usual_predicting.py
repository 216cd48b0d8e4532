"""How others predict large images: MONAI's sliding window, and whole arrays as tutorials have it.

Each loads the image, standardises it as a whole, and holds the maps of the whole image.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OVERLAP = 0.25
BATCH = 8  # tiles per forward pass


class Task(NamedTuple):
    """What is predicted.

    Attributes:
        scene: .npy file, uint8 (H, W, 3).
        side: H = W, in pixels.
        classes: how many.
        tile: side of a tile in pixels.
        out: where the labels go: H x W bytes.
    """

    scene: Path
    side: int
    classes: int
    tile: int
    out: Path


Recipe = Callable[[Task], None]
"""Predicts a scene, from file to file."""


class Cheap(nn.Conv2d):
    """The cheapest network that still sees three bands and gives maps; it adds up the seconds that it takes."""

    seconds = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps."""
        started = time.thread_time()
        maps = super().forward(images)
        Cheap.seconds += time.thread_time() - started
        return maps


def network(maps: int) -> nn.Module:
    """Return a cheap network that gives so many maps.

    Two maps are 0 and the one map of a network with one, so that both find the same labels.
    """
    drawn = torch.Generator().manual_seed(0)
    model = Cheap(3, maps, 1).eval()
    weights = torch.randn(max(1, maps if maps != 2 else 1), 3, 1, 1, generator=drawn)
    model.weight.data = torch.cat((torch.zeros(1, 3, 1, 1), weights)) if maps == 2 else weights
    model.bias.data.zero_()
    return model


def _whole(scene: Path) -> Tensor:
    """The whole image standardised, float32 (1, 3, H, W)."""
    image = torch.from_numpy(np.load(scene)).permute(2, 0, 1)[None].float().div_(255)
    return image.sub_(torch.tensor(MEAN).view(1, 3, 1, 1)).div_(torch.tensor(STD).view(1, 3, 1, 1))


def _labels(maps: Tensor) -> NDArray[np.uint8]:
    chosen = maps[:, 0] > 0 if maps.shape[1] == 1 else maps.argmax(1)
    return chosen[0].to(torch.uint8).numpy()


def monai(one_map: bool = False, buffered: bool = False) -> Recipe:
    """Return MONAI's sliding window, with Gaussian weights.

    Args:
        one_map: two classes have one map instead of the usual two, and no argmax.
        buffered: keep sums of a few rows of tiles at a time beside the result, MONAI's cure for memory.
    """
    from monai.inferers import sliding_window_inference

    options = {"buffer_steps": 4, "buffer_dim": -1} if buffered else {}
    infer = partial(sliding_window_inference, overlap=OVERLAP, mode="gaussian", **options)

    def predict(task: Task) -> None:
        model = network(1 if one_map else task.classes)
        _labels(infer(_whole(task.scene), (task.tile, task.tile), BATCH, model)).tofile(task.out)

    return predict


def _starts(side: int, tile: int) -> list[int]:
    stride = int(tile * (1 - OVERLAP))
    starts = list(range(0, max(side - tile, 0) + 1, stride))
    return starts if starts[-1] + tile >= side else [*starts, side - tile]


def whole_arrays() -> Recipe:
    """Return the recipe of tutorials: sums of probabilities and of weights over the whole image, then argmax."""

    def predict(task: Task) -> None:
        model, image, tile = network(task.classes), _whole(task.scene), task.tile
        sums = torch.zeros(1, task.classes, task.side, task.side)
        counts = torch.zeros(1, 1, task.side, task.side)
        axis = torch.exp(-0.5 * ((torch.arange(tile) - (tile - 1) / 2) / (tile / 8)) ** 2).clamp_min(1e-3)
        weights = axis[:, None] * axis
        for top in _starts(task.side, tile):
            for left in _starts(task.side, tile):
                place = (..., slice(top, top + tile), slice(left, left + tile))
                sums[place] += model(image[place]).softmax(1) * weights
                counts[place] += weights
        _labels(sums / counts).tofile(task.out)

    return predict


USUAL: dict[str, Callable[[], Recipe]] = {
    "MONAI": monai,
    "MONAI buffered": partial(monai, buffered=True),
    "MONAI one map": partial(monai, one_map=True),
    "whole arrays": whole_arrays,
}
