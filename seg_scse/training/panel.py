"""The same few validation images at every epoch, small enough to be looked at: what a run learns, as pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse import distributed
from seg_scse.config.masks import Task
from seg_scse.data.display import displayed
from seg_scse.data.prepare import PreparedData
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.scores import foreground_score

SIDE = 320
"""Most pixels of a side; larger images are reduced."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PanelImage:
    """A validation image as it is drawn, reduced to at most `SIDE` pixels a side.

    Attributes:
        id: of the sample.
        image: uint8 (H, W, 3).
        truth: uint8 (H, W): class indices, or bits of labels; 255 is ignored.
        labels: the prediction, of the same form.
        task: tells the two forms apart.
        dice: mean Dice of the foreground classes of the whole image, in [0, 1]; None where it has none of them, in
            truth or prediction.
    """

    id: str
    image: Picture
    truth: Picture
    labels: Picture
    task: Task
    dice: float | None


@dataclass(frozen=True)
class EpochEnd:
    """What is known at the end of an epoch.

    Attributes:
        folder: the run folder, whose logs hold the epoch.
        epoch: epochs done.
        panel: the images; none where the epoch was not validated.
    """

    folder: Path
    epoch: int
    panel: tuple[PanelImage, ...] = ()


class Panel:
    """Keeps the predictions of a few validation images; which ones follows from the split alone.

    Args:
        data: where the images are.
        indices: the validation split, positions in the manifest.
        count: images to keep, evenly spaced over the split; 0 keeps none.
    """

    def __init__(self, data: PreparedData, indices: Sequence[int], count: int) -> None:
        self._data = data
        self.indices = spread(indices, count)
        self._fixed: dict[int, tuple[Picture, Picture]] = {}
        self._found: dict[int, PanelImage] = {}

    def on_image(self, index: int, labels: Picture) -> None:
        """Take the prediction of a sample, uint8 (H, W); those of other samples are left alone."""
        if index not in self.indices:
            return
        image, truth = self._fixed.get(index) or self._fixed.setdefault(index, self._reduced(index))
        self._found[index] = PanelImage(
            self._data.manifest.samples[index].id,
            image,
            truth,
            reduce_labels(labels, *truth.shape),
            self._data.config.task,
            self._dice(index, labels),
        )

    def _reduced(self, index: int) -> tuple[Picture, Picture]:
        """Read image and truth, which stay the same; a large image is thinned before, so that it is never whole."""
        image, truth = self._data.store.image(index), np.asarray(self._data.store.mask(index))
        height, width = small(*truth.shape)
        step = max(1, min(truth.shape[0] // (2 * height), truth.shape[1] // (2 * width)))
        picture = displayed(np.asarray(image[::step, ::step]), self._data.config.own_channels)
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, -1)
        return np.ascontiguousarray(np.broadcast_to(picture, (height, width, 3))), reduce_labels(truth, height, width)

    def _dice(self, index: int, labels: Picture) -> float | None:
        classes, task = len(self._data.config.classes), self._data.config.task
        table = CountsTable(classes, task)
        table.add("image", count_pixels(labels, np.asarray(self._data.store.mask(index)), classes, task))
        return foreground_score(table, "dice_per_image", "exclude")

    def collect(self) -> tuple[PanelImage, ...]:
        """Return the images seen since the last call, in the order of the split.

        In a run of several processes each of them must call it, and all get the same.
        """
        shards, self._found = distributed.gather(self._found), {}
        found = {index: image for shard in shards for index, image in shard.items()}
        return tuple(found[index] for index in self.indices if index in found)


def spread(indices: Sequence[int], count: int) -> list[int]:
    """Return at most `count` evenly spaced items, each from the middle of its share."""
    count = min(count, len(indices))
    return [indices[(2 * number + 1) * len(indices) // (2 * count)] for number in range(count)]


def small(height: int, width: int) -> tuple[int, int]:
    """Return the size at which an image is drawn: the same shape, at most `SIDE` pixels a side."""
    factor = min(1.0, SIDE / max(height, width))
    return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))


def reduce_labels(labels: Picture, height: int, width: int) -> Picture:
    """Take of a label map the pixels nearest to the centres of (height, width) larger ones: no label is made up."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return np.ascontiguousarray(labels[rows[:, None], columns])
