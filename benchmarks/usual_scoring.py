"""How others score label maps: torchmetrics, smp and MONAI as their documentation shows."""

import warnings
from typing import NamedTuple, Protocol

import numpy as np
import segmentation_models_pytorch as smp
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics.segmentation import DiceScore, MeanIoU


class Picture(NamedTuple):
    """An image, what a network says of it, and what is true.

    Attributes:
        image: uint8 (H, W, 3).
        logits: float32 (1, K', H, W) in the memory layout of a channels_last network; K' = 1 for two classes.
        truth: uint8 (H, W) class indices.
    """

    image: NDArray[np.uint8]
    logits: Tensor
    truth: NDArray[np.uint8]


class Recipe(Protocol):
    """Scores one picture after the other."""

    def add(self, picture: Picture) -> None:
        """Score one picture."""

    def result(self) -> float:
        """Dice over all pictures and foreground classes, as the recipe averages it."""


def label_map(picture: Picture) -> tuple[Tensor, Tensor]:
    """Predicted and true class indices, int64 (1, H, W)."""
    logits = picture.logits
    labels = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return labels, torch.from_numpy(picture.truth).long()[None]


class Torchmetrics:
    """Mean IoU and Dice from class indices."""

    def __init__(self, classes: int) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "DiceScore metric currently defaults")
            self._dice = DiceScore(classes, include_background=False, average="macro", input_format="index")
        self._iou = MeanIoU(classes, include_background=False, input_format="index")

    def add(self, picture: Picture) -> None:
        """Update both."""
        pair = label_map(picture)
        self._iou.update(*pair)
        self._dice.update(*pair)

    def result(self) -> float:
        """Mean over the images."""
        self._iou.compute()
        return float(self._dice.compute())


class Smp:
    """Counts of each image, then IoU and Dice."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._stats: list[tuple[Tensor, ...]] = []

    def add(self, picture: Picture) -> None:
        """Keep the counts."""
        self._stats.append(smp.metrics.get_stats(*label_map(picture), mode="multiclass", num_classes=self._classes))

    def result(self) -> float:
        """Mean over the images, without the background."""
        stats = [torch.cat(parts)[:, 1:] for parts in zip(*self._stats, strict=True)]
        smp.metrics.iou_score(*stats, reduction="macro-imagewise")
        return float(smp.metrics.f1_score(*stats, reduction="macro-imagewise"))


class Monai:
    """Dice and 95th percentile of the Hausdorff distance from one-hot maps."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._dice = DiceMetric(include_background=False)
        self._distance = HausdorffDistanceMetric(include_background=False, percentile=95)

    def add(self, picture: Picture) -> None:
        """Call both."""
        pair = [one_hot(labels, self._classes).movedim(-1, 1) for labels in label_map(picture)]
        self._dice(*pair)
        self._distance(*pair)

    def result(self) -> float:
        """Mean over the images."""
        self._distance.aggregate()
        return float(self._dice.aggregate())


USUAL = {
    "torchmetrics MeanIoU, DiceScore": Torchmetrics,
    "smp get_stats": Smp,
    "MONAI Dice, hd95": Monai,
}
