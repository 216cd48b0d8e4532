"""Where the pixels of a training crop come from: position, scale, rotation and symmetry in one lookup by OpenCV.

Only the part of the image that a draw needs is read. What lies outside the image is reflected in the image and ignored
in the mask; no label is interpolated.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.data.crops import Pixel, start_around
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike

_SMALLEST_SCALE, _LARGEST_SCALE, _ROTATION = 0.8, 1.25, math.pi / 4
_SHARE_TURNED, _SHARE_SCALED, _CLOSEST, _FARTHEST = 0.2, 0.2, 0.7, 1.4  # those of nnU-Net
_MOST_TRANSPOSED = 4  # channels that OpenCV transposes


@dataclass(frozen=True)
class Symmetry:
    """One of the 8 symmetries of the square: transposed first, then flipped."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def matrix(self) -> Array:
        """Map (x, y) relative to the centre of the result to (x, y) relative to the centre of the original."""
        flip = np.diag([-1.0 if self.mirrored else 1.0, -1.0 if self.upside_down else 1.0])
        return flip[::-1] if self.transposed else flip

    def of(self, pixels: Array) -> Array:
        """Return a turned copy of a square `(S, S, C)` or `(S, S)`. In numpy, it would take ten times as long."""
        turned: Array = _transposed(pixels) if self.transposed else pixels
        if self.upside_down or self.mirrored:
            turned = cv2.flip(turned, int(self.mirrored) - int(self.upside_down and self.mirrored) * 2)
        elif not self.transposed:
            turned = pixels.copy()
        return turned.reshape(pixels.shape)


def _transposed(pixels: Array) -> Array:
    if pixels.ndim == 3 and pixels.shape[2] > _MOST_TRANSPOSED:
        return np.ascontiguousarray(pixels.swapaxes(0, 1))
    return np.asarray(cv2.transpose(pixels))


def random_corner(
    shape: tuple[int, ...], crop: int, rng: np.random.Generator, around: Pixel | None = None
) -> tuple[int, int]:
    """Draw a corner so that the crop lies inside the image along each axis where it fits, and holds the axis else.

    Args:
        shape: `(H, W)` or `(H, W, C)` of the image.
        crop: side of the crop in pixels.
        rng: random numbers; two are drawn.
        around: pixel (row, column) that the crop shall hold; None for a crop anywhere.

    Returns:
        Row and column of the crop's first pixel; outside the image where the crop sticks out.
    """
    (height, width), (row, column) = shape[:2], around or (None, None)
    return _start(height, crop, row, rng), _start(width, crop, column, rng)


def _start(length: int, crop: int, pixel: int | None, rng: np.random.Generator) -> int:
    free = length - crop
    if pixel is not None and free > 0:
        return start_around(pixel, length, crop, rng)
    return int(rng.integers(min(free, 0), max(free, 0) + 1))


def random_symmetry(rng: np.random.Generator) -> Symmetry:
    """Draw one of the 8 symmetries of the square, equally likely."""
    number = int(rng.integers(8))
    return Symmetry(bool(number & 1), bool(number & 2), bool(number & 4))


def random_affine(rng: np.random.Generator) -> Array:
    """Draw a scale for each axis, 0.8 to 1.25, and a rotation, -45 to 45 degrees.

    Enlarging and shrinking are equally likely.

    Returns:
        `(2, 2)`: (x, y) relative to the centre of the crop -> (x, y) relative to the same place in the image.
    """
    bounds = np.where(rng.random(2) < 0.5, _SMALLEST_SCALE, _LARGEST_SCALE)
    scale = 1 + rng.random(2) * (bounds - 1)
    angle = float(rng.uniform(-_ROTATION, _ROTATION))
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(np.array([[cos, -sin], [sin, cos]]) / scale[:, None])


def random_mirrors(rng: np.random.Generator) -> Symmetry:
    """Mirror along each axis with probability 1/2, as nnU-Net does."""
    upside_down, mirrored = (rng.random(2) < 0.5).tolist()
    return Symmetry(False, upside_down, mirrored)


def random_similarity(rng: np.random.Generator) -> Array | None:
    """Draw rotation and scale as nnU-Net does for square 2-D patches.

    Rotation by -180 to 180 degrees and, independently, scale 0.7 to 1.4 of the distance between pixels, each with
    probability 0.2 (`SpatialTransform` of batchgeneratorsv2 as nnUNetTrainer sets it).

    Returns:
        As `random_affine`; None where neither is drawn.
    """
    turned, scaled = (rng.random(2) < (_SHARE_TURNED, _SHARE_SCALED)).tolist()
    angle = float(rng.uniform(-math.pi, math.pi)) if turned else 0.0
    scale = float(rng.uniform(_CLOSEST, _FARTHEST)) if scaled else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) * scale if turned or scaled else None


def cut(image: ArrayLike, mask: ArrayLike, corner: Pixel, side: int, symmetry: Symmetry) -> tuple[Array, Array]:
    """Cut a square and turn it, pixel by pixel.

    Args:
        image: `(H, W, C)`.
        mask: `(H, W)`.
        corner: row and column of the square's first pixel; may lie outside the image.
        side: of the square, in pixels.
        symmetry: how to turn it.

    Returns:
        Copies: image `(side, side, C)` and mask `(side, side)`.
    """
    spans = [(start, start + side, length) for start, length in zip(corner, mask.shape, strict=True)]
    if all(start >= 0 and end <= length for start, end, length in spans):
        window = (slice(*spans[0][:2]), slice(*spans[1][:2]))
        return symmetry.of(np.asarray(image[window])), symmetry.of(np.asarray(mask[window]))
    rows, cols = (_needed(*span) for span in spans)
    (row, hidden_rows), (col, hidden_cols) = (_reflected(*span) for span in spans)
    places = np.ix_(row - rows.start, col - cols.start)
    labels = np.asarray(mask[rows, cols])[places]
    labels[hidden_rows], labels[:, hidden_cols] = IGNORE_INDEX, IGNORE_INDEX
    return symmetry.of(np.asarray(image[rows, cols])[places]), symmetry.of(labels)


def warp(
    image: ArrayLike, mask: ArrayLike, corner: Pixel, side: int, symmetry: Symmetry, affine: Array
) -> tuple[Array, Array]:
    """Like `cut`, scaled and rotated about the centre of the square; the image by bilinear interpolation.

    Args:
        image: `(H, W, C)`.
        mask: `(H, W)`.
        corner: of the square before it is scaled and rotated.
        side: of the square, in pixels.
        symmetry: how to turn it.
        affine: as `random_affine` returns it.
    """
    half = (side - 1) / 2
    linear = affine @ symmetry.matrix()
    centre = np.array([corner[1] + half, corner[0] + half])
    reach = np.abs(linear).sum(1) * half  # from the centre to the farthest pixel, along x and y
    cols, rows = (
        _needed(math.floor(middle - far) - 1, math.ceil(middle + far) + 2, length)
        for middle, far, length in zip(centre, reach, mask.shape[1::-1], strict=True)
    )
    origin = centre - linear @ (half, half) - (cols.start, rows.start)
    matrix = np.column_stack([linear, origin])
    pixels = np.asarray(image[rows, cols])
    warped = _looked_up(pixels, matrix, side, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    labels = _looked_up(np.asarray(mask[rows, cols]), matrix, side, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    return warped.reshape(side, side, pixels.shape[2]), labels


def _looked_up(pixels: Array, matrix: Array, side: int, interpolation: int, border: int) -> Array:
    flags = interpolation | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(pixels, matrix, (side, side), flags=flags, borderMode=border, borderValue=IGNORE_INDEX)
    return np.asarray(found)


def _reflected(start: int, end: int, length: int) -> tuple[Array, Array]:
    """Return the place inside an axis of each place from `start` to `end`, and which of them lie outside.

    A place outside mirrors one inside; the edge itself is not repeated.
    """
    places = np.arange(start, end)
    period = max(2 * length - 2, 1)
    folded = places % period
    return np.minimum(folded, period - folded) % length, (places < 0) | (places >= length)


def _needed(start: int, end: int, length: int) -> slice:
    """Return the part of an axis that holds `start` to `end` and what is reflected into it."""
    low = max(min(start, 2 * length - 1 - end), 0)
    high = min(max(end, 1 - start), length)
    return slice(low, max(high, low + 1))
