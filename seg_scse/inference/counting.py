"""Counting the pixels of a split, and the loss on it: the short form of scoring, for validation and studies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_scse.config.masks import Task
from seg_scse.data.prepare import PreparedData
from seg_scse.inference.predictor import Network, as_logits
from seg_scse.inference.scoring import Measure, score_split
from seg_scse.inference.sources import NetworkSource, Prediction
from seg_scse.metrics.counts import CountsTable, count_pixels

Loss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
OnImage = Callable[[int, NDArray[np.uint8]], None]
"""Receives the index of a sample and its predicted label map, in a thread."""


@dataclass(frozen=True)
class Scored:
    """Counts of a split and, where a loss was given, its mean over the images."""

    counts: CountsTable
    loss: float | None


def count_split(
    predictor: Network,
    data: PreparedData,
    indices: Sequence[int],
    num_classes: int,
    *,
    loss: Loss | None = None,
    on_image: OnImage | None = None,
    progress: str | None = None,
    check: Callable[[], None] | None = None,
) -> Scored:
    """Predict each sample at its original resolution and count its pixels.

    In a run of several processes each sample is predicted by one of them and counted once; every process returns
    the whole table.

    Args:
        predictor: the network and how to apply it.
        data: names and pixels of the samples.
        indices: positions in the manifest, the same on every process.
        num_classes: number of classes, background included.
        loss: a loss on logits and targets; its value on the blended prediction is averaged over images.
        on_image: called with each prediction made by this process.
        progress: label of a progress bar on the terminal.
        check: called between images; what it raises ends the work (see `score_split`).
    """
    task: Task = "multilabel" if predictor.multilabel else "multiclass"
    index_of = {data.manifest.samples[index].id: index for index in indices}
    source = NetworkSource(predictor, data.store, confident=False)
    measures: dict[str, Measure] = {"counts": lambda seen: count_pixels(seen.labels, seen.truth, num_classes, task)}
    if on_image is not None:
        measures["seen"] = lambda seen: on_image(index_of[seen.id], seen.labels)
    if loss is not None:
        source = _WithLoss(predictor, data.store, confident=False, loss=loss)
        measures["loss"] = lambda seen: source.losses.pop(index_of[seen.id])
    found = score_split(source, data, indices, measures, progress, check=check)
    table = CountsTable(num_classes, task)
    for sample_id, counts in found["counts"].items():
        table.add(sample_id, counts)
    losses = found.get("loss", {}).values()
    return Scored(table, sum(losses) / len(losses) if losses else None)


@dataclass(frozen=True)
class _WithLoss(NetworkSource):
    """Predictions whose loss is computed where the network is, while its probabilities are still there."""

    loss: Loss = field(kw_only=True)
    losses: dict[int, float] = field(default_factory=dict)

    def predict(self, index: int) -> Prediction:
        prediction = super().predict(index)
        assert prediction.probabilities is not None
        logits = as_logits(prediction.probabilities, self.network.multilabel)
        target = torch.from_numpy(np.array(self.store.mask(index))).to(logits.device)
        self.losses[index] = float(self.loss(logits[None], target[None])[0])
        return prediction
