import struct

import numpy as np
import pytest

from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .drawn_files import FOUR, save_pillow, save_raster
from .test_raster_files import header_of, set_short

LIMIT = 10**6


def test_the_header_says_what_decides(tmp_path):
    header = header_of(save_raster(tmp_path / "a.tif", FOUR, compress="lzw", tiled=True, blockxsize=16, blockysize=32))
    assert header.shape == (40, 60, 4)
    assert header.bits == (16,) * 4
    assert header.compression == 5
    assert header.block == (32, 16)
    assert (header.masked, header.images, header.georeferenced, header.big) == (False, 1, False, False)
    assert len(list(header.blocks(slice(0, 40), slice(0, 60)))) == 8
    assert len(list(header.blocks(slice(31, 33), slice(16, 17)))) == 2


@pytest.mark.parametrize("byte", range(4, 8))
def test_any_place_of_the_directory_is_survived(tmp_path, byte):
    path = save_pillow(tmp_path / "a.tif")
    sound = path.read_bytes()
    for value in set(range(0, 256, 5)) - {sound[byte]}:
        data = bytearray(sound)
        data[byte] = value
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.tif: "):
            read_raster(path, LIMIT)


def test_directories_in_a_loop_are_refused(tmp_path):
    path = save_pillow(tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    at = struct.unpack("<I", data[4:8])[0]
    end = at + 2 + 12 * struct.unpack("<H", data[at : at + 2])[0]
    data[end : end + 4] = data[4:8]
    path.write_bytes(data)
    with pytest.raises(DataError, match="its directories form a loop"):
        read_raster(path, LIMIT)


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (256, 0, "damaged TIFF of 0 x 40 pixels"),
        (257, 9999, "blocks of pixels are there"),
        (277, 7, "its bands are described differently"),
        (278, 1, "1 of 40 blocks of pixels are there"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path, tag, value, reason):
    path = save_pillow(tmp_path / "a.tif")
    set_short(path, tag, value)
    with pytest.raises(DataError, match=rf"a\.tif: .*{reason}"):
        read_raster(path, LIMIT)


def test_a_header_of_many_bands_is_refused_before_memory_is_taken(tmp_path):
    path = save_raster(tmp_path / "a.tif", np.zeros((100, 100, 20), np.uint8))
    with pytest.raises(DataError, match=r"200000 values are more than 16 times data\.max_pixels=10000"):
        read_raster(path, 10_000)
