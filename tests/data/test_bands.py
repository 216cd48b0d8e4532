"""Sums over strips are those over the whole, exact for integers."""

import hashlib

import numpy as np
import pytest

from seg_scse.data import bands
from seg_scse.data.bands import BandCounter, strips


def counted(image, valid=None):
    counter = BandCounter(image.shape, image.dtype.name)
    for rows in strips(*image.shape[:2]):
        part = None if valid is None else valid[rows]
        counter.add(np.ascontiguousarray(image[rows]), part)
    return counter.result()


@pytest.fixture(params=[1 << 22, 50])
def strip_pixels(request, monkeypatch):
    monkeypatch.setattr(bands, "STRIP_PIXELS", request.param)


@pytest.mark.usefixtures("strip_pixels")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32"])
def test_integers_are_added_up_exactly(dtype):
    limits = np.iinfo(dtype)
    image = np.random.default_rng(1).integers(limits.min, limits.max, (31, 17, 3), dtype, endpoint=True)
    found = counted(image)
    values = [[int(v) for v in image[..., band].ravel()] for band in range(3)]
    assert found.sums == tuple(sum(band) for band in values)
    assert found.squares == tuple(sum(v * v for v in band) for band in values)
    assert found.minima == tuple(map(min, values))
    assert found.maxima == tuple(map(max, values))
    assert found.pixels == 31 * 17


@pytest.mark.usefixtures("strip_pixels")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_pixels_without_data_count_for_nothing(dtype):
    rng = np.random.default_rng(2)
    image, valid = rng.integers(1, 100, (31, 17, 2)).astype(dtype), rng.random((31, 17)) < 0.6
    valid[:10] = False
    image[~valid] = 0
    found = counted(image, valid)
    assert found.pixels == valid.sum()
    assert found.sums == pytest.approx(tuple(image[valid].sum(axis=0)))
    assert min(found.minima) >= 1
    mean = image[valid].mean(axis=0, dtype=np.float64)
    assert found.fill(dtype) == pytest.approx(tuple(mean if dtype == "float32" else np.rint(mean)))


def test_an_image_without_any_data_has_zeros():
    found = counted(np.zeros((3, 4, 2), np.int16), np.zeros((3, 4), bool))
    assert (found.pixels, found.sums, found.minima, found.fill("int16")) == (0, (0, 0), (0, 0), (0, 0))


@pytest.mark.usefixtures("strip_pixels")
def test_the_digest_of_bytes_is_that_of_all_versions_and_others_tell_their_type():
    image = np.arange(31 * 17 * 3, dtype=np.int64).reshape(31, 17, 3).astype(np.uint8)
    assert counted(image).digest == hashlib.sha256(b"(31, 17, 3)" + image.tobytes()).hexdigest()
    digests = {counted(image.view(kind)).digest for kind in ("uint8",)} | {counted(image.astype("int16")).digest}
    assert len(digests) == 2


@pytest.mark.parametrize("size", [(1, 1), (700, 10_000), (5000, 4000), (3, 9_000_000)])
def test_strips_cover_all_rows_once(size):
    rows = [row for strip in strips(*size) for row in range(strip.start, strip.stop)]
    assert rows == list(range(size[0]))
    assert all((s.stop - s.start) * size[1] <= max(bands.STRIP_PIXELS, size[1]) for s in strips(*size))
