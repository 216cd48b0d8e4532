"""What each gate of a network does over a split: one pass that keeps statistics, not feature maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from seg_scse.attention.probe import gates_by_site
from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.data.prepare import PreparedData
from seg_scse.evaluation.gate_study import ForegroundScore, Groups, Spread, eta_squared, group_tiles, profile
from seg_scse.evaluation.observe import Stage, observe
from seg_scse.inference.predictor import Predictor

Arrays = dict[str, NDArray[Any]]


def gain_of(gate: nn.Module) -> float:
    """Return the largest value that the gates of a block can take: 1, unless its recipe scales them."""
    return float(getattr(getattr(gate, "recipe", None), "gain", 1.0))


@dataclass
class _Seen:
    """Statistics of one gate over the tiles seen so far."""

    gain: float
    classes: Sequence[str]
    spread: dict[str, Spread] = field(default_factory=dict)
    channel: list[NDArray[np.float32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.score = ForegroundScore(self.classes)

    def add(self, stage: Stage, truth: NDArray[np.uint8], side: int) -> None:
        for name, values in (("channel", stage.channel), ("spatial", stage.spatial)):
            if values is not None:
                self.spread.setdefault(name, Spread(self.gain)).add(values)
        if stage.channel is not None:
            self.channel.append(stage.channel)
        if stage.spatial is not None:
            self.score.add(stage.spatial, truth, side, stage.cells)

    def summary(self, groups: Groups) -> dict[str, Any]:
        return {
            "gates": {name: spread.summary() for name, spread in self.spread.items()},
            "between_images": float(np.sqrt(np.stack(self.channel).var(0).mean())) if self.channel else None,
            "eta_squared": self._eta_squared(groups),
            "auroc": self.score.summary(),
        }

    def _eta_squared(self, groups: Groups) -> float | None:
        """Mean over the channels that vary; None where there is nothing to compare."""
        if not self.channel or len(groups.names) < 2:
            return None
        shares = eta_squared(np.stack(self.channel), groups.of)
        return float(np.nanmean(shares)) if np.isfinite(shares).any() else None


def study_split(
    predictor: Predictor, data: PreparedData, indices: Sequence[int], classes: Sequence[str]
) -> tuple[dict[str, Any], Arrays]:
    """Observe one tile of each sample and describe what the gates did.

    Args:
        predictor: a network with gates.
        data: names and pixels of the samples.
        indices: positions in the manifest, at least one.
        classes: class names, background first.

    Returns:
        `images`, `ids`, `rule` and `groups` (how the tiles were divided), `eta_squared_by_chance` (what groups without
        any difference would have on average) and `stages` by site, in plain JSON types; and arrays, for each site with
        channel gates `SITE.gates` (n, C), `SITE.mean` and `SITE.std` (G, C).
    """
    seen = {site: _Seen(gain_of(gate), classes) for site, gate in gates_by_site(predictor.model).items()}
    pixels = [
        _observe_one(predictor, data, index, seen, len(classes))
        for index in tqdm(indices, desc="studying gates", unit="image", disable=None, leave=False)
    ]
    groups = group_tiles(np.stack(pixels), classes)
    count = len(indices)
    study = {
        "images": count,
        "ids": [data.manifest.samples[index].id for index in indices],
        "rule": groups.rule,
        "groups": [{"name": name, "images": size} for name, size in zip(groups.names, groups.sizes(), strict=True)],
        "eta_squared_by_chance": (len(groups.names) - 1) / (count - 1) if count > 1 else None,
        "stages": {site: stage.summary(groups) for site, stage in seen.items()},
    }
    return study, _profiles(seen, groups)


def _observe_one(
    predictor: Predictor, data: PreparedData, index: int, seen: dict[str, _Seen], classes: int
) -> NDArray[np.intp]:
    """Add one sample to the statistics and return the labelled pixels of each class in its tile."""
    found = observe(predictor, np.asarray(data.store.image(index)))
    truth = found.window.of(np.asarray(data.store.mask(index)))
    for site, stage in found.stages.items():
        seen[site].add(stage, truth, predictor.tile)
    return np.bincount(truth[truth != IGNORE_INDEX], minlength=classes)


def _profiles(seen: dict[str, _Seen], groups: Groups) -> Arrays:
    arrays: Arrays = {}
    for site, stage in seen.items():
        if stage.channel:
            gates = np.stack(stage.channel)
            mean, std = profile(gates, groups)
            arrays |= {f"{site}.gates": gates, f"{site}.mean": mean, f"{site}.std": std}
    return arrays
