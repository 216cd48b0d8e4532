import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg_scse.inference.tiles import blend_window, tile_starts


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
def test_blend_window_is_symmetric_positive_and_one_inside(overlap: float) -> None:
    window = blend_window(64, overlap)
    assert torch.equal(window, window.flip(0))
    assert window.min() > 0
    assert window.max() > 0.95
    assert (window.diff()[:31] >= 0).all()
