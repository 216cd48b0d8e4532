"""Images as a network sees them, from whatever can be read by windows."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.scaling import Scaling
from seg_scse.data.seen import Filled, Seen, scaling_of

ALL = slice(None)


class Drawn:
    """An image that is drawn where it is read; some of its first rows and a column may lack data."""

    facts = ()

    def __init__(self, height: int = 40, width: int = 30, lacking: int = 0) -> None:
        self.shape, self.dtype, self._lacking = (height, width, 1), "uint16", lacking
        self.read_windows: list[tuple[slice, slice]] = []

    def read(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray | None]:
        self.read_windows.append((rows, cols))
        y, x = np.mgrid[rows, cols].astype(np.uint16)
        pixels = (100 + 10 * y + x)[..., None]
        valid = (y >= self._lacking) & (x != 5)
        return pixels, valid if self._lacking else None


def test_masks_of_gaps_follow_their_windows():
    source = Drawn(lacking=3)
    filled = Filled(source, "a")
    rows, columns = slice(0, 10), slice(0, 30)
    filled.read(rows, columns)
    source.read_windows.clear()
    expected = np.zeros((40, 30), np.uint8)
    expected[:3], expected[:, 5] = 255, 255
    assert np.array_equal(filled.holes(rows, columns), expected[:10])
    assert source.read_windows == []
    for other in ((slice(2, 12), columns), (rows, slice(4, 9))):
        assert np.array_equal(filled.holes(*other), expected[other])


def test_a_window_with_steps_or_beyond_the_image_is_that_of_an_array():
    whole = np.asarray(Filled(Drawn(), "a"))
    seen = Seen(Filled(Drawn(), "a"), DataConfig(channels="gray"), Scaling((0.0,), (1000.0,)))
    scaled = whole / np.float32(1000)
    for window in ((slice(30, 99), ALL), (slice(-5, None), slice(0, 30, 7)), (slice(9, 3), ALL), (ALL, slice(28, -1))):
        assert np.array_equal(seen[window], scaled[window])


def test_several_slices_are_measured_together():
    images = [Filled(Drawn(height), "a") for height in (10, 40)]
    config = DataConfig(channels="gray", scale={"method": "percentile", "percentiles": (0, 100), "per": "file"})
    assert scaling_of(images, config, None) == Scaling((100.0,), (100.0 + 390 + 29,))
    assert scaling_of(images[:1], config, None) == Scaling((100.0,), (100.0 + 90 + 29,))


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_measuring_a_scene_needs_memory_for_strips_only(monkeypatch, method):
    monkeypatch.setattr("seg_scse.data.bands.STRIP_PIXELS", 10_000)
    monkeypatch.setattr("seg_scse.data.scale_measuring.MOST_OF_IMAGE", 1000)
    scale: dict[str, Any] = {"method": method, "per": "file"}
    image = Filled(Drawn(4000, 1000, lacking=9), "a")
    tracemalloc.start()
    scaling_of([image], DataConfig(channels="gray", scale=scale), None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 1000 * 2 / 4
