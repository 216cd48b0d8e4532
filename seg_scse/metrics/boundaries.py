"""Where a mask ends: its boundary pixels, and the band along its boundary."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]

BAND_SHARE = 0.02
"""Width of the band of boundary IoU, as a share of the image's diagonal (Cheng et al. 2021, section 4)."""

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def boundary(mask: Mask, ignored: Mask | None = None) -> Mask:
    """Mark the pixels of a mask that have one of their 4 neighbours outside of it.

    Beyond the frame is outside, so an object cut by the frame has a boundary there (as with scipy's `binary_erosion`,
    MONAI and MetricsReloaded). An ignored pixel is not outside: a pixel of the mask whose other neighbours are all in
    the mask or ignored is no boundary, because nobody knows whether the object ends there.

    Args:
        mask: uint8 (h, w) of 0 and 1, 0 where ignored; may be cut out of an image where nothing of the mask is lost.
        ignored: uint8 (h, w) of 0 and 1, at least one pixel wider than the mask where the image is.

    Returns:
        uint8 (h, w) of 0 and 1.
    """
    return _within(mask, ignored, CROSS)


def band(mask: Mask, width: int, ignored: Mask | None = None) -> Mask:
    """Mark the pixels of a mask that are at most `width` pixels from its outside.

    The distance counts diagonal steps as one, and beyond the frame is outside: `mask_to_boundary` of Cheng et al.
    (Boundary IoU, CVPR 2021), `width` erosions with a 3 x 3 square of the mask padded by zeros. An ignored pixel is
    not outside.

    Args:
        mask: uint8 (h, w) of 0 and 1, 0 where ignored; may be cut out of an image where nothing of the mask is lost.
        width: at least 1.
        ignored: uint8 (h, w) of 0 and 1, at least `width` pixels wider than the mask where the image is.

    Returns:
        uint8 (h, w) of 0 and 1.
    """
    side = 2 * width + 1
    return _within(mask, ignored, np.ones((side, side), np.uint8))


def band_width(height: int, width: int) -> int:
    """The width in pixels of the band of boundary IoU for an image of this size; at least 1."""
    return max(1, round(BAND_SHARE * math.hypot(height, width)))


def _within(mask: Mask, ignored: Mask | None, kernel: Mask) -> Mask:
    """The pixels of the mask that erosion takes away, ignored pixels counted as inside."""
    inside = mask if ignored is None else mask | ignored
    kept: Mask = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~kept
