"""Whether an exported network answers like the checkpoint it was made of."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.data.files.raster import Array
from seg_scse.export.evidence import brought_to
from seg_scse.export.sizes import Sizes
from seg_scse.inference.labelling import Label
from seg_scse.inference.predictor import Predictor, evaluation_mode

LIMIT = 1e-3
"""Logits and probabilities may differ by this; more is another network."""


@dataclass(frozen=True)
class Parity:
    """How far the answers of two networks are apart.

    Attributes:
        logits: largest difference of logits, over all tiles and channels.
        probabilities: largest difference of the probabilities of an image.
        equal: share of pixels with the same label.
        different: pixels with another label.
        images: number of images.
    """

    logits: float
    probabilities: float
    equal: float
    different: int
    images: int

    @property
    def holds(self) -> bool:
        """Whether the two are one network to rounding."""
        return max(self.logits, self.probabilities) <= LIMIT and math.isfinite(self.logits + self.probabilities)

    def as_json(self) -> dict[str, Any]:
        """Say it in plain JSON types."""
        return {
            "largest_logit_difference": self.logits,
            "largest_probability_difference": self.probabilities,
            "equal_labels": self.equal,
            "different_pixels": self.different,
            "images": self.images,
        }


class _Noting(nn.Module):
    """A network that remembers its answers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.answers: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(images)
        self.answers.append(answer.float())
        return answer


@dataclass(frozen=True)
class _Answer:
    logits: list[Tensor]
    probabilities: Tensor
    labels: Label


def compare(reference: Predictor, network: nn.Module, images: Iterable[Array]) -> Parity:
    """Predict images by two networks, tile by tile in the same way, and measure how far the answers are apart.

    Args:
        reference: the checkpoint's network and how it is applied.
        network: the exported one.
        images: (H, W, C) each, uint8 or float32 in [0, 1].
    """
    logits, probabilities, different, pixels = [0.0], [0.0], 0, 0
    count = 0
    for count, image in enumerate(images, start=1):  # noqa: B007 - the number of images
        one, two = _answer(reference, image), _answer(replace(reference, model=network), image)
        logits += [_apart(first, second) for first, second in zip(one.logits, two.logits, strict=True)]
        probabilities.append(_apart(one.probabilities, two.probabilities))
        different += int(np.count_nonzero(one.labels != two.labels))
        pixels += one.labels.size
    # NumPy's maximum is NaN where one of the numbers is.
    return Parity(float(np.max(logits)), float(np.max(probabilities)), 1 - different / max(1, pixels), different, count)


def _answer(predictor: Predictor, image: Array) -> _Answer:
    noting = _Noting(predictor.model)
    probabilities = replace(predictor, model=noting).probabilities(image)
    return _Answer(noting.answers, probabilities, predictor.labels(probabilities))


def _apart(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max())


def sizes_apart(reference: Predictor, network: nn.Module, image: Array, sizes: Sizes) -> float:
    """Compare two networks on further batches and sizes, made of the middle of an image.

    Returns:
        the largest difference of logits; NaN where one is.
    """
    found = []
    with evaluation_mode(reference.model):
        for batch, height, width in sizes.others():
            pixels = brought_to(image, height, width)
            inputs = reference.standardize(torch.from_numpy(pixels).permute(2, 0, 1)[None])
            inputs = torch.cat([inputs.roll(shift, 3) for shift in range(batch)])
            found.append(_apart(reference.model(inputs).float(), network(inputs).float()))
    return float(np.max(found))
