"""Where pixels of a crop come from: equal to plain definitions, with reflection outside and no window too large."""

import itertools

import cv2
import numpy as np
import pytest

from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.data.geometry import Symmetry, cut, random_affine, random_corner, random_symmetry, warp

SYMMETRIES = [Symmetry(*flags) for flags in itertools.product([False, True], repeat=3)]
SIZES = [(64, 64), (40, 90), (31, 20), (5, 7), (1, 9), (1, 1)]


class Windowed:
    """An image that notes which windows were read, as one in a file that is too large to decode."""

    def __init__(self, pixels):
        self.pixels, self.windows = pixels, []
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, window):
        rows, cols = window
        assert 0 <= rows.start < rows.stop <= self.shape[0]
        assert 0 <= cols.start < cols.stop <= self.shape[1]
        self.windows.append(window)
        return self.pixels[window]


def _sample(shape=(64, 64), channels=3, dtype=np.uint8):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, channels)).astype(dtype)
    return image / dtype(255) if dtype == np.float32 else image, rng.integers(0, 5, shape).astype(np.uint8)


def _places(corner, side, linear):
    """Return for each pixel of the crop its x and y in the image."""
    half = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - half
    x, y = linear[0, 0] * x + linear[0, 1] * y, linear[1, 0] * x + linear[1, 1] * y
    return x + corner[1] + half, y + corner[0] + half


def _padded(image, mask, pad):
    around = ((pad, pad), (pad, pad))
    return np.pad(image, (*around, (0, 0)), mode="reflect"), np.pad(mask, around, constant_values=IGNORE_INDEX)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_a_symmetry_is_what_its_matrix_says(symmetry, channels):
    image, mask = _sample((9, 9), channels)
    x, y = _places((0, 0), 9, symmetry.matrix())
    rows, cols = np.rint(y).astype(int), np.rint(x).astype(int)
    assert (symmetry.of(image) == image[rows, cols]).all()
    assert (symmetry.of(mask) == mask[rows, cols]).all()
    assert not np.shares_memory(symmetry.of(image), image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("corner", [(0, 0), (-9, 3), (2, -11), (-30, -40), (25, 60), (-5, -5)])
def test_a_cut_is_a_square_of_the_padded_image(size, corner):
    image, mask = _sample(size, 4)
    side, pad = 33, 99
    crop, labels = cut(image, mask, corner, side, SYMMETRIES[3])
    window = tuple(slice(start + pad, start + pad + side) for start in corner)
    padded = _padded(image, mask, pad)
    assert (crop == SYMMETRIES[3].of(padded[0][window])).all()
    assert (labels == SYMMETRIES[3].of(padded[1][window])).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_a_warp_is_the_bilinear_lookup_in_the_padded_image(dtype, channels):
    rng = np.random.default_rng(1)
    for size in SIZES:
        image, mask = _sample(size, channels, dtype)
        padded = _padded(image, mask, 150)
        corner, symmetry, affine = random_corner(size, 32, rng), random_symmetry(rng), random_affine(rng)
        crop, labels = warp(image, mask, corner, 32, symmetry, affine)
        x, y = (np.float32(place + 150) for place in _places(corner, 32, affine @ symmetry.matrix()))
        expected = [cv2.remap(padded[0][..., c].astype(np.float32), x, y, cv2.INTER_LINEAR) for c in range(channels)]
        # with more than four channels, OpenCV rounds places to 1/32 pixel
        tolerance = (1 if channels <= 4 else 14) / (255 if dtype == np.float32 else 1)
        assert crop.shape == (32, 32, channels)
        assert crop.dtype == dtype
        assert np.abs(crop - np.stack(expected, -1)).max() <= tolerance
        nearest = padded[1][np.rint(y).astype(int), np.rint(x).astype(int)]
        assert (labels == nearest).mean() > 0.99  # places half-way between two pixels may be rounded either way


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_warp_that_moves_nothing_is_a_cut(symmetry):
    image, mask = _sample()
    for corner in ((5, 9), (-4, 40)):
        warped = warp(image, mask, corner, 32, symmetry, np.eye(2))
        for a, b in zip(warped, cut(image, mask, corner, 32, symmetry), strict=True):
            assert (a == b).all()


def test_one_window_is_read_of_image_and_mask_and_no_more_than_the_draw_needs():
    image, mask = _sample((400, 500))
    rng = np.random.default_rng(2)
    for _ in range(100):
        lazy, labels = Windowed(image), Windowed(mask)
        corner, symmetry, affine = random_corner(mask.shape, 64, rng), random_symmetry(rng), random_affine(rng)
        crop, _ = warp(lazy, labels, corner, 64, symmetry, affine)
        cut(lazy, labels, corner, 64, symmetry)
        assert (crop == warp(image, mask, corner, 64, symmetry, affine)[0]).all()
        assert len(lazy.windows) == len(labels.windows) == 2
        warped, exact = lazy.windows
        assert all(side.stop - side.start == 64 for side in exact)
        assert all(side.stop - side.start <= 64 * 2**0.5 / 0.8 + 5 for side in warped)


def test_a_read_only_window_of_a_larger_array_can_be_cut_and_warped():
    image, mask = _sample((90, 90))
    for pixels in (image, mask):
        pixels.setflags(write=False)
    for crop in (*cut(image, mask, (3, 4), 32, Symmetry()), *warp(image, mask, (3, 4), 32, Symmetry(), np.eye(2))):
        assert crop.flags.writeable
        assert crop.flags.c_contiguous


def test_scales_and_angles_are_drawn_from_the_whole_range_and_balanced():
    rng = np.random.default_rng(3)
    scales, angles = [], []
    for _ in range(2000):
        affine = random_affine(rng)
        scale = 1 / np.linalg.norm(affine, axis=1)
        scales.append(scale)
        angles.append(np.degrees(np.arctan2(affine[1, 0] * scale[1], affine[0, 0] * scale[0])))
    assert np.allclose((np.min(scales, 0), np.max(scales, 0)), [[0.8] * 2, [1.25] * 2], atol=2e-3)
    assert abs(np.mean(np.array(scales) < 1) - 0.5) < 0.04
    assert np.allclose((min(angles), max(angles)), (-45, 45), atol=0.2)
    assert abs(np.mean(angles)) < 2.5


def test_every_symmetry_is_drawn_equally_often():
    rng = np.random.default_rng(4)
    drawn = [random_symmetry(rng) for _ in range(4000)]
    assert all(abs(drawn.count(symmetry) - 500) < 100 for symmetry in SYMMETRIES)
