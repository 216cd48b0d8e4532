import numpy as np
import pytest

from seg_scse.data import bands
from seg_scse.data.display import displayed
from seg_scse.data.lazy import Windowed


def test_eight_bit_colours_and_grey_are_shown_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 5), dtype=np.uint8)
    for count, shown in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 3)):
        assert np.array_equal(displayed(image[..., :count]), image[..., :shown])


@pytest.mark.parametrize("count", [1, 2, 3, 13])
def test_other_values_are_stretched_band_by_band(count):
    image = np.random.default_rng(1).random((60, 70, count), np.float32) * np.linspace(0.01, 0.9, count, dtype="f4")
    picture = displayed(image)
    assert picture.dtype == np.uint8
    assert picture.shape == (60, 70, 3 if count >= 3 else 1)
    assert (picture.min(axis=(0, 1)) == 0).all()
    assert (picture.max(axis=(0, 1)) == 255).all()
    low, high = np.percentile(image[..., 0], (2, 98))
    assert (picture[..., 0] == 255).mean() == pytest.approx((image[..., 0] >= high).mean(), abs=0.01)
    assert low < high


def test_a_large_image_is_stretched_strip_by_strip_as_if_it_were_whole(monkeypatch):
    monkeypatch.setattr(bands, "STRIP_PIXELS", 500_000)
    image = np.random.default_rng(2).random((2300, 1700, 4), np.float32)
    read = []

    class Stored(Windowed):
        shape, dtype = image.shape, image.dtype

        def __getitem__(self, window):
            part = image[window]
            read.append(part.size)
            return part

    low, high = np.percentile(image[::2, ::2, :3], (2, 98), axis=(0, 1))
    whole = np.rint(np.clip((image[..., :3] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(displayed(Stored()), whole)
    assert max(read) < image.size / 3


def test_a_constant_image_is_black():
    assert not displayed(np.full((4, 4, 3), 0.4, np.float32)).any()
