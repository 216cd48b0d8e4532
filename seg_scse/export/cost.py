"""What smaller numbers cost: the Dice of a network and of its quantised form on the same images."""

from dataclasses import replace
from typing import Any

from torch import nn

from seg_scse.evaluation.loaded import Loaded
from seg_scse.export.evidence import Evidence
from seg_scse.inference.counting import count_split
from seg_scse.inference.predictor import Predictor
from seg_scse.metrics.scores import foreground_score

METRIC = "dice_per_image"


def dice_cost(reference: Predictor, network: nn.Module, images: Evidence, loaded: Loaded) -> dict[str, Any]:
    """Score the checkpoint's network and a quantised one on images of a data set, at their original resolution.

    Args:
        reference: the checkpoint's network and how it is applied.
        network: the quantised one, applied in the same way.
        images: of a data set with truth.
        loaded: says the classes and what an empty image scores.

    Returns:
        `metric`, `fp32` and `quantised` (mean Dice per image over the foreground classes, None where there is nothing
        to score), `cost` (their difference, above 0 where quantisation loses), `images` and `source`.
    """
    assert images.data is not None
    scores = []
    for label, predictor in (("float32", reference), ("quantised", replace(reference, model=network))):
        counts = count_split(
            predictor, images.data, images.indices, len(loaded.config.data.classes), progress=label
        ).counts
        scores.append(foreground_score(counts, METRIC, loaded.config.evaluation.empty))
    whole, small = scores
    return {
        "metric": METRIC,
        "fp32": whole,
        "quantised": small,
        "cost": None if whole is None or small is None else whole - small,
        "images": len(images.indices),
        "source": images.source,
    }
