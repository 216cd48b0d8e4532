"""Predicting a split and counting pixels: the one path by which training and evaluation score a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seg_scse import distributed
from seg_scse.data.prepare import PreparedData
from seg_scse.inference.predictor import Predictor, as_logits
from seg_scse.metrics.counts import CountsTable, count_pixels

Label = NDArray[np.uint8]
OnImage = Callable[[int, Label], None]
"""Receives the index of a sample and its predicted label map."""


@dataclass(frozen=True)
class Scored:
    """Counts of a split and, where a loss was given, its mean over the images."""

    counts: CountsTable
    loss: float | None


def count_split(
    predictor: Predictor,
    data: PreparedData,
    indices: Sequence[int],
    num_classes: int,
    *,
    loss: Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]] | None = None,
    on_image: OnImage | None = None,
    progress: str | None = None,
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
    """
    manifest, store = data.manifest, data.store
    ids = [manifest.samples[index].id for index in indices]
    table = CountsTable(num_classes)
    losses: dict[str, float] = {}
    mine = list(indices)[distributed.rank() :: distributed.world_size()]
    hidden = True if progress is None or not distributed.is_main() else None  # None: shown on a terminal only
    for index in tqdm(mine, desc=progress, unit="image", disable=hidden, leave=False):
        name, truth = manifest.samples[index].id, np.asarray(store.mask(index))
        probabilities = predictor.probabilities(store.image(index))
        labels = predictor.labels(probabilities)
        table.add(name, count_pixels(labels, truth, num_classes))
        if loss is not None:
            target = torch.from_numpy(truth.copy()).to(probabilities.device)
            losses[name] = float(loss(as_logits(probabilities)[None], target[None])[0])
        if on_image is not None:
            on_image(index, labels)
    shards = distributed.gather((table, losses))
    merged = CountsTable.merge([shard for shard, _ in shards], ids)
    values = {name: value for _, part in shards for name, value in part.items()}
    mean = sum(values[name] for name in ids) / len(ids) if loss is not None and ids else None
    return Scored(merged, mean)
