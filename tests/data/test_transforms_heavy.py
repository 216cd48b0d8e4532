"""The preset `heavy`: each step against its formula in torch, how often it is taken, and that any image survives it."""

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seg_scse.config.schema import AugmentationConfig
from seg_scse.data import transforms_heavy as heavy
from seg_scse.data.geometry import random_mirrors, random_similarity
from seg_scse.data.transforms import build_transform


def _plane(seed=0, size=(48, 64)):
    return cv2.GaussianBlur(np.random.default_rng(seed).random(size, np.float32), (0, 0), 2)


def _rng(seed=0):
    return np.random.default_rng(seed)


class _Fixed:
    """Draws the numbers it is given, whatever is asked for."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self, *_):
        return self.numbers.pop(0)

    uniform = random


def test_steps_order_and_probabilities_are_those_of_nnunet():
    assert [(share, step.__name__) for share, step in heavy._STEPS] == [
        (0.1, "_with_noise"),
        (0.2, "_blurred"),
        (0.15, "_brightened"),
        (0.15, "_contrasted"),
        (0.25, "_coarsened"),
        (0.1, "_inverted_gamma"),
        (0.3, "_plain_gamma"),
    ]


def test_each_step_is_taken_as_often_as_its_probability_says(monkeypatch):
    taken = Counter()

    def counting(name):
        return lambda planes, _: taken.update([name]) or planes

    shares = {step.__name__: share for share, step in heavy._STEPS}
    monkeypatch.setattr(heavy, "_STEPS", tuple((share, counting(name)) for name, share in shares.items()))
    image, rng = np.zeros((4, 4, 1), np.uint8), _rng()
    for _ in range(4000):
        heavy.vary(image, rng)
    for name, share in shares.items():
        assert abs(taken[name] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5, name


def test_an_image_that_no_step_is_drawn_for_is_returned_as_it_is():
    image = np.zeros((4, 4, 1), np.uint8)
    same = sum(heavy.vary(image, _rng(seed)) is image for seed in range(1000))
    expected = np.prod([1 - share for share, _ in heavy._STEPS])
    assert abs(same / 1000 - expected) < 0.06


def test_factors_below_and_above_one_are_equally_likely_within_their_bounds():
    drawn = np.array([heavy._factor((0.7, 1.5), _rng(seed)) for seed in range(1000)])
    assert 0.7 <= drawn.min() < 0.71
    assert 1.49 < drawn.max() <= 1.5
    assert abs((drawn < 1).mean() - 0.5) < 0.06


def test_noise_is_the_same_in_all_channels_and_at_most_a_tenth_of_the_range():
    planes = [_plane(0), _plane(1)]
    spreads = []
    for seed in range(40):
        first, second = (
            noisy - plane for noisy, plane in zip(heavy._with_noise(planes, _rng(seed)), planes, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-6)
        spreads.append(first.std())
    assert min(spreads) < 0.01
    assert 0.08 < max(spreads) < 0.105


def test_half_of_the_channels_are_blurred_and_grow_smoother():
    planes = [_rng(1).random((32, 32), np.float32)] * 400
    spreads = np.array([plane.std() for plane in heavy._blurred(planes, _rng())])
    changed = spreads < 0.99 * planes[0].std()
    assert abs(changed.mean() - 0.5) < 0.1
    # white noise blurred by sigma s along both axes keeps about 1 / (2 s sqrt(pi)) of its deviation
    assert 0.2 < spreads[changed].min() / planes[0].std() < 0.35
    assert 0.55 < spreads[changed].max() / planes[0].std() < 0.75


def test_brightness_multiplies_each_channel_on_its_own():
    planes = [_plane(0)] * 50
    factors = np.array([(plane / planes[0]).mean() for plane in heavy._brightened(planes, _rng())])
    assert 0.75 <= factors.min() < 0.8
    assert 1.2 < factors.max() <= 1.25


def test_contrast_stretches_about_the_mean_within_the_range():
    plane = _plane()
    mean, low, high = plane.mean(), plane.min(), plane.max()
    for factor in (0.75, 1.25):
        np.testing.assert_allclose(
            heavy._stretched(plane, factor), np.clip((plane - mean) * factor + mean, low, high), atol=1e-6
        )


@pytest.mark.parametrize("scale", [0.5, 0.61, 0.83, 0.999])
def test_low_resolution_agrees_with_interpolation_in_torch(scale):
    plane = _plane(size=(49, 63))  # odd: no centre lies on the border of two pixels
    size = [round(side * scale) for side in plane.shape]
    small = F.interpolate(torch.from_numpy(plane)[None, None], size, mode="nearest-exact")
    expected = F.interpolate(small, plane.shape, mode="bilinear")[0, 0]
    np.testing.assert_allclose(heavy._resampled(plane, scale), expected, atol=2e-3)


def test_half_of_the_channels_lose_resolution():
    planes = [_rng(1).random((32, 32), np.float32)] * 400
    changed = [not np.array_equal(plane, planes[0]) for plane in heavy._coarsened(planes, _rng())]
    assert abs(np.mean(changed) - 0.5) < 0.1


@pytest.mark.parametrize("gamma", [0.7, 1.5])
@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_acts_on_the_range_and_keeps_mean_and_deviation(gamma, inverted):
    plane = _plane()
    signed = torch.from_numpy(-plane if inverted else plane)
    span = signed.max() - signed.min()
    expected = ((signed - signed.min()) / span) ** gamma * span + signed.min()
    expected = (expected - expected.mean()) / expected.std() * signed.std() + signed.mean()
    step = heavy._inverted_gamma if inverted else heavy._plain_gamma
    draws = (0.0, gamma) if gamma < 1 else (0.9, gamma)
    (drawn,) = step([plane], _Fixed(*draws))
    np.testing.assert_allclose(drawn, -expected if inverted else expected, atol=1e-5)
    assert drawn.mean() == pytest.approx(plane.mean(), abs=1e-5)
    assert drawn.std() == pytest.approx(plane.std(), rel=1e-3)


@pytest.mark.parametrize("value", [0, 1, 90, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_of_one_value_stays_finite_and_in_range(value, dtype):
    image = np.full((32, 32, 2), value, np.uint8)
    image = image if dtype == np.uint8 else image / np.float32(255)
    for seed in range(60):
        drawn = heavy.vary(image, _rng(seed))
        assert drawn.dtype == dtype
        assert np.isfinite(drawn).all()
        assert dtype == np.uint8 or 0 <= drawn.min() <= drawn.max() <= 1


def test_8_bit_images_become_what_float_images_become():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for seed in range(60):
        exact = heavy.vary(image / np.float32(255), _rng(seed))
        drawn = heavy.vary(image, _rng(seed))
        assert np.abs(drawn - exact * 255).max() <= 0.51


def test_draws_do_not_depend_on_the_threads_of_opencv():
    image = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    mask = np.zeros((600, 600), np.uint8)
    transform, threads = build_transform(AugmentationConfig(preset="heavy"), 512), cv2.getNumThreads()
    try:
        drawn = []
        for number in (1, 4):
            cv2.setNumThreads(number)
            drawn.append([transform(image, mask, seed)[0].tobytes() for seed in range(15)])
    finally:
        cv2.setNumThreads(threads)
    assert drawn[0] == drawn[1]


def test_crops_are_mirrored_but_never_transposed():
    assert {random_mirrors(_rng(seed)).transposed for seed in range(50)} == {False}
    seen = Counter((move.upside_down, move.mirrored) for move in (random_mirrors(_rng(seed)) for seed in range(1000)))
    assert len(seen) == 4
    assert min(seen.values()) > 200


def test_rotation_and_scale_are_drawn_as_nnunet_draws_them():
    drawn = [random_similarity(_rng(seed)) for seed in range(3000)]
    moved = [matrix for matrix in drawn if matrix is not None]
    scales = np.array([np.sqrt(np.linalg.det(matrix)) for matrix in moved])
    angles = np.array([np.arctan2(matrix[1, 0], matrix[0, 0]) for matrix in moved])
    assert abs(len(moved) / 3000 - 0.36) < 0.04
    scaled, turned = np.abs(scales - 1) > 1e-9, np.abs(angles) > 1e-9
    assert abs(scaled.sum() / 3000 - 0.2) < 0.03
    assert abs(turned.sum() / 3000 - 0.2) < 0.03
    assert 0.7 <= scales.min() < 0.72
    assert 1.38 < scales.max() <= 1.4
    assert angles.min() < -3.1
    assert angles.max() > 3.1
    assert all(
        np.allclose(matrix @ matrix.T, scale**2 * np.eye(2)) for matrix, scale in zip(moved, scales, strict=True)
    )


def test_a_crop_is_moved_and_its_values_are_varied_as_often_as_both_are_drawn():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (64, 64, 1), dtype=np.uint8), rng.integers(0, 9, (64, 64), dtype=np.uint8)
    images, masks = ({np.flip(pixels, axes).tobytes() for axes in ((), 0, 1, (0, 1))} for pixels in (image, mask))
    transform = build_transform(AugmentationConfig(preset="heavy"), 64)
    drawn = [transform(image, mask, seed) for seed in range(1000)]
    placed = np.array([labels.tobytes() in masks for _, labels in drawn])
    same = np.array([crop.tobytes() in images for crop, _ in drawn])
    assert abs(placed.mean() - 0.8**2) < 0.06
    assert abs(same.mean() - 0.8**2 * np.prod([1 - share for share, _ in heavy._STEPS])) < 0.05
    assert not (same & ~placed).any()
