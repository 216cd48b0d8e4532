"""Histogram geometry of the Dice per image, for the page's inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 40
WIDTH, HEIGHT = 1000, 100
"""Size of the drawing's own coordinates; x = 1000 * Dice, y downwards."""


@dataclass(frozen=True)
class Distribution:
    """How the Dice of one class is spread over the images that score it.

    `bars` are (x, y, height) in drawing coordinates; `quartiles` are scores in [0, 1], empty without images; `highest`
    is the number of images in the tallest bar; `ticks` is the SVG path of one mark per image; `interval` is that of the
    mean, where there is one.
    """

    scored: int
    highest: int
    quartiles: tuple[float, ...]
    bars: tuple[tuple[float, float, float], ...]
    ticks: str
    mean: float | None = None
    interval: tuple[float, float] | None = None


def distribute(
    values: Sequence[float | None], mean: float | None = None, interval: tuple[float, float] | None = None
) -> Distribution:
    """Sort the scores (share in [0, 1]; None = not scored) into 40 bins of 0.025; `mean` and `interval` are kept."""
    scores = np.array([value for value in values if value is not None], dtype=np.float64)
    if scores.size == 0:
        return Distribution(0, 0, (), (), "")
    frequency, _ = np.histogram(scores, bins=BINS, range=(0.0, 1.0))
    highest = int(frequency.max())
    heights = [round(HEIGHT * int(number) / highest, 1) for number in frequency]
    bars = tuple((i * WIDTH / BINS, HEIGHT - height, height) for i, height in enumerate(heights) if height)
    places = sorted({round(WIDTH * float(value)) for value in scores})
    return Distribution(
        scored=scores.size,
        highest=highest,
        quartiles=tuple(float(q) for q in np.percentile(scores, (25, 50, 75))),
        bars=bars,
        ticks="".join(f"M{x} 0V1" for x in places),
        mean=mean,
        interval=interval,
    )
