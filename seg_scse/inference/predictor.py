"""Class probabilities of an image of any size."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.attention.trace import undisturbed
from seg_scse.config.schema import Config
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.inference.labelling import Label, decide, softmax_planes
from seg_scse.inference.rows import Skip, TileRow, stacked, tile_rows
from seg_scse.inference.strips import Blender, Strip, as_strip, joined
from seg_scse.inference.tiles import Blend, Grid, blend_axis
from seg_scse.inference.tta import TTA, mean_over_passes
from seg_scse.inference.uncertainty import entropy_of

_Item = TypeVar("_Item")
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

    def strip_rows(self, height: int) -> list[slice]:
        """The strips that an image of this height is finished in: units of resuming and of sharing the work."""
        ...

    def strips(
        self, image: ArrayLike, which: range | None = None, *, entropy: bool = False, skip: Skip | None = None
    ) -> Generator[Strip]:
        """Predict an image strip by strip, or some of its strips."""
        ...

    def batch(self, images: Sequence[ArrayLike], *, entropy: bool = False) -> list[Strip]:
        """Predict images that each fit into one tile, several per forward pass."""
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
    """Predicts an image in tiles of the training crop size, blended where they overlap.

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
        scales: over which sizes of a tile they are averaged, times the symmetries.
        blend: how weights fall towards the border of a tile.
        margin: border of a tile in pixels that counts only where no other tile reaches.
        fixed: whether batches that are not full are filled up, for networks that are compiled for one size.
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
    scales: tuple[float, ...] = (1.0,)
    blend: Blend = "linear"
    margin: int = 0
    fixed: bool = False

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
            scales=settings.scales,
            blend=settings.blend,
            margin=settings.margin,
        )

    @property
    def members(self) -> tuple["Predictor", ...]:
        """Itself, the only one."""
        return (self,)

    def with_threshold(self, threshold: float) -> Self:
        """The same predictor with another threshold in (0, 1)."""
        return replace(self, threshold=threshold)

    def strip_rows(self, height: int) -> list[slice]:
        """The rows of each strip of an image of this height: they lie between the starts of two rows of tiles."""
        return Grid.of(height, self.tile, self.tile, self.overlap).strips

    def strips(
        self, image: ArrayLike, which: range | None = None, *, entropy: bool = False, skip: Skip | None = None
    ) -> Generator[Strip]:
        """Predict an image strip by strip; memory holds one row of tiles, however high the image is.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1]; each row is read once, ahead of its use, in a thread.
            which: numbers of strips that follow each other; default: all. What they hold does not depend on that.
            entropy: whether strips come with it.
            skip: told rows and columns of a tile, cut at the image's edge: whether it need not be computed. Asked in
                the thread that reads. What only such tiles cover is 0.

        Yields:
            The strips in their order; nothing of an earlier one is overwritten.
        """
        grid = Grid.of(image.shape[0], image.shape[1], self.tile, self.overlap)
        wanted = range(len(grid.tops)) if which is None else which
        if not wanted:
            return
        if len(grid.tops) == len(grid.lefts) == 1 and skip is None:
            yield from self.batch([image], entropy=entropy)
            return
        numbers = grid.reaching(wanted)
        axis = blend_axis(self.tile, self.overlap, self.blend, self.margin)
        blender = Blender(grid, axis.to(self.device), numbers[0])
        with closing(tile_rows(image, grid, numbers, skip)) as rows:
            for row in rows:
                with evaluation_mode(self.model):
                    planes = self._blend(blender, row, entropy)
                if row.number in wanted:
                    yield as_strip(grid.strips[row.number], planes, entropy)

    def batch(self, images: Sequence[ArrayLike], *, entropy: bool = False) -> list[Strip]:
        """Predict images that each fit into one tile, `batch_size` of them per forward pass.

        Args:
            images: (H, W, C) each, with the same C, uint8 or float32 in [0, 1], of any sides up to that of a tile.
            entropy: whether strips come with it.

        Returns:
            Of each image the one strip that it consists of.
        """
        found = []
        for chunk in _chunks(images, self.batch_size):
            tiles = _images(torch.from_numpy(stacked(chunk, self.tile)))
            with evaluation_mode(self.model):
                planes = self._planes(tiles.to(self.device), entropy)
            for image, each in zip(chunk, planes, strict=True):
                height, width = image.shape[:2]
                found.append(as_strip(slice(0, height), each[:, :height, :width], entropy))
        return found

    def probabilities(self, image: ArrayLike) -> Tensor:
        """Map an image to class probabilities.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1]; read by one row of tiles after the other.

        Returns:
            float32 (K', H, W) on the device: K' = 1 for two classes, that of the foreground; K for more; K - 1 for
            multilabel, those of the classes after the first.
        """
        return joined(self.strips(image), image.shape[0])

    def _blend(self, blender: Blender, row: TileRow, entropy: bool) -> Tensor:
        """Predict a row of tiles; batches do not reach into the next, so that a strip depends on its own rows only."""
        cut = self._cutter(row.pixels)
        for lefts in _chunks(row.lefts, self.batch_size):
            blender.add(self._planes(cut(lefts), entropy), lefts)
        if not blender.planes:  # nothing was predicted yet: how many planes there are tells a tile
            blender.reserve(self._planes(cut((0,)), entropy).shape[1])
        return blender.finish(row.lefts)

    def _cutter(self, pixels: Array) -> Callable[[Sequence[int]], Tensor]:
        """What cuts tiles (N, C, tile, tile) out of a row of tiles, by their first columns."""
        if self.device.type == "cpu":  # copied by numpy: samples are memory-mapped, read-only, which torch warns of
            return lambda lefts: _images(torch.from_numpy(np.stack([pixels[:, x : x + self.tile] for x in lefts])))
        # On a GPU they are cut there: sent once, though tiles overlap, in as few bytes as they have.
        sent = torch.from_numpy(np.array(pixels)).pin_memory().to(self.device, non_blocking=True)
        return lambda lefts: _images(torch.stack([sent[:, x : x + self.tile] for x in lefts]))

    def _planes(self, tiles: Tensor, entropy: bool) -> Tensor:
        """Probabilities of tiles (N, C, tile, tile), and behind them their entropy, as the mean over all passes."""
        missing = self.batch_size - len(tiles) if self.fixed else 0
        if missing:
            tiles = torch.cat((tiles, tiles[-1:].expand(missing, -1, -1, -1)))
        with autocast(self.device, self.precision):
            standardized = self.standardize(tiles)
        planes = mean_over_passes(partial(self._once, entropy=entropy), standardized, self.tta, self.scales)
        return planes[: len(planes) - missing]

    def _once(self, tiles: Tensor, entropy: bool) -> Tensor:
        """What the network says of standardised tiles, each class a plane in memory."""
        with autocast(self.device, self.precision):
            logits = self.model(tiles).float()
        independent = self.multilabel or logits.shape[1] == 1
        planes = logits.contiguous().sigmoid() if independent else softmax_planes(logits)
        if not entropy:
            return planes
        return torch.cat((planes, entropy_of(planes, self.multilabel)[:, None]), 1)

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


def _images(pixels: Tensor) -> Tensor:
    """See (N, H, W, C) as (N, C, H, W): in memory the layout of convolutions, which a copy would only undo."""
    return pixels.permute(0, 3, 1, 2)


def _chunks(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
