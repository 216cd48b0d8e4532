"""Where the predictions that are scored come from: a network, or files."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from seg_scse.data.store import Store
from seg_scse.inference.labelling import Label, decide
from seg_scse.inference.predictor import Network


class Prediction(NamedTuple):
    """What is predicted of one sample.

    Attributes:
        labels: uint8 (H, W): class indices, or bits of a multilabel task.
        probabilities: float32 (K', H, W) on the network's device, as `Network.probabilities` returns them; None where
            labels are all there is.
        confidence: float32 (L, H, W) on that device, the probabilities that the labels were chosen by, as
            `labelling.Decision` describes them; None where labels are all there is, or nobody asked.
    """

    labels: Label
    probabilities: Tensor | None = None
    confidence: Tensor | None = None


class Source(Protocol):
    """Predictions of the samples of a manifest."""

    def predict(self, index: int) -> Prediction:
        """Predict the sample at a position in the manifest."""
        ...


@dataclass
class Clock:
    """How long a network took for how much, from pixels in memory or in a file to probabilities.

    The first image is left out: libraries choose their algorithms in it.
    """

    seconds: float = 0.0
    megapixels: float = 0.0
    images: int = 0
    warm: bool = False

    def add(self, seconds: float, pixels: int) -> None:
        """Note one image."""
        if self.warm:
            self.seconds += seconds
            self.megapixels += pixels / 1e6
            self.images += 1
        self.warm = True


@dataclass(frozen=True)
class NetworkSource:
    """Predictions that a network makes when they are asked for.

    Attributes:
        network: a predictor or an ensemble.
        store: pixels of the samples.
        confident: whether predictions come with their confidence, which has to be fetched from a GPU.
        clock: the time that its predictions took.
    """

    network: Network
    store: Store
    confident: bool = True
    clock: Clock = field(default_factory=Clock)

    def predict(self, index: int) -> Prediction:
        """Predict a sample at its original resolution.

        Raises:
            DataError: its image cannot be read.
        """
        image = self.store.image(index)
        self._wait()
        start = time.perf_counter()
        probabilities = self.network.probabilities(image)
        self._wait()
        self.clock.add(time.perf_counter() - start, image.shape[0] * image.shape[1])
        decision = decide(probabilities, self.network.threshold, self.network.multilabel)
        return Prediction(decision.labels, probabilities, decision.confidence if self.confident else None)

    def _wait(self) -> None:
        """Let a GPU finish what it was told to do, so that the clock measures work and not telling."""
        if self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)


@dataclass(frozen=True)
class FolderSource:
    """Predictions that lie in files, one for each sample, read when they are asked for.

    Attributes:
        paths: by position in the manifest.
        read: reads a file to a uint8 (H, W) label map, and raises a DataError for what is none.
    """

    paths: Mapping[int, Path] | Sequence[Path]
    read: Callable[[Path], Label]

    def predict(self, index: int) -> Prediction:
        """Read the prediction of a sample.

        Raises:
            DataError: the file cannot be used.
        """
        return Prediction(self.read(self.paths[index]))
