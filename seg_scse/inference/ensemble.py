"""Several networks that predict together: the mean of their probabilities."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from seg_scse.data.lazy import ArrayLike
from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import ConfigError
from seg_scse.inference.labelling import Label, decide
from seg_scse.inference.predictor import Predictor
from seg_scse.inference.rows import Skip
from seg_scse.inference.shared_rows import SharedRows
from seg_scse.inference.strips import Strip, covering, cut, joined


@runtime_checkable
class InFileUnits(Protocol):
    """An image that is scaled as it is read, and that also says what its file holds."""

    @property
    def pixels(self) -> ArrayLike:
        """The image (H, W, C) in the units of its file, with pixels without data filled."""
        ...


@dataclass(frozen=True)
class Ensemble:
    """Averages the probabilities of networks, each applied by its own tiles to images standardised in its own way.

    Attributes:
        members: the networks, with the same classes, bands, threshold and device.
        scalings: for each member the scaling over the training split that its checkpoint keeps, None where each file
            tells by itself. Images come scaled for the first member; others see them in their own scale.

    Raises:
        ConfigError: fewer than two members, or they cannot predict together.
    """

    members: tuple[Predictor, ...]
    scalings: Sequence[Scaling | None] = ()

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ConfigError(f"an ensemble of {len(self.members)}: name at least two networks.")
        for name, values in self._facts().items():
            if len(set(values)) > 1:
                raise ConfigError(
                    f"these networks cannot predict together: {name} = {', '.join(map(str, values))}. Name networks "
                    "trained for the same task on the same kind of images; one threshold for all is set by "
                    "evaluation.threshold=0.5."
                )

    def _facts(self) -> dict[str, list[object]]:
        """What all members must have in common, with the value of each."""
        standardizers = [member.standardize for member in self.members]
        return {
            "number of bands": [each.mean.numel() for each in standardizers if isinstance(each, Standardizer)],
            "multilabel": [member.multilabel for member in self.members],
            "threshold": [member.threshold for member in self.members],
            "device": [str(member.device) for member in self.members],
            "scaling measured over the training images": [scaling is not None for scaling in self.scalings],
        }

    @property
    def threshold(self) -> float:
        """Two classes, and each class of multilabel: present above this mean probability."""
        return self.members[0].threshold

    @property
    def multilabel(self) -> bool:
        """Whether a pixel may have several classes."""
        return self.members[0].multilabel

    @property
    def device(self) -> torch.device:
        """Where all members are."""
        return self.members[0].device

    def with_threshold(self, threshold: float) -> Self:
        """The same networks with another threshold in (0, 1)."""
        return replace(self, members=tuple(member.with_threshold(threshold) for member in self.members))

    def strip_rows(self, height: int) -> list[slice]:
        """The rows of each strip of an image of this height: those of the first network."""
        return self.members[0].strip_rows(height)

    def strips(
        self, image: ArrayLike, which: range | None = None, *, entropy: bool = False, skip: Skip | None = None
    ) -> Generator[Strip]:
        """Predict an image strip by strip, as `Predictor.strips` does, by the members' mean.

        Members with tiles of another size predict by their own strips, of which those of the first are cut.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1], as the store that was scaled for the first member gives it.
            which: numbers of strips that follow each other; default: all.
            entropy: whether strips come with it.
            skip: told rows and columns of a member's tile: whether it need not be computed.

        Yields:
            The strips in their order.

        Raises:
            ConfigError: the members have different numbers of classes.
        """
        rows = self.strip_rows(image.shape[0])
        wanted = rows if which is None else rows[which.start : which.stop]
        if not wanted:
            return
        with ExitStack() as stack:
            each = []
            for member, seen in zip(self.members, self._seen(image), strict=True):
                numbers = covering(member.strip_rows(image.shape[0]), wanted)
                found = stack.enter_context(closing(member.strips(seen, numbers, entropy=entropy, skip=skip)))
                each.append(cut(found, wanted))
            for strips in zip(*each, strict=True):
                yield _mean(strips)

    def batch(self, images: Sequence[ArrayLike], *, entropy: bool = False) -> list[Strip]:
        """Predict images that each fit into one tile of each member, several per forward pass, by the members' mean.

        Args:
            images: (H, W, C) each, with the same C, uint8 or float32 in [0, 1].
            entropy: whether strips come with it.

        Returns:
            Of each image the one strip that it consists of.

        Raises:
            ConfigError: the members have different numbers of classes.
        """
        seen = [self._seen(image) for image in images]
        each = [
            member.batch([views[number] for views in seen], entropy=entropy)
            for number, member in enumerate(self.members)
        ]
        return [_mean(strips) for strips in zip(*each, strict=True)]

    def probabilities(self, image: ArrayLike) -> Tensor:
        """Map an image to the members' mean class probabilities.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1], as the store that was scaled for the first member gives it.

        Returns:
            float32 (K', H, W) on the device, as `Predictor.probabilities`.

        Raises:
            ConfigError: the members have different numbers of classes.
        """
        return joined(self.strips(image), image.shape[0])

    def _seen(self, image: ArrayLike) -> list[ArrayLike]:
        """The image as each member sees it; a file is read once for all of them."""
        if not self.scalings or all(scaling == self.scalings[0] for scaling in self.scalings):
            return self._shared(image)
        if not isinstance(image, InFileUnits):
            raise ConfigError(
                "the networks of this ensemble were trained on images in other scales, and this image comes in that "
                "of the first: give an image file, or name networks that were trained on the same images."
            )
        each = zip(self._shared(image.pixels), self.scalings, strict=True)
        return [pixels if scaling is None else Scaled(pixels, scaling) for pixels, scaling in each]

    def _shared(self, image: ArrayLike) -> list[ArrayLike]:
        number = len(self.members)
        if isinstance(image, np.ndarray):
            return [image] * number
        shared = SharedRows(image, number)
        return [shared.reader(index) for index in range(number)]

    def labels(self, probabilities: Tensor) -> Label:
        """Map (K', H, W) probabilities to uint8 (H, W) class indices, or bits of a multilabel task."""
        return decide(probabilities, self.threshold, self.multilabel).labels


def _mean(strips: Sequence[Strip]) -> Strip:
    """The mean of what the members say of the same rows."""
    first = strips[0].probabilities
    for number, other in enumerate(strips[1:], start=2):
        if len(other.probabilities) != len(first):
            raise ConfigError(
                f"network {number} of the ensemble gives {len(other.probabilities)} probabilities per pixel, the first "
                f"{len(first)}: name networks trained for the same classes."
            )
    probabilities = _averaged([strip.probabilities for strip in strips])
    entropies = [strip.entropy for strip in strips if strip.entropy is not None]
    return Strip(strips[0].rows, probabilities, _averaged(entropies) if entropies else None)


def _averaged(planes: Sequence[Tensor]) -> Tensor:
    total = planes[0].clone()
    for other in planes[1:]:
        total += other
    return total.div_(len(planes))
