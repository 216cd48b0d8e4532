"""How scores are called, grouped and written, the same in every table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "zero"]


@dataclass(frozen=True)
class Measure:
    """A score: heading, whether it is a length in the unit of the spacing, which way is better, and what it says."""

    label: str
    tells: str
    better: Better = "higher"
    length: bool = False

    def heading(self, unit: str = "px") -> str:
        """The label, with the unit of a length."""
        return f"{self.label} ({unit})" if self.length else self.label

    def text(self, value: float | None) -> str:
        """Four decimals for a share, two for a length; n/a where it is not available."""
        if value is None:
            return "n/a"
        return f"{value:.2f}" if self.length else f"{value:.4f}"


MEASURES = {
    "dice": Measure("Dice", "2 tp / (2 tp + fp + fn)"),
    "iou": Measure("IoU", "tp / (tp + fp + fn)"),
    "precision": Measure("Precision", "tp / (tp + fp)"),
    "recall": Measure("Recall", "tp / (tp + fn)"),
    "specificity": Measure("Specificity", "tn / (tn + fp)"),
    "accuracy": Measure("Accuracy", "share of the pixels that are right"),
    "volume_error": Measure("Volume error", "|predicted - true| / true pixels", "lower"),
    "volume_bias": Measure("Volume bias", "(predicted - true) / true pixels", "zero"),
    "hd95": Measure("HD95", "95th percentile of the distances between the boundaries", "lower", length=True),
    "assd": Measure("ASSD", "mean distance between the boundaries", "lower", length=True),
    "nsd": Measure("NSD", "share of the boundaries within the tolerance"),
    "boundary_iou": Measure("Boundary IoU", "IoU of the strips along the boundaries"),
    "cldice": Measure("clDice", "Dice of the centre lines"),
    "object_f1": Measure("Object F1", "objects matched at an IoU above 0.5"),
    "pq": Measure("PQ", "panoptic quality: F1 times the mean IoU of the matched objects"),
}
"""Every score that an evaluation may hold, in the order of the tables."""

GROUPS = {
    "Overlap": ("dice", "iou", "precision", "recall"),
    "Pixels and volume": ("specificity", "accuracy", "volume_error", "volume_bias"),
    "Boundary": ("hd95", "assd", "nsd", "boundary_iou", "cldice"),
    "Objects": ("object_f1", "pq"),
}
"""Scores that are shown side by side."""

AVERAGING = {"per_image": "Per image", "pooled": "Pooled"}


def groups_of(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups, with the measures in them, that `<metric>_<averaging>` keys or metric names belong to."""
    found = {measure_of(key) for key in keys}
    present = {name: tuple(metric for metric in metrics if metric in found) for name, metrics in GROUPS.items()}
    return {name: metrics for name, metrics in present.items() if metrics}


def measure_of(key: str) -> str:
    """`hd95` of `hd95_per_image`; a bare name stays."""
    return next((key.removesuffix(f"_{averaging}") for averaging in AVERAGING if key.endswith(f"_{averaging}")), key)
