"""Failures of GDAL that it does not raise."""

import logging
import struct

import numpy as np
import pytest

from seg_scse.prediction.writing.gdal_writing import gdal, require_complete
from seg_scse.prediction.writing.rasters import write_label_map

COUNTS = 325  # the tag with the bytes of each block


@pytest.fixture
def label_map(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (600, 1100)).astype(np.uint8)
    write_label_map(tmp_path / "a.tif", [labels], labels.shape, None, classes=("background", "a", "b"), nodata=255)
    return tmp_path / "a.tif"


def emptied(data: bytes, image: int) -> bytes:
    """Say of the first block of an image that it was never written; several blocks, offsets of 32 bits."""
    changed = bytearray(data)
    (at,) = struct.unpack_from("<I", data, 4)
    for _ in range(image):
        (count,) = struct.unpack_from("<H", data, at)
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, _, _, place = struct.unpack_from("<HHII", data, entry)
        if tag in (COUNTS, COUNTS - 1):
            struct.pack_into("<I", changed, place, 0)
    return bytes(changed)


def test_a_complete_file_passes(label_map):
    require_complete(label_map, 2)


@pytest.mark.parametrize("image", [0, 1], ids=["full size", "overview"])
def test_a_block_that_was_never_written_is_found(label_map, image):
    label_map.write_bytes(emptied(label_map.read_bytes(), image))
    with pytest.raises(OSError, match="GDAL: "):
        require_complete(label_map, 2)


def test_a_missing_overview_is_found(label_map):
    with pytest.raises(OSError, match="GDAL: "):
        require_complete(label_map, 3)


def test_a_file_that_is_cut_off_is_found(label_map):
    label_map.write_bytes(label_map.read_bytes()[:-1000])
    with pytest.raises(OSError, match="cut off"):
        require_complete(label_map, 2)


def test_what_gdal_only_complains_of_is_an_error(tmp_path):
    with pytest.raises(OSError, match="GDAL: no room"), gdal(tmp_path / "a.tif"):
        logging.getLogger("rasterio._env").error("no room")


def test_what_gdal_says_elsewhere_is_none(tmp_path):
    with gdal(tmp_path / "a.tif"):
        logging.getLogger("rasterio._env").warning("slow")
    logging.getLogger("rasterio._env").error("no room")
    assert not list(tmp_path.iterdir())
