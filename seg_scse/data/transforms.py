"""Training crops and augmentation, the only module that knows albumentations.

Every call is given its seed, so a draw depends on nothing else: not on the process, the worker or earlier calls.
What each preset does, with its numbers, is in docs/augmentation.md.
"""

import os
import random
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX, AugmentationConfig
from seg_scse.data.crops import Pixel
from seg_scse.data.files.raster import Array
from seg_scse.data.geometry import (
    Symmetry,
    cut,
    random_affine,
    random_corner,
    random_mirrors,
    random_similarity,
    random_symmetry,
    warp,
)
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.transforms_heavy import vary

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would open a connection
import albumentations as A

Mask = NDArray[np.uint8]

_SLACK = 16  # pixels around the crop that elastic distortion may pull in
_SHARE_MOVED, _SHARE_BRIGHTENED, _SHARE_GAMMA, _SHARE_DISTORTED = 0.75, 0.5, 0.3, 0.3


def _distortion() -> A.OneOf:
    mask = {"mask_interpolation": cv2.INTER_NEAREST, "fill_mask": IGNORE_INDEX}
    # normalised Gaussian noise of sigma 8 has a standard deviation of 0.035, so alpha 100 moves a pixel by about 3.5
    elastic = A.ElasticTransform(alpha=100, sigma=8, p=1, **mask)
    return A.OneOf([elastic, A.GridDistortion(num_steps=5, distort_limit=(-0.2, 0.2), p=1, **mask)], p=1)


def _colour() -> A.ColorJitter:
    # saturation and hue leave one-channel images, and grey ones repeated in three channels, as they are
    return A.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=(0.7, 1.3), hue=(-0.04, 0.04), p=0.3)


def _blur_noise() -> list[A.BasicTransform | A.BaseCompose]:
    return [A.GaussianBlur(sigma_limit=(0.4, 1.5), p=0.2), A.GaussNoise(std_range=(0.01, 0.05), p=0.2)]


def _toned(image: Array, rng: np.random.Generator) -> Array:
    """Change brightness and contrast, and gamma: one table lookup for uint8."""
    contrast, brightness, gamma = 1.0, 0.0, 1.0
    if rng.random() < _SHARE_BRIGHTENED:
        contrast, brightness = 1 + rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)
    if rng.random() < _SHARE_GAMMA:
        gamma = rng.uniform(0.8, 1.25)
    if (contrast, brightness, gamma) == (1.0, 0.0, 1.0):
        return image
    levels = np.arange(256) / 255 if image.dtype == np.uint8 else image
    levels = np.clip(levels * contrast + brightness, 0, 1)
    if gamma != 1:
        levels = levels**gamma
    if image.dtype != np.uint8:
        return levels.astype(image.dtype, copy=False)
    table = np.rint(levels * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image.reshape(-1), table)).reshape(image.shape)


class _Steps:
    """Steps of albumentations on image and mask, drawn from a given generator."""

    def __init__(self, steps: list[A.BasicTransform | A.BaseCompose]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns about an argument it does not know
            self._compose = A.Compose(steps)

    def __call__(self, image: Array, mask: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        # Not `set_random_seed`: it gives every step its own generator with the same seed, so that all steps would
        # draw the same numbers. One generator passed through the steps keeps them independent.
        self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))  # noqa: S311 - not for secrets
        drawn = self._compose(image=image, mask=mask)
        return drawn["image"], drawn["mask"]


class Transform:
    """A random square crop and the augmentation of one preset; made by `build_transform`. Can be pickled."""

    def __init__(self, preset: str, crop: int, colour: bool) -> None:
        self._crop = crop
        self._turns, self._moves, self._is_medium = preset != "none", preset in ("light", "medium"), preset == "medium"
        self._is_heavy = preset == "heavy"
        self._distortion = _Steps([_distortion()])
        self._finish = _Steps([*([_colour()] if colour else []), *_blur_noise()])

    def __call__(self, image: ArrayLike, mask: ArrayLike, seed: int, around: Pixel | None = None) -> tuple[Array, Mask]:
        """Draw one training sample.

        Args:
            image: `(H, W, C)`, uint8 or float32 in [0, 1], any number of channels, any height and width from 1 pixel.
                Not changed. One window is read, the smallest that holds what the draw needs.
            mask: uint8 `(H, W)` class indices or bits of labels, or `IGNORE_INDEX`. Not changed.
            seed: non-negative; equal seeds give equal draws in every process.
            around: pixel (row, column) that the crop holds before it is augmented; None for a crop anywhere.

        Returns:
            Contiguous image `(crop, crop, C)` of the same type and mask `(crop, crop)`. Pixels that come from outside
            the image are reflected in the image and `IGNORE_INDEX` in the mask; no label is interpolated.
        """
        rng = np.random.default_rng(seed)
        pixels, labels = self._placed(image, mask, random_corner(mask.shape, self._crop, rng, around), rng)
        if self._moves:
            pixels = _toned(pixels, rng)
        if self._is_medium:
            pixels, labels = self._finish(pixels, labels, rng)
        if self._is_heavy:
            pixels = vary(pixels, rng)
        return np.ascontiguousarray(pixels), np.ascontiguousarray(labels)

    def _move(self, rng: np.random.Generator) -> tuple[Symmetry, Array | None]:
        """Draw how the crop is turned, and how it is scaled and rotated, if at all."""
        if self._is_heavy:
            return random_mirrors(rng), random_similarity(rng)
        symmetry = random_symmetry(rng) if self._turns else Symmetry()
        return symmetry, random_affine(rng) if self._moves and rng.random() < _SHARE_MOVED else None

    def _placed(self, image: ArrayLike, mask: ArrayLike, corner: Pixel, rng: np.random.Generator) -> tuple[Array, Mask]:
        symmetry, affine = self._move(rng)
        distorted = self._is_medium and rng.random() < _SHARE_DISTORTED
        slack = _SLACK if distorted else 0  # only what distortion can pull in: its cost grows with the area
        place, side = (corner[0] - slack, corner[1] - slack), self._crop + 2 * slack
        if affine is None:
            pixels, labels = cut(image, mask, place, side, symmetry)
        else:
            pixels, labels = warp(image, mask, place, side, symmetry, affine)
        if distorted:
            pixels, labels = self._distortion(pixels, labels, rng)
            inner = slice(slack, slack + self._crop)
            pixels, labels = pixels[inner, inner], labels[inner, inner]
        return pixels, labels


def build_transform(config: AugmentationConfig, crop: int, colour: bool = True) -> Transform:
    """Build the training transform of a preset.

    Args:
        config: names the preset: `none`, `flips`, `light`, `medium` or `heavy`.
        crop: side of the square crop in pixels.
        colour: the channels are grey or red, green and blue, so that saturation and hue mean something.
    """
    return Transform(config.preset, crop, colour)
