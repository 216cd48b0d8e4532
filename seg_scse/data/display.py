"""Images of any bands as pictures for people."""

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.bands import strips
from seg_scse.data.lazy import ArrayLike

DISPLAYED = (2.0, 98.0)
"""Percentiles of a band that become black and white where values are not 8-bit."""


def displayed(image: ArrayLike, channels: slice = slice(None)) -> NDArray[np.uint8]:
    """Draw the first three bands of an image as red, green and blue, or the first of fewer as grey.

    Args:
        image: `(H, W, C)`. uint8 values are shown as they are; of others each band is stretched between two percentiles
            (`DISPLAYED`), so that the picture tells nothing about brightness. These are read strip by strip.
        channels: those of the image that are its bands; the others are neighbouring slices (`DataConfig.own_channels`).

    Returns:
        uint8 `(H, W, 3)`, or `(H, W, 1)` where there are fewer than three bands.
    """
    first, last, _ = channels.indices(image.shape[2])
    count = 3 if last - first >= 3 else 1
    drawn = slice(first, first + count)
    return np.asarray(image)[..., drawn] if image.dtype == np.uint8 else _stretched(image, drawn)


def _stretched(image: ArrayLike, drawn: slice) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    step = max(1, max(height, width) // 1000)  # percentiles of a million pixels are as good
    sampled = np.asarray(image[::step, ::step])[..., drawn]
    low, high = np.percentile(sampled, DISPLAYED, axis=(0, 1))
    spread = np.where(high > low, high - low, 1)
    levels = np.empty((height, width, drawn.stop - drawn.start), np.uint8)
    for rows in strips(height, width):
        part = np.asarray(image[rows, :])[..., drawn]
        levels[rows] = np.rint(np.clip((part - low) / spread, 0, 1) * 255)
    return levels
