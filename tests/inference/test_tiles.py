from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg_scse.inference.tiles import Grid, blend_axis, tile_starts


@given(size=st.integers(1, 3000), tile=st.integers(32, 512), overlap=st.floats(0.0, 0.75))
def test_tiles_cover_the_axis_with_at_least_the_overlap(size: int, tile: int, overlap: float) -> None:
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, size - tile)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, int(tile * (1 - overlap)))).all()


def test_an_image_of_one_tile_has_one_tile() -> None:
    assert tile_starts(256, 256, 0.25) == [0]
    assert tile_starts(100, 256, 0.25) == [0]
    assert tile_starts(257, 256, 0.25) == [0, 1]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("blend", ["linear", "gaussian"])
def test_weights_are_symmetric_positive_and_one_inside(blend: str, overlap: float) -> None:
    weights = blend_axis(64, overlap, blend)
    assert torch.equal(weights, weights.flip(0))
    assert weights.min() > 0
    assert 0.95 < weights.max() <= 1
    assert (weights.diff()[:31] >= 0).all()


def test_linear_weights_fall_over_the_overlap_and_gaussian_ones_over_the_tile() -> None:
    assert torch.allclose(blend_axis(8, 0.25), torch.tensor([1 / 3, 2 / 3, 1, 1, 1, 1, 2 / 3, 1 / 3]))
    gaussian = blend_axis(64, 0.25, "gaussian")
    assert gaussian[39] == pytest.approx(np.exp(-0.5 * (7.5 / 8) ** 2))
    assert gaussian[[0, 63]].tolist() == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("blend", ["linear", "gaussian"])
def test_a_margin_counts_a_millionth_and_the_rest_as_without(blend: str) -> None:
    plain, weights = blend_axis(64, 0.25, blend), blend_axis(64, 0.25, blend, margin=8)
    assert torch.equal(weights[8:-8], plain[8:-8])
    for border in (slice(0, 8), slice(56, 64)):
        assert torch.allclose(weights[border], 1e-6 * plain[border], atol=0, rtol=1e-5)


@given(height=st.integers(1, 900), tile=st.integers(32, 128), overlap=st.floats(0.0, 0.75))
def test_strips_cover_the_rows_and_each_ends_with_its_row_of_tiles(height: int, tile: int, overlap: float) -> None:
    grid = Grid.of(height, 50, tile, overlap)
    assert [grid.strips[0].start, grid.strips[-1].stop] == [0, height]
    assert all(above.stop == below.start for above, below in pairwise(grid.strips))
    assert len(grid.strips) == len(grid.tops)
    for strip, top in zip(grid.strips, grid.tops, strict=True):
        assert top == strip.start < strip.stop <= top + tile


@pytest.mark.parametrize(("overlap", "reach"), [(0.0, 0), (0.25, 1), (0.6, 2)])
def test_rows_of_tiles_that_reach_into_strips_are_found(overlap: float, reach: int) -> None:
    grid = Grid.of(64 * 20, 64, 64, overlap)
    assert grid.reaching(range(0, 2)) == range(0, 2)
    assert grid.reaching(range(7, 9)) == range(7 - reach, 9)
    for number in range(len(grid.tops)):
        rows = grid.strips[number]
        expected = [other for other, top in enumerate(grid.tops) if top < rows.stop and top + 64 > rows.start]
        assert list(grid.reaching(range(number, number + 1))) == expected
