import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from seg_scse.metrics import distances as distances_module
from seg_scse.metrics.distances import REACH, surface_distances

SPACINGS = [(1.0, 1.0), (0.25, 0.25), (1.0, 0.3), (0.7, 2.9), (20.0, 0.5)]


def directed_distances(start, end, spacing):
    there, back = surface_distances(start, end, spacing)
    np.testing.assert_array_equal(back, surface_distances(end, start, spacing)[0])
    return there


def oracle(start, end, spacing):
    return np.sort(distance_transform_edt(end == 0, sampling=spacing)[start != 0])


def points(seed, height, width, share):
    found = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    found[seed % height, seed % width] = 1
    return found


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("share", [0.3, 0.03, 0.001])
@pytest.mark.parametrize("pixels", [0, distances_module.TREE, 10**9])  # tree alone, its choice, looked up first
def test_distances_are_those_of_a_transform_of_the_whole_image(spacing, share, pixels, monkeypatch):
    monkeypatch.setattr(distances_module, "TREE", pixels)
    for seed in range(3):
        start, end = points(seed, 50 + seed, 83, share), points(seed + 7, 50 + seed, 83, share)
        found = np.sort(directed_distances(start, end, spacing))
        np.testing.assert_allclose(found, oracle(start, end, spacing), rtol=1e-12, atol=0)
        assert found.dtype == np.float64


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0.5, 0.1, 0.01]),
    st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
)
def test_distances_of_any_points_and_spacing_equal_the_oracle(seed, shape, share, spacing):
    start, end = points(seed, *shape, share), points(seed + 1, *shape, share)
    np.testing.assert_allclose(
        np.sort(directed_distances(start, end, spacing)), oracle(start, end, spacing), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("spacing", SPACINGS[::3])
def test_every_step_within_and_just_beyond_reach_has_its_length(spacing, monkeypatch):
    monkeypatch.setattr(distances_module, "TREE", 10**9)
    size = 2 * REACH + 5
    centre = size // 2
    end = np.zeros((size, size), np.uint8)
    end[centre, centre] = 1
    for row, column in np.ndindex(size, size):
        start = np.zeros_like(end)
        start[row, column] = 1
        expected = np.hypot((row - centre) * spacing[0], (column - centre) * spacing[1])
        np.testing.assert_allclose(directed_distances(start, end, spacing), [expected], rtol=1e-12)


def test_a_row_does_not_run_on_into_the_next_one(monkeypatch):
    monkeypatch.setattr(distances_module, "TREE", 10**9)
    start, end = (np.zeros((3, 30), np.uint8) for _ in range(2))
    start[0, -1] = end[1, 0] = 1
    np.testing.assert_allclose(directed_distances(start, end, (1.0, 1.0)), [np.hypot(1, 29)])
