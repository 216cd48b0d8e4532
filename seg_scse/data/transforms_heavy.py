"""How the preset `heavy` changes values: the intensity transforms of nnU-Net v2, in its order, with its probabilities.

Source of steps, order and numbers: MIC-DKFZ/nnUNet, nnunetv2/training/nnUNetTrainer/nnUNetTrainer.py,
`get_training_transforms`; of what each step does: MIC-DKFZ/batchgeneratorsv2, transforms/{intensity,noise,spatial}.
docs/augmentation.md lists the differences. All of them work on planes `(H, W)` of one channel each, float32.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.raster import Array

Plane = NDArray[np.float32]
Planes = list[Plane]

_MOST_NOISE = 0.1  # standard deviation, of the range
_BLUR = (0.5, 1.0)  # sigma in pixels
_BRIGHTNESS = _CONTRAST = (0.75, 1.25)
_GAMMA = (0.7, 1.5)
_LOWEST_RESOLUTION = 0.5
_SMALLEST_RANGE = 1e-7


def vary(image: Array, rng: np.random.Generator) -> Array:
    """Draw which steps are taken, and take them.

    Args:
        image: `(H, W, C)`, uint8 or float32 in [0, 1], any number of channels. Not changed.
        rng: generator of this draw.

    Returns:
        Of the same shape and type, clipped to [0, 1]; the image itself where no step is taken.
    """
    taken = [step for share, step in _STEPS if rng.random() < share]
    if not taken:
        return image
    scale = np.float32(255 if image.dtype == np.uint8 else 1)
    planes = [np.divide(image[..., channel], scale, dtype=np.float32) for channel in range(image.shape[2])]
    for step in taken:
        planes = step(planes, rng)
    return _joined(planes, image)


def _joined(planes: Planes, image: Array) -> Array:
    """Stack planes to an image of the type of another one."""
    result = np.empty_like(image, order="C")
    for channel, plane in enumerate(planes):
        if image.dtype == np.uint8:
            # rounds and saturates in one pass
            result[..., channel] = cv2.convertScaleAbs(np.maximum(plane, 0), alpha=255)
        else:
            result[..., channel] = np.clip(plane, 0, 1)
    return result


def _factor(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw below 1 or above 1 with equal chances, then evenly."""
    low, high = bounds
    return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))


def _with_noise(planes: Planes, rng: np.random.Generator) -> Planes:
    """Add the same noise to all channels."""
    noise = rng.standard_normal(planes[0].shape, np.float32) * np.float32(rng.uniform(0, _MOST_NOISE))
    return [plane + noise for plane in planes]


def _blurred(planes: Planes, rng: np.random.Generator) -> Planes:
    """Blur half of the channels, each by its own widths along x and y."""
    chosen = rng.random(len(planes)) < 0.5
    sigmas = rng.uniform(*_BLUR, (len(planes), 2))
    return [
        np.asarray(cv2.GaussianBlur(plane, (0, 0), x, sigmaY=y, borderType=cv2.BORDER_REFLECT_101)) if this else plane
        for plane, this, (x, y) in zip(planes, chosen, sigmas.tolist(), strict=True)
    ]


def _brightened(planes: Planes, rng: np.random.Generator) -> Planes:
    return [plane * np.float32(_factor(_BRIGHTNESS, rng)) for plane in planes]


def _contrasted(planes: Planes, rng: np.random.Generator) -> Planes:
    """Stretch the values of each channel about its mean; its range stays."""
    return [_stretched(plane, _factor(_CONTRAST, rng)) for plane in planes]


def _stretched(plane: Plane, factor: float) -> Plane:
    mean = np.float32(cv2.mean(plane)[0])
    return np.asarray(np.clip((plane - mean) * np.float32(factor) + mean, plane.min(), plane.max()))


def _coarsened(planes: Planes, rng: np.random.Generator) -> Planes:
    """Shrink half of the channels to every k-th pixel and enlarge them again, each by its own factor."""
    chosen = rng.random(len(planes)) < 0.5
    scales = rng.uniform(_LOWEST_RESOLUTION, 1, len(planes))
    return [
        _resampled(plane, scale) if this else plane
        for plane, this, scale in zip(planes, chosen, scales.tolist(), strict=True)
    ]


def _resampled(plane: Plane, scale: float) -> Plane:
    height, width = plane.shape
    small = cv2.resize(plane, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _inverted_gamma(planes: Planes, rng: np.random.Generator) -> Planes:
    return [-_with_gamma(-plane, _factor(_GAMMA, rng)) for plane in planes]


def _plain_gamma(planes: Planes, rng: np.random.Generator) -> Planes:
    return [_with_gamma(plane, _factor(_GAMMA, rng)) for plane in planes]


def _with_gamma(plane: Plane, gamma: float) -> Plane:
    """Apply gamma to the range of a channel, and give it its mean and standard deviation back."""
    low = plane.min()
    span = max(plane.max() - low, np.float32(_SMALLEST_RANGE))
    curved = cv2.pow((plane - low) / span, gamma)
    (mean, deviation), (now, spread) = _moments(plane), _moments(curved)
    gain = deviation / max(spread, _SMALLEST_RANGE)
    return np.asarray(curved * np.float32(gain) + np.float32(mean - now * gain))


def _moments(plane: Plane) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(plane)
    return float(mean[0, 0]), float(deviation[0, 0])


_STEPS: tuple[tuple[float, Callable[[Planes, np.random.Generator], Planes]], ...] = (
    (0.1, _with_noise),
    (0.2, _blurred),
    (0.15, _brightened),
    (0.15, _contrasted),
    (0.25, _coarsened),
    (0.1, _inverted_gamma),
    (0.3, _plain_gamma),
)
