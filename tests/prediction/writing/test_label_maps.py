"""Label maps as palette PNG and as Cloud Optimized GeoTIFF."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from seg_scse.config.data import DataConfig
from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster import Place
from seg_scse.data.files.reading import read_raster
from seg_scse.errors import ConfigError, DataError
from seg_scse.evaluation.prediction_files import Expected, read_prediction
from seg_scse.prediction.writing.rasters import NODATA, write_label_map
from seg_scse.report.overlays import class_colour

CLASSES = ("background", "mangrove", "water")
UTM = Place("EPSG:32750", (10.0, 0.0, 500_000.0, 0.0, -10.0, 9_000_000.0), (10.0, 10.0), "m")
WKT = (
    'PROJCS["own",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Albers_Conic_Equal_Area"],PARAMETER["latitude_of_center",12.5],'
    'PARAMETER["longitude_of_center",101],PARAMETER["standard_parallel_1",7],PARAMETER["standard_parallel_2",19],'
    'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
)
PLACES = {
    "utm": UTM,
    "degrees": Place("EPSG:4326", (1e-4, 0.0, 117.25, 0.0, -1e-4, -1.5), (1e-4, 1e-4), "degree"),
    "feet": Place("EPSG:2263", (2.0, 0.0, 913_000.0, 0.0, -2.0, 272_000.0), (2.0, 2.0), "unknown"),
    "rotated": Place("EPSG:32750", (8.0, 6.0, 500_000.0, 6.0, -8.0, 9_000_000.0), (10.0, 10.0), "m"),
    "south up": Place("EPSG:32750", (10.0, 0.0, 500_000.0, 0.0, 10.0, 9_000_000.0), (10.0, 10.0), "m"),
    "one pixel per metre from the origin": Place("EPSG:32750", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), (1.0, 1.0), "m"),
    "wkt": Place(WKT, (30.0, 0.0, 1_000.0, 0.0, -30.0, 2_000.0), (30.0, 30.0), "m"),
    "no crs": Place(None, (0.5, 0.0, 100.0, 0.0, -0.5, 200.0), (0.5, 0.5), "unknown"),
}


def drawn(shape=(90, 130), values=3, nodata=True) -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, values, shape).astype(np.uint8)
    if nodata:
        labels[: shape[0] // 3, : shape[1] // 4] = NODATA
    return labels


def cut(labels: np.ndarray, height: int = 33) -> list[np.ndarray]:
    return [labels[row : row + height] for row in range(0, len(labels), height)]


def written(path: Path, labels: np.ndarray, place: Place | None = UTM, **changes) -> Path:
    arguments = {"classes": CLASSES, "nodata": NODATA} | changes
    write_label_map(path, cut(labels), labels.shape, place, **arguments)
    return path


@pytest.mark.parametrize("name", PLACES)
def test_a_label_map_lies_where_its_image_lies(tmp_path, name):
    place, labels = PLACES[name], drawn()
    with rasterio.open(written(tmp_path / "a.tif", labels, place)) as dataset:
        assert dataset.transform == rasterio.Affine(*place.transform)
        assert dataset.crs == (place.crs and rasterio.crs.CRS.from_user_input(place.crs))
        assert (dataset.shape, dataset.count, dataset.dtypes) == (labels.shape, 1, ("uint8",))
        np.testing.assert_array_equal(dataset.read(1), labels)
    ours = read_raster(tmp_path / "a.tif", labels.size).place
    assert (ours.transform, ours.unit) == (place.transform, place.unit)
    assert ours.spacing == pytest.approx(place.spacing)


def test_a_geotiff_says_what_its_values_mean(tmp_path):
    with rasterio.open(written(tmp_path / "a.tif", drawn())) as dataset:
        assert dataset.nodata == NODATA
        assert dataset.dataset_mask().min() == 0
        colours = dataset.colormap(1)
        assert [colours[index][:3] for index in range(3)] == [class_colour(index) for index in range(3)]
        assert dataset.colorinterp == (rasterio.enums.ColorInterp.palette,)
        assert dataset.descriptions == ("class index",)
        assert json.loads(dataset.tags()["CLASSES"]) == list(CLASSES)
        assert dataset.tags()["TASK"] == "multiclass"


def test_a_geotiff_is_cloud_optimized_and_its_overviews_are_nearest_pixels(tmp_path):
    labels = drawn((1100, 2100))
    with rasterio.open(written(tmp_path / "a.tif", labels)) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.value == "DEFLATE"
        assert dataset.overviews(1) == [2, 4, 8]
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) == {0, 1, 2, NODATA}
        np.testing.assert_array_equal(overview.read(1)[:500], labels[::2, ::2][:500])


def directories(data: bytes) -> list[tuple[int, dict[int, tuple[int, ...]]]]:
    """Offsets and tags of the images in a little-endian classic TIFF."""
    sizes, found, at = {3: "H", 4: "I"}, [], struct.unpack_from("<I", data, 4)[0]
    while at:
        tags, (count,) = {}, struct.unpack_from("<H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from("<HHII", data, entry)
            if kind in sizes:
                size = struct.calcsize(sizes[kind]) * number
                place = entry + 8 if size <= 4 else value
                tags[tag] = struct.unpack_from(f"<{number}{sizes[kind]}", data, place)
        found.append((at, tags))
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)
    return found


def test_a_cloud_optimized_file_begins_with_all_directories_and_ends_with_the_full_image(tmp_path):
    data = written(tmp_path / "a.tif", drawn((1100, 2100))).read_bytes()
    assert data[8:].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE=")
    assert b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n" in data[:400]
    assert b"KNOWN_INCOMPATIBLE_EDITION=NO" in data[:400]
    found = directories(data)
    widths = [tags[256][0] for _, tags in found]
    assert widths == [2100, 1050, 525, 263]
    assert [tags.get(254, (0,))[0] for _, tags in found] == [0, 1, 1, 1]
    offsets = [place for place, _ in found]
    blocks = [[offset for offset in tags[324] if offset] for _, tags in found]
    assert offsets == sorted(offsets)
    assert max(offsets) < min(min(part) for part in blocks)
    assert all(min(large) > max(small) for large, small in pairwise(blocks))
    assert all(part == sorted(part) for part in blocks)


def test_a_label_map_without_place_is_a_plain_tiled_tiff(tmp_path):
    labels = drawn()
    raster = read_raster(written(tmp_path / "a.tif", labels, None), labels.size)
    assert raster.place is None
    np.testing.assert_array_equal(raster.pixels[..., 0], labels)
    with decoding, rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.profile["tiled"]
        assert dataset.crs is None


def test_no_side_file_is_written(tmp_path):
    written(tmp_path / "a.tif", drawn((1100, 600)), PLACES["wkt"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (31, 31), (600, 530)], ids=str)
def test_our_reader_and_pillow_read_a_label_map_exactly(tmp_path, suffix, shape):
    labels = drawn(shape)
    path = written(tmp_path / f"a{suffix}", labels)
    raster = read_raster(path, labels.size)
    assert raster.kind == "palette"
    np.testing.assert_array_equal(raster.pixels[..., 0], labels)
    np.testing.assert_array_equal(raster.palette[1], class_colour(1))
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_predictions_are_scored_as_they_were_written(tmp_path, suffix):
    config = DataConfig(classes=CLASSES, mask={"encoding": "index"}, masks="masks")
    labels = drawn(nodata=False)
    path = written(tmp_path / f"a{suffix}", labels)
    np.testing.assert_array_equal(read_prediction(path, Expected(labels.shape, UTM), "palette", config), labels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bits_of_a_multilabel_task_have_no_palette(tmp_path, suffix):
    config = DataConfig(classes=("none", "a", "b", "c"), task="multilabel", mask={"encoding": "bands"}, masks="masks")
    labels = drawn(values=8, nodata=False)
    path = written(tmp_path / f"a{suffix}", labels, classes=config.classes, task="multilabel")
    np.testing.assert_array_equal(read_prediction(path, Expected(labels.shape, UTM), "index", config), labels)
    assert read_raster(path, labels.size).kind == "gray"


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_data_is_transparent_in_a_png(tmp_path, task):
    labels = drawn()
    with Image.open(written(tmp_path / "a.png", labels, task=task)) as image:
        np.testing.assert_array_equal(np.asarray(image), labels)
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha == 0, labels == NODATA)


def test_without_no_data_nothing_is_declared(tmp_path):
    labels = drawn(nodata=False)
    with rasterio.open(written(tmp_path / "a.tif", labels, nodata=None)) as dataset:
        assert dataset.nodata is None
    raster = read_raster(written(tmp_path / "a.png", labels, nodata=None), labels.size)
    assert not raster.alpha


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_heights_of_the_strips_do_not_matter(tmp_path, suffix):
    labels = drawn((1100, 90))
    files = []
    for height in (1, 64, 700, 1100):
        path = tmp_path / f"{height}{suffix}"
        write_label_map(path, cut(labels, height), labels.shape, UTM, classes=CLASSES, nodata=NODATA)
        files.append(path.read_bytes())
    assert len(set(files)) == 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("strips", "message"),
    [
        ([np.zeros((4, 5), np.uint8)], r"the strips end at row 4 of an image \(6, 5\)"),
        ([np.zeros((4, 5), np.uint8)] * 2, r"a strip \(4, 5\) at row 4 does not fit into an image \(6, 5\)"),
        ([np.zeros((6, 4), np.uint8)], r"a strip \(6, 4\) at row 0 does not fit"),
        ([], "the strips end at row 0"),
    ],
    ids=["few", "many", "narrow", "none"],
)
def test_strips_that_are_not_the_image_leave_no_file(tmp_path, suffix, strips, message):
    with pytest.raises(ValueError, match=message):
        write_label_map(tmp_path / f"a{suffix}", strips, (6, 5), UTM, classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.jpg: label maps are written as \.png, \.tif, \.tiff, not \.jpg"):
        written(tmp_path / "a.jpg", drawn())


def test_a_coordinate_system_that_nobody_knows_is_named(tmp_path):
    place = Place("EPSG:65000", UTM.transform, UTM.spacing, "m")
    with pytest.raises(DataError, match=r"coordinate system EPSG:65000 of the image is not known .*as PNG"):
        written(tmp_path / "a.tif", drawn(), place)
    assert not list(tmp_path.iterdir())


def test_without_rasterio_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r'pip install "seg-scse\[geo\]"`, or save label maps as PNG'):
        written(tmp_path / "a.tif", drawn())
    written(tmp_path / "a.png", drawn())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
