"""Statistics of gates over tiles: spread, saturation, differences between groups, sSE as a foreground score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX

LOW, HIGH = 0.01, 0.99
"""Gate values below and above these shares of the range count as saturated."""
MOST_SATURATED = 0.5
"""Largest share of saturated values of a gate that is not flagged."""
LEAST_STD = 0.01
"""Smallest standard deviation, as a share of the range, of a gate that is not flagged as constant."""
SHARES = ("little foreground", "medium foreground", "much foreground")
"""Groups of tiles by their share of foreground, where there is one foreground class."""
CONSTANT = 1e-6
"""Standard deviation up to which a channel's gate is constant: float32 rounds coarser than this."""

Values = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass
class Spread:
    """Running statistics of gate values in [0, gain]; nothing grows with the number of values."""

    gain: float
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: int = 0
    high: int = 0

    def add(self, values: Values) -> None:
        """Count the values of one tile, of any shape."""
        exact = values.astype(np.float64)
        self.count += exact.size
        self.total += float(exact.sum())
        self.squares += float(np.square(exact).sum())
        self.low += int((exact < LOW * self.gain).sum())
        self.high += int((exact > HIGH * self.gain).sum())

    def summary(self) -> dict[str, Any]:
        """Return `mean`, `std` (population), the saturated shares `low` and `high`, and `flags`.

        Flags: `saturated` (more than half of the values in the outer hundredths of the range) and `constant` (a
        standard deviation below a hundredth of it).
        """
        mean = self.total / self.count
        std = max(0.0, self.squares / self.count - mean**2) ** 0.5
        low, high = self.low / self.count, self.high / self.count
        flags = ["saturated"] * (low + high > MOST_SATURATED) + ["constant"] * (std < LEAST_STD * self.gain)
        return {"mean": mean, "std": std, "low": low, "high": high, "flags": flags}


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, exactly, from ranks: U / (n1 n0) of Mann and Whitney (1947), ties counted half.

    It is the probability that a positive has a higher score than a negative.

    Args:
        scores: any shape.
        positive: which of them are positives, the same shape.

    Returns:
        A number in [0, 1]; None where positives or negatives are absent.
    """
    positives = int(positive.sum())
    negatives = positive.size - positives
    if not positives or not negatives:
        return None
    _, place, ties = np.unique(scores.ravel(), return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(ties) - (ties - 1) / 2
    rank_sum = float(mean_rank[place][positive.ravel()].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def eta_squared(values: NDArray[np.floating], groups: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of each column's variance that lies between groups, eta^2 = SS_between / SS_total.

    Args:
        values: (n, C).
        groups: (n,) group of each row.

    Returns:
        (C,) in [0, 1]; NaN where a column is constant.
    """
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    total = np.square(centred).sum(0)
    members = [centred[groups == group] for group in np.unique(groups)]
    between = sum((len(rows) * np.square(rows.mean(0)) for rows in members), np.zeros_like(total))
    varies = total > len(values) * CONSTANT**2
    shares: NDArray[np.float64] = np.divide(between, total, out=np.full(total.shape, np.nan), where=varies)
    return shares


def mask_cells(
    truth: Labels, side: int, cells: tuple[int, int], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Reduce a truth mask to the cells of a feature map, by area.

    Args:
        truth: (H, W) class indices of the upper left part of a tile; what is padded around it counts as ignored.
        side: side of the tile in pixels.
        cells: (h, w) of the feature map of the tile.
        classes: K, with the background.

    Returns:
        (K, h, w) share of each class in the labelled pixels of a cell; and (h, w), which cells are labelled on more
        than half of their area.
    """
    tile = np.full((side, side), IGNORE_INDEX, np.uint8)
    tile[: truth.shape[0], : truth.shape[1]] = truth
    layers = np.stack([tile != IGNORE_INDEX, *(tile == index for index in range(classes))]).astype(np.float32)
    known, *shares = F.adaptive_avg_pool2d(torch.from_numpy(layers), cells).numpy()
    return np.stack(shares) / np.maximum(known, np.finfo(np.float32).tiny), known > 0.5


@dataclass
class ForegroundScore:
    """AUROC of a spatial gate for `foreground`, and for each class where there are several: one value per tile."""

    classes: Sequence[str]
    values: dict[str, list[float | None]] = field(default_factory=dict)

    def add(self, spatial: Values, truth: Labels, side: int, cells: tuple[int, int]) -> None:
        """Score the gate of a tile against its truth; a cell belongs to what covers more than half of it.

        Args:
            spatial: (h', w') gate of the cells that lie in the image: the upper left part of the tile.
            truth: (H, W) class indices of that part.
            side: side of the tile in pixels.
            cells: (h, w) of the gate of the whole tile.
        """
        shares, known = mask_cells(truth, side, cells, len(self.classes))
        rows, columns = spatial.shape
        known = known[:rows, :columns]
        inside = shares[:, :rows, :columns] > 0.5
        inside[0] = shares[1:, :rows, :columns].sum(0) > 0.5
        names = ["foreground", *self.classes[1:]] if len(self.classes) > 2 else ["foreground"]
        for name, covered in zip(names, inside, strict=False):
            self.values.setdefault(name, []).append(auroc(spatial[known], covered[known]))

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return by name the `mean` over the `images` where it is defined, and how many are `undefined`."""
        result: dict[str, dict[str, Any]] = {}
        for name, values in self.values.items():
            defined = [value for value in values if value is not None]
            mean = float(np.mean(defined)) if defined else None
            result[name] = {"mean": mean, "images": len(defined), "undefined": len(values) - len(defined)}
        return result


@dataclass(frozen=True)
class Groups:
    """Tiles divided by what dominates them.

    `names` are those with members; `of` (n,) is the position in `names` of each tile; `rule` says how.
    """

    names: tuple[str, ...]
    of: NDArray[np.intp]
    rule: str

    def sizes(self) -> list[int]:
        """Return the number of tiles in each group."""
        return [int(size) for size in np.bincount(self.of, minlength=len(self.names))]


def group_tiles(pixels: NDArray[np.integer], classes: Sequence[str]) -> Groups:
    """Divide tiles by their dominant foreground class, or by terciles of the foreground share where there is one class.

    Args:
        pixels: (n, K) labelled pixels of each class in each tile, background first.
        classes: the K names.
    """
    if len(classes) > 2:
        found = np.where(pixels[:, 1:].sum(1) > 0, pixels[:, 1:].argmax(1) + 1, 0)
        return _named(["no foreground", *classes[1:]], found, "the foreground class with most pixels in the tile")
    share = pixels[:, 1] / np.maximum(pixels.sum(1), 1)
    lower, upper = (float(value) for value in np.quantile(share, (1 / 3, 2 / 3)))
    rule = f"foreground share of the tile, at its terciles: little <= {lower:.3f} < medium <= {upper:.3f} < much"
    return _named(SHARES, np.digitize(share, (lower, upper), right=True), rule)


def _named(names: Sequence[str], found: NDArray[np.integer], rule: str) -> Groups:
    present, of = np.unique(found, return_inverse=True)
    return Groups(tuple(names[index] for index in present), of.reshape(-1), rule)


def profile(gates: Values, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation (G, C) of channel gates (n, C) in each group of tiles.

    The profile of Hu et al. (2018), arXiv 1709.01507, section 6.4 (7.2 in the journal version), with the groups of
    `group_tiles` in place of ImageNet classes.
    """
    members = [gates[groups.of == index].astype(np.float64) for index in range(len(groups.names))]
    return np.stack([rows.mean(0) for rows in members]), np.stack([rows.std(0) for rows in members])
