"""Parts of a figure that shows the gates of a study's variants on one image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating[Any]]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class GateStage:
    """What one gate did on the image.

    Attributes:
        site: its name, such as `decoder.5`.
        cells: (h, w) of the feature map of the whole tile.
        gain: the largest value that its gates can take.
        before: (h', w') mean over the channels of the absolute feature map, of the cells that lie in the image.
        after: the same behind the gate.
        channel: (C,) channel gates, or None.
        spatial: (h', w') spatial gate, or None.
    """

    site: str
    cells: tuple[int, int]
    gain: float
    before: Map
    after: Map
    channel: Map | None
    spatial: Map | None


@dataclass(frozen=True)
class GateRow:
    """A variant on the image.

    Attributes:
        variant: its name.
        lines: what is to be known about it.
        prediction: (H, W) uint8 class indices, or bits of labels.
        tile: side in pixels of the tile that its network sees; H and W are at most that.
        stages: its gates in the order of the network, at least one.
        inseparable: kinds of its gates that have no channel or spatial gate by themselves.
    """

    variant: str
    lines: tuple[str, ...]
    prediction: Labels
    tile: int
    stages: tuple[GateStage, ...]
    inseparable: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateFigure:
    """One image, or a tile of it, and the gates of every variant there.

    Attributes:
        id: of the image.
        place: what is shown of it, in a sentence.
        image: (H, W, 3) uint8.
        truth: (H, W) uint8 class indices, or bits of labels (`multilabel`).
        task: `multiclass` or `multilabel`.
        rows: a variant each.
    """

    id: str
    place: str
    image: NDArray[np.uint8]
    truth: Labels
    task: str
    rows: tuple[GateRow, ...]

    @property
    def gain(self) -> float:
        """Upper end of the scale that all gates are drawn in."""
        return max(stage.gain for row in self.rows for stage in row.stages)
