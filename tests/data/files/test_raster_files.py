import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from rasterio._env import get_gdal_config
from rasterio.enums import ColorInterp

from seg_scse.data.files import raster_files
from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster_files import RasterWindows, checked_header, window_dtype
from seg_scse.data.files.reading import read_raster
from seg_scse.data.files.tiff import TiffHeader
from seg_scse.errors import DataError

from .drawn_files import COLOURS, FLOATS, FOUR, TILED, by_rasterio, save_pillow, save_raster

LIMIT = 10**6
rasterio_open = rasterio.open
KEPT = {"int8": "int16", "float64": "float32"}


def header_of(path: Path) -> TiffHeader:
    with path.open("rb", buffering=0) as stream:
        return checked_header(stream, path.stat().st_size, LIMIT)


def drawn(dtype: str, count: int) -> np.ndarray:
    random = np.random.default_rng(count)
    if np.dtype(dtype).kind == "f":
        return random.normal(size=(37, 51, count)).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, (37, 51, count), dtype=dtype, endpoint=True)


LAYOUTS = list(
    itertools.product(
        ["uint8", "uint16", "int16", "int8", "uint32", "int32", "float32", "float64"],
        [1, 3, 4, 13],
        [{}, {"compress": "lzw", "predictor": 2}, {"compress": "deflate", **TILED}, {"compress": "zstd"}],
        [{"interleave": "pixel"}, {"interleave": "band", "BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}],
    )
)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int8", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 3, 4, 13])
def test_every_layout_has_the_pixels_of_rasterio(tmp_path, dtype, count):
    pixels = drawn(dtype, count)
    expected = pixels.astype(KEPT.get(dtype, dtype))
    for number, (_, _, packing, order) in enumerate(LAYOUTS[:12]):
        if "predictor" in packing and np.dtype(dtype).kind == "f":
            packing = {"compress": "lzw", "predictor": 3}
        path = save_raster(tmp_path / f"{number}.tif", pixels, **packing, **order)
        raster = read_raster(path, LIMIT)
        assert raster.pixels.dtype == expected.dtype
        assert np.array_equal(raster.pixels, expected)
        assert np.array_equal(by_rasterio(path), pixels)


@pytest.mark.parametrize("pixels", [COLOURS, FOUR, FLOATS, COLOURS[..., :1]])
def test_a_window_is_that_part_of_the_whole(tmp_path, pixels):
    path = save_raster(tmp_path / "a.tif", pixels, compress="deflate", nodata=7, **TILED)
    header = header_of(path)
    windows = RasterWindows(path, header)
    rows, columns = slice(5, 30), slice(11, 50)
    raster = windows.read(rows, columns)
    windows.close()
    assert windows.shape == pixels.shape
    assert windows.dtype == window_dtype(header) == pixels.dtype
    assert np.array_equal(raster.pixels, pixels[rows, columns])


def test_an_open_file_is_opened_once_and_its_blocks_are_kept_within_bounds(tmp_path, monkeypatch):
    path = save_raster(tmp_path / "a.tif", FOUR, **TILED)
    windows = RasterWindows(path, header_of(path))
    opened, bounds, original = [], [], raster_files._read
    monkeypatch.setattr(rasterio, "open", lambda *given, **more: opened.append(1) or rasterio_open(*given, **more))

    def read(*given):
        bounds.append(get_gdal_config("GDAL_CACHEMAX"))
        return original(*given)

    monkeypatch.setattr(raster_files, "_read", read)
    for rows in (slice(0, 9), slice(9, 20), slice(0, 40)):
        with ThreadPoolExecutor(1) as another:
            raster = another.submit(windows.read, rows, slice(0, 60)).result()
        assert np.array_equal(raster.pixels, FOUR[rows])
    windows.close()
    assert opened == [1]
    assert bounds == [256 << 20] * 3


def test_no_data_is_where_every_band_says_so(tmp_path):
    pixels = FOUR.copy() + 1
    pixels[3:5, :7] = 0
    pixels[9, 9, :3] = 0
    path = save_raster(tmp_path / "a.tif", pixels, nodata=0)
    raster = read_raster(path, LIMIT)
    expected = np.ones((40, 60), bool)
    expected[3:5, :7] = False
    assert raster.nodata == 0
    assert np.array_equal(raster.valid, expected)
    assert np.array_equal(raster.valid, rasterio_mask(path))


def rasterio_mask(path: Path) -> np.ndarray:
    with decoding, rasterio.open(path) as dataset:
        return dataset.dataset_mask() > 0


@pytest.mark.parametrize("nodata", [float("nan"), -9999.0, -3.4028234663852886e38])
def test_no_data_of_floats(tmp_path, nodata):
    pixels = FLOATS.copy()
    pixels[:2] = nodata
    path = save_raster(tmp_path / "a.tif", pixels, nodata=nodata)
    raster = read_raster(path, LIMIT)
    assert raster.valid is not None
    assert not raster.valid[:2].any()
    assert raster.valid[2:].all()


def test_a_file_without_its_no_data_value_is_valid_everywhere(tmp_path):
    assert read_raster(save_raster(tmp_path / "a.tif", FOUR + 1, nodata=0), LIMIT).valid is None


def test_an_internal_mask_is_respected(tmp_path):
    path = tmp_path / "a.tif"
    mask = np.ones((40, 60), bool)
    mask[:4] = False
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 3, "dtype": "uint8"}
    with decoding, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(COLOURS.transpose(2, 0, 1))
        dataset.write_mask(mask)
    raster = read_raster(path, LIMIT)
    assert np.array_equal(raster.valid, mask)
    assert np.array_equal(raster.pixels, COLOURS)
    assert raster.kind == "colour"


def test_reduced_copies_are_no_further_images(tmp_path):
    path = save_raster(tmp_path / "a.tif", COLOURS)
    with decoding, rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert np.array_equal(read_raster(path, LIMIT).pixels, COLOURS)


@pytest.mark.parametrize("alpha", ["YES", "NO"])
def test_alpha_is_what_the_file_says(tmp_path, alpha):
    pixels = np.dstack([COLOURS, COLOURS[..., :1]])
    path = save_raster(tmp_path / "a.tif", pixels, photometric="rgb", ALPHA=alpha)
    raster = read_raster(path, LIMIT)
    assert np.array_equal(raster.pixels, pixels)
    assert (raster.kind, raster.alpha) == (("colour", True) if alpha == "YES" else ("bands", False))
    assert raster.valid is None


def test_premultiplied_alpha_is_not_divided_out(tmp_path):
    pixels = np.dstack([COLOURS // 2, np.full((40, 60, 1), 128, np.uint8)])
    path = save_raster(tmp_path / "a.tif", pixels, photometric="rgb", ALPHA="PREMULTIPLIED")
    assert np.array_equal(read_raster(path, LIMIT).pixels, pixels)


def test_names_of_bands_are_read(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR)
    with decoding, rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("red", "g<&\"'>", "blau", "nir")
    assert read_raster(path, LIMIT).names == ("red", "g<&\"'>", "blau", "nir")
    assert read_raster(save_raster(tmp_path / "b.tif", FOUR), LIMIT).names is None


def test_a_palette_with_no_data_has_its_colours(tmp_path):
    path = save_raster(tmp_path / "a.tif", COLOURS[..., :1] % 3, photometric="palette", nodata=0)
    with decoding, rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (1, 2, 3), 1: (255, 0, 9), 2: (7, 8, 250)})
        dataset.colorinterp = [ColorInterp.palette]
    raster = read_raster(path, LIMIT)
    assert raster.kind == "palette"
    assert raster.palette is not None
    assert raster.palette[:3].tolist() == [[1, 2, 3], [255, 0, 9], [7, 8, 250]]
    assert np.array_equal(raster.pixels, COLOURS[..., :1] % 3)
    assert np.array_equal(raster.valid, COLOURS[..., 0] % 3 > 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_where_gdal_decodes(tmp_path, orientation):
    from .test_reading import oriented

    path = save_raster(tmp_path / "a.tif", FOUR)
    set_short(path, 274, orientation)
    raster = read_raster(path, LIMIT)
    assert np.array_equal(raster.pixels, oriented(FOUR, orientation))
    assert raster.turned == (orientation > 1)


def set_short(path: Path, tag: int, value: int) -> None:
    """Overwrite a tag of a little-endian TIFF; ResolutionUnit or a free one becomes what is missing."""
    data = bytearray(path.read_bytes())
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    new = tag.to_bytes(2, "little") + b"\3\0\1\0\0\0" + value.to_bytes(4, "little")
    kept = [entry for entry in entries if int.from_bytes(entry[:2], "little") != tag]
    listed = sorted([*kept, new], key=lambda entry: int.from_bytes(entry[:2], "little"))
    data[4:8] = len(data).to_bytes(4, "little")
    path.write_bytes(bytes(data) + len(listed).to_bytes(2, "little") + b"".join(bytes(e) for e in listed) + b"\0" * 4)


def test_a_turned_geotiff_is_refused(tmp_path):
    path = save_raster(tmp_path / "a.tif", COLOURS, crs="EPSG:32750", transform=rasterio.Affine(10, 0, 5, 0, -10, 7))
    set_short(path, 274, 6)
    with pytest.raises(DataError, match="is a GeoTIFF with the orientation 6, which programs understand differently"):
        read_raster(path, LIMIT)


def test_side_files_say_nothing(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR)
    band = '<PAMRasterBand band="{}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    bands = "".join(band.format(number) for number in range(1, 5))
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n5\n5\n")
    with decoding, rasterio.open(path) as dataset:
        assert dataset.nodata == 7
    raster = read_raster(path, LIMIT)
    assert (raster.nodata, raster.place) == (None, None)


def test_no_url_is_opened_and_no_other_driver(tmp_path):
    (tmp_path / "a.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises(DataError, match=r"a\.tif: is an XML file"):
        read_raster(tmp_path / "a.tif", LIMIT)


def test_several_pages_are_refused(tmp_path):
    page = Image.fromarray(COLOURS)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])
    with pytest.raises(DataError, match=r"a\.tif: holds 3 images\. Store each one in a file of its own"):
        read_raster(tmp_path / "a.tif", LIMIT)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: 5}, "a TIFF with CMYK colours"),
        ({262: 8}, "a TIFF with Lab colours"),
        ({262: 6}, "a TIFF with YCbCr colours"),
        ({262: 32844}, "a TIFF of the photometric interpretation 32844"),
        ({339: 6}, "a TIFF of complex numbers"),
    ],
)
def test_colours_that_would_be_taken_for_others_are_refused(tmp_path, tags, reason):
    path = save_raster(tmp_path / "a.tif", FOUR)
    for tag, value in tags.items():
        set_short(path, tag, value)
    with pytest.raises(DataError, match=rf"a\.tif: is {reason}.*which is not read"):
        read_raster(path, LIMIT)


def test_white_as_zero_is_turned_where_plain_and_refused_where_deep(tmp_path):
    path = save_pillow(tmp_path / "a.tif", COLOURS[..., 0])
    set_short(path, 262, 0)
    assert np.array_equal(read_raster(path, LIMIT).pixels[..., 0], 255 - COLOURS[..., 0])
    deep = save_pillow(tmp_path / "b.tif", FOUR[..., 0])
    set_short(deep, 262, 0)
    with pytest.raises(DataError, match="is a TIFF with white as 0"):
        read_raster(deep, LIMIT)


def test_without_rasterio_plain_files_are_read_and_others_say_what_to_install(tmp_path, monkeypatch):
    plain = save_pillow(tmp_path / "a.tif")
    deep = save_raster(tmp_path / "b.tif", FOUR)
    placed = save_raster(tmp_path / "c.tif", COLOURS, crs="EPSG:32750", transform=rasterio.Affine(10, 0, 5, 0, -10, 7))
    expected = read_raster(placed, LIMIT)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert np.array_equal(read_raster(plain, LIMIT).pixels, COLOURS)
    assert np.array_equal(read_raster(placed, LIMIT).pixels, expected.pixels)
    assert read_raster(placed, LIMIT).place == expected.place
    with pytest.raises(
        DataError, match=r'b\.tif: this layout of TIFF is read by rasterio.*pip install "seg-scse\[geo\]"'
    ):
        read_raster(deep, LIMIT)


def test_64_bit_floats_beyond_32_bits_are_refused(tmp_path):
    path = save_raster(tmp_path / "a.tif", np.full((2, 2, 1), 1e300))
    with pytest.raises(DataError, match="float64 values beyond the range of float32"):
        read_raster(path, LIMIT)


def test_a_no_data_value_that_is_no_number_is_refused(tmp_path):
    tags = ImageFileDirectory_v2()
    tags[42113] = "none"
    with pytest.raises(DataError, match="declares the no-data value 'none', which is not a number"):
        read_raster(save_pillow(tmp_path / "a.tif", tiffinfo=tags), LIMIT)
