"""Class probabilities of an image of any size."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.attention.trace import undisturbed
from seg_scse.config.schema import Config
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.inference.labelling import Label, decide, softmax_planes
from seg_scse.inference.tiles import blend_window, tile_starts
from seg_scse.inference.tta import TTA, Symmetry

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a network computes in `fp32`, `bf16` or `fp16`."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype) if dtype else nullcontext()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode without gradients, and each module back into its own mode at the end."""
    with undisturbed(model), torch.inference_mode():
        yield


class Network(Protocol):
    """What predicts images: one network and how it is applied, or several."""

    @property
    def members(self) -> tuple["Predictor", ...]:
        """The networks that predict; those of an ensemble are applied alike."""
        ...

    @property
    def threshold(self) -> float:
        """Two classes, and each class of multilabel: present above this probability; else without meaning."""
        ...

    @property
    def multilabel(self) -> bool:
        """Whether a pixel may have several classes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the probabilities are."""
        ...

    def probabilities(self, image: ArrayLike) -> Tensor:
        """Map an image to class probabilities (K', H, W)."""
        ...

    def labels(self, probabilities: Tensor) -> Label:
        """Map probabilities to a label map."""
        ...

    def with_threshold(self, threshold: float) -> Self:
        """The same with another threshold."""
        ...


@dataclass(frozen=True)
class Predictor:
    """Predicts an image in tiles of the training crop size, blended by linear weights.

    The tile is the training crop because a channel gate averages over what it is given: tiles of another size would
    shift the gates away from what they were in training. Smaller images are padded by reflection. Each image is
    predicted by itself, so that its result depends on no other image.

    Attributes:
        model: network from standardised images to logits.
        standardize: from uint8 images, or float32 ones in [0, 1], to network input.
        device: where both live.
        precision: `fp32`, `bf16` or `fp16`.
        tile: side of a tile in pixels.
        overlap: share of a tile covered by its neighbour.
        batch_size: tiles per forward pass.
        threshold: two classes, and each class of multilabel: present above this probability.
        multilabel: whether a pixel may have several classes, which are then independent of each other.
        tta: over which symmetries of a tile the probabilities are averaged.
    """

    model: nn.Module
    standardize: nn.Module
    device: torch.device
    precision: str
    tile: int
    overlap: float
    batch_size: int
    threshold: float
    multilabel: bool = False
    tta: TTA = "none"

    @classmethod
    def from_config(
        cls, config: Config, model: nn.Module, standardize: nn.Module, device: torch.device, precision: str
    ) -> Self:
        """Build the predictor that a configuration describes, the same in training and evaluation."""
        settings = config.evaluation
        return cls(
            model,
            standardize,
            device,
            precision,
            tile=config.trainer.crop,
            overlap=settings.overlap,
            batch_size=settings.batch_size,
            threshold=settings.threshold,
            multilabel=config.data.task == "multilabel",
            tta=settings.tta,
        )

    @property
    def members(self) -> tuple["Predictor", ...]:
        """Itself, the only one."""
        return (self,)

    def with_threshold(self, threshold: float) -> Self:
        """The same predictor with another threshold in (0, 1)."""
        return replace(self, threshold=threshold)

    def probabilities(self, image: ArrayLike) -> Tensor:
        """Map an image to class probabilities.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1]; read by one row of tiles after the other.

        Returns:
            float32 (K', H, W) on the device: K' = 1 for two classes, that of the foreground; K for more; K - 1 for
            multilabel, those of the classes after the first.
        """
        height, width = image.shape[:2]
        pad_y, pad_x = max(0, self.tile - height), max(0, self.tile - width)
        if pad_y or pad_x:
            image = _pad(np.asarray(image), pad_y, pad_x)
        places = [
            (y, x)
            for y in tile_starts(image.shape[0], self.tile, self.overlap)
            for x in tile_starts(image.shape[1], self.tile, self.overlap)
        ]
        with evaluation_mode(self.model):
            blended = next(self._tiles(image, places))[0] if len(places) == 1 else self._blend(image, places)
        return blended[:, :height, :width]

    def _blend(self, image: ArrayLike, places: Sequence[tuple[int, int]]) -> Tensor:
        axis = blend_window(self.tile, self.overlap).to(self.device)
        weights = axis[:, None] * axis
        total, norm = None, torch.zeros(image.shape[:2], device=self.device)
        for batch, tiles in zip(_chunks(places, self.batch_size), self._tiles(image, places), strict=True):
            if total is None:
                total = torch.zeros((tiles.shape[1], *norm.shape), device=self.device)
            for (y, x), tile in zip(batch, tiles, strict=True):
                total[:, y : y + self.tile, x : x + self.tile].addcmul_(tile, weights)
                norm[y : y + self.tile, x : x + self.tile].add_(weights)
        assert total is not None
        return total.div_(norm)

    def _tiles(self, image: ArrayLike, places: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        cut = self._cut(image, places)
        for batch in _chunks(places, self.batch_size):
            images = torch.stack([next(cut) for _ in batch])
            with autocast(self.device, self.precision):
                standardized = self.standardize(images.to(self.device))
            yield self._average(standardized)

    def _average(self, tiles: Tensor) -> Tensor:
        """Probabilities of tiles (N, C, tile, tile), the mean over the symmetries."""
        symmetries = Symmetry.of(self.tta)
        total: Tensor | None = None
        for symmetry in symmetries:
            with autocast(self.device, self.precision):
                logits = self.model(symmetry.apply(tiles)).float()
            found = symmetry.undo(self._activate(logits))
            total = found if total is None else total.add_(found)
        assert total is not None
        return total if len(symmetries) == 1 else total.div_(len(symmetries))

    def _activate(self, logits: Tensor) -> Tensor:
        """Probabilities, each class a plane in memory."""
        if self.multilabel or logits.shape[1] == 1:
            return logits.contiguous().sigmoid()
        return softmax_planes(logits)

    def _cut(self, image: ArrayLike, places: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """Tiles (C, tile, tile), row by row: a row is read once, since many files hold their pixels in whole rows."""
        for y, row in groupby(places, key=itemgetter(0)):
            pixels = np.asarray(image[y : y + self.tile, :])
            for _, x in row:
                tile = pixels[:, x : x + self.tile].transpose(2, 0, 1)
                yield torch.from_numpy(tile.copy())  # a copy: samples are memory-mapped, read-only

    def labels(self, probabilities: Tensor) -> Label:
        """Map (K', H, W) probabilities to uint8 (H, W) class indices, or bits of a multilabel task."""
        return decide(probabilities, self.threshold, self.multilabel).labels


def as_logits(probabilities: Tensor, multilabel: bool = False) -> Tensor:
    """Invert sigmoid or softmax, so that a loss on logits can score a blended prediction; finite everywhere.

    Args:
        probabilities: as `Predictor.probabilities` returns them.
        multilabel: whether they are independent of each other.
    """
    if multilabel or len(probabilities) == 1:
        return probabilities.logit(eps=1e-6)
    return probabilities.clamp_min(1e-6).log()


def _pad(image: Array, bottom: int, right: int) -> Array:
    # numpy repeats the reflection where the padding is larger than the image; one pixel has no reflection.
    height, width = image.shape[:2]
    image = np.pad(image, ((0, bottom), (0, 0), (0, 0)), mode="reflect" if height > 1 else "edge")
    return np.pad(image, ((0, 0), (0, right), (0, 0)), mode="reflect" if width > 1 else "edge")


def _chunks(items: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
