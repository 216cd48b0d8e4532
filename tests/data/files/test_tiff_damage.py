import zlib

import numpy as np
import pytest
import rasterio

from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster_files import RasterWindows
from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .drawn_files import COLOURS, FOUR, TILED, save_raster
from .test_raster_files import LIMIT, header_of


def test_windows_of_a_file_beyond_any_buffer_are_parts_of_the_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60000, (500, 600, 2), dtype=np.uint16)
    path = save_raster(tmp_path / "a.tif", pixels, compress="deflate", **TILED)
    windows = RasterWindows(path, header_of(path))
    for row, column in ((0, 0), (400, 500), (10, 300), (250, 0), (440, 560)):
        rows, columns = slice(row, row + 50), slice(column, column + 40)
        assert np.array_equal(windows.read(rows, columns).pixels, pixels[rows, columns])
    windows.close()


def test_a_window_of_one_block_reads_no_other(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR, compress="deflate", **TILED)
    header = header_of(path)
    data = bytearray(path.read_bytes())
    data[header.extents[0][-1] + 40] ^= 255
    path.write_bytes(data)
    windows = RasterWindows(path, header)
    assert np.array_equal(windows.read(slice(0, 16), slice(0, 16)).pixels, FOUR[:16, :16])
    with pytest.raises(zlib.error):
        windows.read(slice(30, 40), slice(50, 60))
    windows.close()


def test_blocks_that_were_never_written_are_refused_without_no_data(tmp_path):
    options = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8", "SPARSE_OK": True, **TILED}
    for name, nodata in (("a.tif", None), ("b.tif", 9)):
        with decoding, rasterio.open(tmp_path / name, "w", **options, nodata=nodata) as dataset:
            dataset.write(np.full((16, 16), 3, np.uint8), 1, window=((0, 16), (0, 16)))
    with pytest.raises(DataError, match=r"15 of 16 blocks of pixels were never written"):
        read_raster(tmp_path / "a.tif", LIMIT)
    raster = read_raster(tmp_path / "b.tif", LIMIT)
    assert raster.valid is not None
    assert raster.valid.sum() == 256


def test_damaged_jpeg_tiles_are_no_grey_halves(tmp_path):
    path = save_raster(tmp_path / "a.tif", np.repeat(np.repeat(COLOURS, 4, 0), 4, 1), compress="jpeg")
    header = header_of(path)
    data = bytearray(path.read_bytes())
    start, length = header.extents[0][0], header.extents[1][0]
    data[start + length // 2 : start + length - 2] = bytes(length - 2 - length // 2)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tif: the TIFF file is damaged \(GDAL: .*Corrupt JPEG"):
        read_raster(path, LIMIT)
