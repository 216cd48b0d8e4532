"""What replacing gates did to the scores: paired changes of Dice, and what they say about each gate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seg_scse.metrics.counts import CountsTable
from seg_scse.metrics.scores import Empty, foreground_score, per_image_scores
from seg_scse.metrics.statistics import Interval, paired_interval

INTERVENTIONS = ("identity", "mean", "other", "shuffled")
ALL = "all"
"""Name of the row where all gates are replaced at once."""
Cell = tuple[str, str]
"""A row of the table (site or `all`) and an intervention."""
UNTOUCHED: Cell = (ALL, "untouched")
RESAMPLES = 10_000
LEVEL = 0.95
LEAST_UNITS = 20
"""Fewest independent units for a verdict: of fewer, the interval is too narrow, and rare failures are absent."""


def verdict(change: Interval, margin: float) -> str:
    """Say what the change of Dice by freezing a gate at its mean tells about the gate.

    `free to fold`: the interval lies within the margin, so that a constant does as well (equivalence by interval; it
    comes first: a change can be certain and too small to matter); `earns its place`: the interval lies below 0;
    `better frozen`: above 0; otherwise, and always with fewer than `LEAST_UNITS` units, `undecided`.
    """
    if change.low is None or change.high is None or change.n < LEAST_UNITS:
        return "undecided"
    if -margin <= change.low and change.high <= margin:
        return "free to fold"
    if change.high < 0:
        return "earns its place"
    return "better frozen" if change.low > 0 else "undecided"


@dataclass(frozen=True)
class Effects:
    """The counts of all cells, and how they are scored.

    Attributes:
        tables: by cell; `UNTOUCHED` among them. All have the same images in the same order.
        classes: class names in index order.
        empty: the policy of `metrics.scores.image_scores`.
        groups: the independent unit of each image, None where each stands for itself.
        seed: seed of the resampling.
        margin: change of the mean Dice within which a gate counts as free to fold.
    """

    tables: Mapping[Cell, CountsTable]
    classes: Sequence[str]
    empty: Empty
    groups: Sequence[str] | None
    seed: int
    margin: float

    def dice(self, cell: Cell) -> list[float | None]:
        """Foreground Dice of each image; None where it is not scored."""
        rows = per_image_scores(self.tables[cell], self.classes, self.empty)
        return [None if row["dice_foreground"] is None else float(row["dice_foreground"]) for row in rows]

    def averages(self, cell: Cell) -> dict[str, float | None]:
        """Mean over the images, and pooled over all pixels."""
        return {
            name: foreground_score(self.tables[cell], name, self.empty) for name in ("dice_per_image", "dice_pooled")
        }

    def change(self, cell: Cell) -> Interval:
        """Compare with the untouched network image by image; images without one of the two scores are left out."""
        pairs = list(zip(self.dice(cell), self.dice(UNTOUCHED), strict=True))
        places = [place for place, pair in enumerate(pairs) if None not in pair]
        differences = [after - before for after, before in pairs if after is not None and before is not None]
        groups = None if self.groups is None else [self.groups[place] for place in places]
        return paired_interval(differences, groups, RESAMPLES, self.seed, LEVEL)

    def row(self, name: str, kind: str) -> dict[str, Any]:
        """Return the row of a site, or of all, in the form of `table` in interventions.json."""
        cells = [(name, intervention) for intervention in INTERVENTIONS if (name, intervention) in self.tables]
        changes = {cell: self.change(cell) for cell in cells}
        mean = changes.get((name, "mean"))
        few = mean is not None and mean.n < LEAST_UNITS
        return {
            "site": name,
            "kind": kind,
            "interventions": {cell[1]: {**self.averages(cell), "change": asdict(changes[cell])} for cell in cells},
            "verdict": None if mean is None else verdict(mean, self.margin),
            "reason": f"fewer than {LEAST_UNITS} {'images' if self.groups is None else 'groups'}" if few else "",
        }
