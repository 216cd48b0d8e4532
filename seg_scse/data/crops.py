"""Where training crops lie: around pixels of classes that random crops would seldom show."""

from typing import Literal

import numpy as np

from seg_scse.data.places import Places

Pixel = tuple[int, int]


class Placement:
    """Chooses the pixel that a crop must hold. A pure function of its arguments; can be pickled.

    Args:
        crops: foreground: a pixel that is not background, all equally likely (twice as much where two labels are);
            class: first a class, all that the image holds equally likely, background too, then one of its pixels.
        share: share of the crops that are placed so; the others lie anywhere.
    """

    def __init__(self, crops: Literal["foreground", "class"], share: float) -> None:
        self._crops, self._share = crops, share

    def pixel(self, places: Places, rng: np.random.Generator) -> Pixel | None:
        """Choose a pixel `(row, column)`; None where the crop may lie anywhere.

        Args:
            places: pixels of the classes of one mask.
            rng: generator of this draw alone.
        """
        if rng.random() >= self._share:
            return None
        labels = [label for label in places.pixels if label or self._crops == "class"]
        if not labels:
            return None
        weights = [places.counts[label] if self._crops == "foreground" else 1 for label in labels]
        chosen = places.pixels[labels[int(rng.choice(len(labels), p=np.divide(weights, sum(weights))))]]
        row, column = chosen[rng.integers(len(chosen))].tolist()
        return row, column


def start_around(pixel: int, length: int, crop: int, rng: np.random.Generator) -> int:
    """Draw where a crop begins along an axis so that it holds a pixel, anywhere in it, and lies inside the image.

    Args:
        pixel: coordinate of the pixel.
        length: of the image along the axis, at least `crop`.
        crop: side of the crop.
        rng: generator of this draw.
    """
    return int(rng.integers(max(0, pixel - crop + 1), min(pixel, length - crop) + 1))
