"""From an open image to its maps: labels, and what else is asked for, strip by strip."""

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_scse.data.lazy import ArrayLike
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.predictor import Network
from seg_scse.inference.strips import Strip
from seg_scse.inference.uncertainty import entropy_of
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Opened, Reading, open_image
from seg_scse.prediction.outputs import Array, Part, is_large
from seg_scse.prediction.settings import Choices
from seg_scse.prediction.writing.rasters import NODATA, quantised

_ALL = slice(None)


@dataclass
class Ready:
    """An image that is open and, where it is no scene, decoded. Whoever is last closes it.

    Attributes:
        image: the open file.
        pixels: what the network is given: all pixels in memory, or the open file.
        opened: what closes it.
        seconds: how long reading took.
        handed_over: somebody else will close it.
    """

    image: Opened
    pixels: ArrayLike
    opened: ExitStack
    seconds: float
    handed_over: bool = False

    @property
    def is_scene(self) -> bool:
        """Whether its strips are kept as files until it is finished."""
        return is_large(self.image.shape)


def make_ready(item: Item, reading: Reading, whole: bool) -> Ready:
    """Open an image and, where it is no scene, decode it.

    Args:
        item: an image.
        reading: how files are read.
        whole: whether the network may be given pixels; else it gets the open file, which it may see in other scales.

    Raises:
        DataError: it cannot be read.
    """
    start = perf_counter()
    with ExitStack() as stack:
        image = stack.enter_context(open_image(item, reading))
        pixels: ArrayLike = image
        if not is_large(image.shape):
            decoded = np.asarray(image)
            image.valid(_ALL, _ALL)
            pixels = decoded if whole else image
        return Ready(image, pixels, stack.pop_all(), perf_counter() - start)


@dataclass(frozen=True)
class Predicting:
    """How maps are made.

    Attributes:
        network: what predicts.
        choices: which maps are wanted.
        passes: how often each pixel is predicted; one has nobody to disagree with.
    """

    network: Network
    choices: Choices
    passes: int

    @property
    def whole(self) -> bool:
        """Whether the network may be given pixels in memory: its members see them in one scale."""
        scalings = self.network.scalings if isinstance(self.network, Ensemble) else ()
        return all(scaling == scalings[0] for scaling in scalings)

    @property
    def unsure(self) -> bool:
        """Whether the uncertainty is wanted."""
        return "uncertainty" in self.choices.save

    def fits(self, ready: Ready) -> bool:
        """Tell whether an image is one tile for all networks, so that others may be predicted together with it."""
        side = min(member.tile for member in self.network.members)
        return max(ready.image.shape[:2]) <= side

    def together(self, batch: list[Ready]) -> list[Part]:
        """Predict images that each fit into one tile."""
        strips = self.network.batch([ready.pixels for ready in batch], entropy=self.unsure)
        return [self._part(strip, ready.image) for strip, ready in zip(strips, batch, strict=True)]

    def strips(self, ready: Ready, which: range | None = None) -> Generator[Part]:
        """Predict an image strip by strip.

        Args:
            ready: the image.
            which: numbers of the strips, one after the other; None: all.
        """
        image = ready.image

        def empty(rows: slice, columns: slice) -> bool:
            valid = image.valid(rows, columns)
            return valid is not None and not valid.any()

        skip = empty if ready.is_scene or image.valid(_ALL, _ALL) is not None else None
        # Closed at once: a thread may be reading, which the file must not be closed under.
        with closing(self.network.strips(ready.pixels, which, entropy=self.unsure, skip=skip)) as strips:
            for strip in strips:
                yield self._part(strip, image)

    def _part(self, strip: Strip, image: Opened) -> Part:
        valid = image.valid(strip.rows, _ALL)
        lacking = None if valid is None or valid.all() else ~valid
        labels = self.network.labels(strip.probabilities)
        if lacking is not None:
            labels[lacking] = NODATA
        part: Part = {"labels": labels}
        if "probabilities" in self.choices.save:
            part["probabilities"] = quantised(_fetched(strip.probabilities, lacking), self.choices.probabilities)
        if self.unsure:
            part["uncertainty"] = _fetched(self._uncertainty(strip), lacking)
        return part

    def _uncertainty(self, strip: Strip) -> Tensor:
        """Entropy of the mean of all passes; where there are several, also how far it is above their mean entropy."""
        entropy = entropy_of(strip.probabilities, self.network.multilabel)[None]
        if self.passes == 1 or strip.entropy is None:
            return entropy
        return torch.cat((entropy, (entropy - strip.entropy).clamp_min(0)))


def _fetched(planes: Tensor, lacking: NDArray[np.bool_] | None) -> Array:
    """Return planes (B, h, W) in memory; NaN where there is no data."""
    fetched: Array = planes.numpy(force=True)
    if lacking is not None:
        fetched = np.where(lacking, np.float32(np.nan), fetched)
    return fetched
