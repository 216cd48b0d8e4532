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
    inside = mask if ignored is None else mask | ignored
    kept: Mask = cv2.erode(inside, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~kept


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
    inside = mask if ignored is None else mask | ignored
    return mask & ~_box_eroded(inside, width)


def band_width(height: int, width: int) -> int:
    """The width in pixels of the band of boundary IoU for an image of this size; at least 1."""
    return max(1, round(BAND_SHARE * math.hypot(height, width)))


def _box_eroded(inside: Mask, width: int) -> Mask:
    """The pixels without an outside one in the square of `width` pixels around them; beyond the frame is outside.

    The span doubles with each step, so that a band of hundreds of pixels in a large scene takes a few more steps than a
    narrow one; cv2's erosion takes as many as the band is wide.
    """
    kept: Mask = cv2.copyMakeBorder(inside, width, width, width, width, cv2.BORDER_CONSTANT, value=0)
    for axis in (0, 1):
        span = 1
        while span <= 2 * width:
            step = min(span, 2 * width + 1 - span)
            kept = kept[step:] & kept[:-step] if axis == 0 else kept[:, step:] & kept[:, :-step]
            span += step
    return kept
