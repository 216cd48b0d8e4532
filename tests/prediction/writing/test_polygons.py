import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from pyogrio.raw import read

from seg_scse.data.files.raster import Place
from seg_scse.data.masks.burning import burn
from seg_scse.data.masks.geojson import on_pixels, parse_geojson
from seg_scse.errors import ConfigError, DataError, WriteError
from seg_scse.prediction.writing import polygons, vector_files
from seg_scse.prediction.writing.areas import Areas, count_classes, pixel_areas
from seg_scse.prediction.writing.polygons import write_polygons

CLASSES = ["background", "round", "long"]
UTM = Place("EPSG:32750", (10, 0, 547620, 0, -10, 9963530), (10, 10), "m")
DEGREES = Place("EPSG:4326", (1e-4, 0, -59.7, 0, -1e-4, -9.5), (1e-4, 1e-4), "degree")
ALBERS = (
    'PROJCS["own",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],\
UNIT["degree",0.0174532925199433]],PROJECTION["Albers_Conic_Equal_Area"],PARAMETER["latitude_of_center",40],\
PARAMETER["longitude_of_center",11],PARAMETER["standard_parallel_1",38],PARAMETER["standard_parallel_2",42],\
PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
)
OWN = Place(ALBERS, (8, 5, 1000, 6, -8, 2000), (9.4, 10), "m")
LOCAL = Place('LOCAL_CS["site",UNIT["metre",1]]', (1, 0, 0, 0, -1, 0), (1, 1), "unknown")


def shapes() -> NDArray[np.uint8]:
    """A ring of class 1 around a bar of class 2, another bar, a single pixel and pixels without data."""
    rows, columns = np.mgrid[:60, :80]
    distance = (rows - 30) ** 2 + (columns - 30) ** 2
    labels = ((distance < 20**2) & (distance > 9**2)).astype(np.uint8)
    labels[28:32, 25:35] = labels[5:55, 70:74] = 2
    labels[2, 2] = 1
    labels[:, 76:] = 255
    return labels


def features(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["features"]
    return found


def columns(path: Path) -> tuple[dict[str, Any], NDArray[np.object_]]:
    meta, _, geometries, values = read(path)
    return dict(zip(meta["fields"], values, strict=True)), shapely.from_wkb(geometries)


@pytest.mark.parametrize("place", [UTM, DEGREES, OWN], ids=["utm", "degrees", "own turned system"])
def test_geojson_filled_on_the_image_is_the_label_map(place: Place, tmp_path: Path) -> None:
    labels = shapes()
    path = tmp_path / "a.geojson"
    assert write_polygons(path, labels, place, CLASSES, "multiclass", simplify=0) == 4
    document = json.loads(path.read_text())
    assert "crs" not in document
    read_back = parse_geojson(path, document)
    for index in (1, 2):
        parts = [
            p
            for f, ps in on_pixels(path, read_back, place, labels.shape)
            if f.label("class_index") == str(index)
            for p in ps
        ]
        assert (burn(parts, labels.shape, "test") == (labels == index)).all()


@pytest.mark.parametrize("place", [UTM, DEGREES, OWN, LOCAL], ids=["utm", "degrees", "own turned system", "local"])
def test_a_geopackage_lies_on_the_map_of_the_image(place: Place, tmp_path: Path) -> None:
    labels = shapes()
    path = tmp_path / "a.gpkg"
    write_polygons(path, labels, place, CLASSES, "multiclass", simplify=0)
    values, geometries = columns(path)
    a, b, c, d, e, f = place.transform or (0,) * 6
    back = shapely.transform(geometries, lambda xy: np.linalg.solve([[a, b], [d, e]], (xy - [c, f]).T).T)
    for index in (1, 2):
        chosen = back[values["class_index"] == index]
        rings = [[shapely.get_coordinates(ring) for ring in shapely.get_rings(one)] for one in chosen]
        assert (burn(rings, labels.shape, "test") == (labels == index)).all()
    crs = pyogrio.read_info(path)["crs"]
    assert crs == place.crs if place in (UTM, DEGREES) else ("own" in crs or "site" in crs)
    assert sorted(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_region_has_its_class_and_the_area_of_its_pixels(suffix: str, tmp_path: Path) -> None:
    labels, path = shapes(), tmp_path / f"a{suffix}"
    write_polygons(path, labels, DEGREES, CLASSES, "multiclass")
    values, geometries = columns(path)
    assert list(values) == ["id", "class", "class_index", "area", "area_unit"]
    assert values["id"].tolist() == [1, 2, 3, 4]
    assert [CLASSES[index] for index in values["class_index"]] == values["class"].tolist()
    assert set(values["area_unit"]) == {"m2"}
    expected = count_classes(labels, pixel_areas(DEGREES, labels.shape).rows, 3, "multiclass").area
    for index in (1, 2):
        assert values["area"][values["class_index"] == index].sum() == pytest.approx(expected[index], rel=1e-9)
    assert shapely.is_valid(geometries).all()
    assert sorted(shapely.get_num_interior_rings(geometries)) == [0, 0, 0, 1]


def test_an_image_without_a_map_has_pixels_and_what_qupath_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_polygons(path, shapes(), None, CLASSES, "multiclass", simplify=0)
    assert "Coordinates are pixels" in json.loads(path.read_text())["description"]
    dot = features(path)[0]
    assert dot["properties"] == {
        "id": 1,
        "class": "round",
        "class_index": 1,
        "area": 1.0,
        "area_unit": "px",
        "objectType": "annotation",
        "classification": {"name": "round", "color": [0, 158, 115]},
    }
    assert shapely.geometry.shape(dot["geometry"]).equals(shapely.box(2, 2, 3, 3))


def test_pixels_beyond_180_stay_where_they_are(tmp_path: Path) -> None:
    labels = np.zeros((400, 700), np.uint8)
    labels[100:390, 150:690] = 1
    path = tmp_path / "a.geojson"
    write_polygons(path, labels, None, CLASSES, "multiclass")
    (one,) = features(path)
    assert shapely.geometry.shape(one["geometry"]).equals(shapely.box(150, 100, 690, 390))


def test_a_geopackage_without_a_map_claims_none(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write_polygons(path, shapes(), None, CLASSES, "multiclass", simplify=0)
    values, geometries = columns(path)
    assert geometries[0].equals(shapely.box(2, 2, 3, 3))
    assert set(values["area_unit"]) == {"px"}
    assert "Pixels" in pyogrio.read_info(path)["crs"]


def test_given_areas_come_before_those_of_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_polygons(path, shapes(), None, CLASSES, "multiclass", areas=Areas(np.full(60, 0.25), "mm2"))
    assert (features(path)[0]["properties"]["area"], features(path)[0]["properties"]["area_unit"]) == (0.25, "mm2")


def test_labels_that_overlap_are_regions_each(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:10, 2:10] = 1
    labels[5:15, 5:15] |= 2
    path = tmp_path / "a.gpkg"
    assert write_polygons(path, labels, None, CLASSES, "multilabel") == 2
    values, geometries = columns(path)
    assert values["class"].tolist() == ["round", "long"]
    assert geometries[0].equals(shapely.box(2, 2, 10, 10))
    assert geometries[1].equals(shapely.box(5, 5, 15, 15))


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_map_without_regions_is_a_file_without_features(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_polygons(path, np.full((5, 5), 255, np.uint8), UTM, CLASSES, "multiclass") == 0
    assert pyogrio.read_info(path)["features"] == 0
    if suffix == ".geojson":
        assert features(path) == []


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_many_regions_are_numbered_through_and_none_is_lost(suffix: str, tmp_path: Path) -> None:
    labels = np.zeros((200, 200), np.uint8)
    labels[::2, ::2] = 1
    path = tmp_path / f"a{suffix}"
    assert write_polygons(path, labels, UTM, CLASSES, "multiclass") == 10_000
    values, geometries = columns(path)
    assert sorted(values["id"]) == list(range(1, 10_001))
    assert len({one.wkb for one in shapely.centroid(geometries)}) == 10_000


def test_small_regions_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    assert write_polygons(path, shapes(), None, CLASSES, "multiclass", min_area=2) == 3
    assert [one["properties"]["id"] for one in features(path)] == [1, 2, 3]


def test_a_file_gives_the_same_bytes_as_its_array(tmp_path: Path) -> None:
    labels = shapes()
    Image.fromarray(labels).save(tmp_path / "labels.png")
    write_polygons(tmp_path / "a" / "x.geojson", labels, UTM, CLASSES, "multiclass")
    write_polygons(tmp_path / "b" / "x.geojson", tmp_path / "labels.png", UTM, CLASSES, "multiclass")
    assert (tmp_path / "a" / "x.geojson").read_bytes() == (tmp_path / "b" / "x.geojson").read_bytes()


def test_a_region_across_the_date_line_is_cut_there(tmp_path: Path) -> None:
    place = Place("EPSG:32601", (1000, 0, 100_000, 0, -1000, 5_000_000), (1000, 1000), "m")
    path = tmp_path / "a.geojson"
    write_polygons(path, np.ones((50, 300), np.uint8), place, CLASSES, "multiclass")
    (one,) = features(path)
    west, east = sorted((shapely.geometry.shape(one["geometry"])).geoms, key=lambda part: -part.bounds[0])
    assert west.bounds[2] == 180
    assert east.bounds[0] == -180
    assert max(west.area, east.area) < 10


def test_a_small_pixel_has_enough_decimals(tmp_path: Path) -> None:
    place = Place("EPSG:32750", (0.01, 0, 547620, 0, -0.01, 9963530), (0.01, 0.01), "m")
    path = tmp_path / "a.geojson"
    labels = np.zeros((4, 4), np.uint8)
    labels[1, 1] = 1
    write_polygons(path, labels, place, CLASSES, "multiclass", simplify=0)
    width = np.ptp([corner[0] for corner in features(path)[0]["geometry"]["coordinates"][0]])
    assert width == pytest.approx(0.01 / 111_320, rel=0.03)


def test_geojson_of_a_local_system_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.geojson: GeoJSON has longitude and latitude.*site.*--polygons gpkg"):
        write_polygons(tmp_path / "a.geojson", shapes(), LOCAL, CLASSES, "multiclass")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_an_unknown_system_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    place = Place("EPSG:9", (1, 0, 0, 0, -1, 0), (1, 1), "m")
    with pytest.raises(DataError, match="EPSG:9"):
        write_polygons(tmp_path / f"a{suffix}", shapes(), place, CLASSES, "multiclass")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "words"), [(1000, "the disk is full"), (1 << 40, "cannot be written")], ids=["full", "other"]
)
def test_a_geopackage_that_fails_leaves_the_last_one(
    free: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyogrio.errors import DataSourceError

    path = tmp_path / "a.gpkg"
    write_polygons(path, shapes(), UTM, CLASSES, "multiclass")
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise DataSourceError("Failed to commit transaction")

    usage: Callable[[object], Any] = lambda _: type("Usage", (), {"free": free})()  # noqa: E731
    monkeypatch.setattr("pyogrio.raw.write", fail)
    monkeypatch.setattr(vector_files.shutil, "disk_usage", usage)
    with pytest.raises(WriteError, match=words):
        write_polygons(path, shapes(), UTM, CLASSES, "multiclass")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(polygons, "find_spec", lambda name: None if name == "pyogrio" else object())
    with pytest.raises(ConfigError, match=r'polygons need pyogrio.*pip install "seg-scse\[geo\]"'):
        write_polygons(tmp_path / "a.gpkg", shapes(), UTM, CLASSES, "multiclass")


@pytest.mark.parametrize("first", ["rasterio", "pyogrio"])
def test_either_library_may_be_loaded_first(first: str, tmp_path: Path) -> None:
    code = (
        f"import {first}, pyogrio, rasterio\nfrom pathlib import Path\nimport numpy as np, shapely\n"
        "from rasterio.warp import transform\n"
        "from seg_scse.prediction.writing.vector_files import FeatureTable, write_geojson, write_geopackage\n"
        "table = FeatureTable(np.array([shapely.box(0, 0, 9, 9)]), {'id': np.arange(1)}, 'EPSG:32750')\n"
        f"write_geojson(Path({str(tmp_path)!r}, 'a.geojson'), [table], 7, '')\n"
        f"write_geopackage(Path({str(tmp_path)!r}, 'a.gpkg'), [table])\n"
        "print(transform('EPSG:32750', 'OGC:CRS84', [5e5], [9.9e6])[0][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == pytest.approx(117)
    assert len(features(tmp_path / "a.geojson")) == pyogrio.read_info(tmp_path / "a.gpkg")["features"] == 1
