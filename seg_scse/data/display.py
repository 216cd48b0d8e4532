"""Images of any bands as pictures for people."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DISPLAYED = (2.0, 98.0)
"""Percentiles of a band that become black and white where values are not 8-bit."""


def displayed(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the first three bands of an image as red, green and blue, or the first of fewer as grey.

    Args:
        image: `(H, W, C)`. uint8 values are shown as they are; of others each band is stretched between two percentiles
            (`DISPLAYED`), so that the picture tells nothing about brightness.

    Returns:
        uint8 `(H, W, 3)`, or `(H, W, 1)` where there are fewer than three bands.
    """
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    return shown if shown.dtype == np.uint8 else _stretched(shown)


def _stretched(image: NDArray[Any]) -> NDArray[np.uint8]:
    step = max(1, max(image.shape[:2]) // 1000)  # percentiles of a million pixels are as good
    low, high = np.percentile(image[::step, ::step], DISPLAYED, axis=(0, 1))
    width = np.where(high > low, high - low, 1)
    levels: NDArray[np.uint8] = np.rint(np.clip((image - low) / width, 0, 1) * 255).astype(np.uint8)
    return levels
