"""Training crops and augmentation, the only module that knows albumentations.

Every call is given its seed, so a draw depends on nothing else: not on the process, the worker or earlier calls.
What each preset does, with its numbers, is in docs/augmentation.md.
"""

import math
import os
import random
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX, AugmentationConfig
from seg_scse.data.crops import Pixel, start_around
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.raster import Array

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would open a connection
import albumentations as A

Mask = NDArray[np.uint8]

_SMALLEST_SCALE, _LARGEST_SCALE, _ROTATION = 0.8, 1.25, 45.0
_SLACK = 16  # pixels around the crop that elastic distortion may pull in


def _window_side(crop: int) -> int:
    """Side of the square that holds a `crop` square turned by the largest angle and shrunk by the smallest scale."""
    angle = math.radians(_ROTATION)
    side = math.ceil(crop * (math.cos(angle) + math.sin(angle)) / _SMALLEST_SCALE) + 2
    return side + (side - crop) % 2


def _affine() -> A.Affine:
    return A.Affine(
        scale=(_SMALLEST_SCALE, _LARGEST_SCALE),
        balanced_scale=True,
        rotate=(-_ROTATION, _ROTATION),
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill_mask=IGNORE_INDEX,
        p=0.75,
    )


def _distortion() -> A.OneOf:
    mask = {"mask_interpolation": cv2.INTER_NEAREST, "fill_mask": IGNORE_INDEX}
    # normalised Gaussian noise of sigma 8 has a standard deviation of 0.035, so alpha 100 moves a pixel by about 3.5
    elastic = A.ElasticTransform(alpha=100, sigma=8, p=1, **mask)
    return A.OneOf([elastic, A.GridDistortion(num_steps=5, distort_limit=(-0.2, 0.2), p=1, **mask)], p=0.3)


def _brightness() -> list[A.BasicTransform | A.BaseCompose]:
    return [
        A.RandomBrightnessContrast(brightness_limit=(-0.15, 0.15), contrast_limit=(-0.15, 0.15), p=0.5),
        A.RandomGamma(gamma_limit=(80, 125), p=0.3),
    ]


def _colour() -> list[A.BasicTransform | A.BaseCompose]:
    # saturation and hue leave one-channel images, and grey ones repeated in three channels, as they are
    return [A.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=(0.7, 1.3), hue=(-0.04, 0.04), p=0.3)]


def _blur_noise() -> list[A.BasicTransform | A.BaseCompose]:
    return [
        A.GaussianBlur(sigma_limit=(0.4, 1.5), p=0.2),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
    ]


def _steps(preset: str, crop: int, colour: bool) -> list[A.BasicTransform | A.BaseCompose]:
    symmetry, cut = A.D4(p=1), A.CenterCrop(crop, crop)
    if preset == "none":
        return []
    if preset == "flips":
        return [symmetry]
    if preset == "light":
        return [_affine(), cut, symmetry, *_brightness()]
    # only what distortion can pull in is distorted: its cost grows with the area
    wide_cut = A.CenterCrop(crop + 2 * _SLACK, crop + 2 * _SLACK)
    tinted = _colour() if colour else []
    return [_affine(), wide_cut, _distortion(), cut, symmetry, *_brightness(), *tinted, *_blur_noise()]


def _start(length: int, crop: int, pixel: int | None, rng: np.random.Generator) -> int:
    """Draw where a crop begins along an axis: inside the image where it fits, else anywhere around it."""
    free = length - crop
    if pixel is not None and free > 0:
        return start_around(pixel, length, crop, rng)
    return int(rng.integers(min(free, 0), max(free, 0) + 1))


def _window(
    image: ArrayLike, mask: ArrayLike, crop: int, side: int, rng: np.random.Generator, around: Pixel | None
) -> tuple[Array, Mask]:
    """Cut the `side` square around a crop; what lies outside is reflected image and ignored mask.

    The crop lies inside the image along each axis where it fits, and holds the whole axis where it does not.
    """
    start, inside, outside = [], [], []
    for length, pixel in zip(mask.shape, around or (None, None), strict=True):
        start.append(_start(length, crop, pixel, rng) - (side - crop) // 2)
        inside.append(slice(max(start[-1], 0), min(start[-1] + side, length)))
        outside.append((inside[-1].start - start[-1], start[-1] + side - inside[-1].stop))
    # copies: samples may be read-only maps of a file
    pixels, labels = np.array(image[inside[0], inside[1]]), np.array(mask[inside[0], inside[1]])
    if outside == [(0, 0), (0, 0)]:
        return pixels, labels
    (top, bottom), (left, right) = outside
    border = (top, bottom, left, right)
    padded = cv2.copyMakeBorder(pixels, *border, cv2.BORDER_REFLECT_101).reshape(side, side, pixels.shape[2])
    return padded, cv2.copyMakeBorder(labels, *border, cv2.BORDER_CONSTANT, value=IGNORE_INDEX)


class Transform:
    """A random square crop and the augmentation of one preset; made by `build_transform`. Can be pickled."""

    def __init__(self, steps: list[A.BasicTransform | A.BaseCompose], crop: int, side: int) -> None:
        self._crop, self._side = crop, side
        self._compose = A.Compose(steps)

    def __call__(self, image: ArrayLike, mask: ArrayLike, seed: int, around: Pixel | None = None) -> tuple[Array, Mask]:
        """Draw one training sample; only the window that is needed is read.

        Args:
            image: uint8, or float32 in [0, 1], `(H, W, C)` with any number of channels, any height and width from 1
                pixel. Not changed.
            mask: uint8 `(H, W)` class indices or `IGNORE_INDEX`. Not changed.
            seed: non-negative; equal seeds give equal draws in every process.
            around: pixel (row, column) that the crop holds before it is augmented; None for a crop anywhere.

        Returns:
            Contiguous image `(crop, crop, C)` of the same type and range, and uint8 mask `(crop, crop)`. Pixels that
            come from outside the image are reflected in the image and `IGNORE_INDEX` in the mask; no label is
            interpolated.
        """
        rng = np.random.default_rng(seed)
        pixels, labels = _window(image, mask, self._crop, self._side, rng, around)
        # Not `set_random_seed`: it gives every step its own generator with the same seed, so that all steps would
        # draw the same numbers. One generator passed through the steps keeps them independent.
        self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))  # noqa: S311 - not for secrets
        drawn = self._compose(image=pixels, mask=labels)
        return np.ascontiguousarray(drawn["image"]), np.ascontiguousarray(drawn["mask"])


def build_transform(config: AugmentationConfig, crop: int, colour: bool = True) -> Transform:
    """Build the training transform of a preset.

    Args:
        config: names the preset: `none`, `flips`, `light` or `medium`.
        crop: side of the square crop in pixels.
        colour: the channels are grey or red, green and blue, so that saturation and hue mean something.
    """
    side = {"none": crop, "flips": crop, "light": _window_side(crop), "medium": _window_side(crop + 2 * _SLACK)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # albumentations only warns about an argument it does not know
        return Transform(_steps(config.preset, crop, colour), crop, side[config.preset])
