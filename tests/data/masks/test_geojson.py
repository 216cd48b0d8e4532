import json

import numpy as np
import pytest
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.warp import transform

from seg_scse.data.files.raster import Place
from seg_scse.data.masks.polygons import is_geojson
from seg_scse.errors import DataError

from .annotated import BOX, OLD_CRS, UTM, geojson, map_mask, polygon, to_lon_lat


def test_geojson_is_burnt_where_the_image_lies(tmp_path):
    path = geojson(tmp_path / "g.geojson", to_lon_lat(polygon(BOX)))
    assert map_mask(path).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert is_geojson(path)


def test_an_old_crs_member_is_believed(tmp_path):
    expected = map_mask(geojson(tmp_path / "g.json", to_lon_lat(polygon(BOX))))
    assert np.array_equal(map_mask(geojson(tmp_path / "old.json", polygon(BOX), **OLD_CRS)), expected)
    degrees = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}
    assert np.array_equal(map_mask(geojson(tmp_path / "d.json", to_lon_lat(polygon(BOX)), **degrees)), expected)


def test_geojson_on_a_turned_grid_is_as_rasterio_burns_it(tmp_path):
    grid = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -7)
    place = Place("EPSG:32633", tuple(grid)[:6], (7.0, 10.0), "m")
    random = np.random.default_rng(5)
    angles = np.linspace(0, 6, 12)
    corners = [
        grid @ (30 + r * np.cos(t), 25 + r * np.sin(t)) for t, r in zip(angles, random.uniform(8, 22, 12), strict=True)
    ]
    outline = {"type": "Polygon", "coordinates": [[list(xy) for xy in [*corners, corners[0]]]]}
    expected = rasterize([outline], out_shape=(50, 60), transform=grid)
    path = geojson(tmp_path / "g.json", to_lon_lat(outline))
    assert 300 < expected.sum() < 1500
    assert np.array_equal(map_mask(path, (50, 60), place), expected)


def test_holes_parts_and_collections_are_areas(tmp_path):
    hole = [(2.0, 1.0), (3.0, 1.0), (3.0, 2.0), (2.0, 2.0)]
    ring = polygon(BOX, hole)
    assert map_mask(geojson(tmp_path / "h.json", ring, **OLD_CRS))[1].tolist() == [0, 1, 0, 1, 0]
    parts = {"type": "MultiPolygon", "coordinates": [polygon(BOX)["coordinates"], polygon(hole)["coordinates"]]}
    assert map_mask(geojson(tmp_path / "m.json", parts, **OLD_CRS))[1].tolist() == [0, 1, 1, 1, 0]
    nested = {"type": "GeometryCollection", "geometries": [{"type": "GeometryCollection", "geometries": [ring, parts]}]}
    assert map_mask(geojson(tmp_path / "c.json", nested, **OLD_CRS)).sum() == 6


def test_heights_of_corners_are_no_coordinates_of_the_image(tmp_path):
    outline = polygon(BOX)
    outline["coordinates"] = [[[*position, 100.0] for position in ring] for ring in outline["coordinates"]]
    assert map_mask(geojson(tmp_path / "z.json", outline, **OLD_CRS)).sum() == 6


def test_a_bare_geometry_is_a_feature(tmp_path):
    (tmp_path / "g.json").write_text(json.dumps(to_lon_lat(polygon(BOX))))
    assert map_mask(tmp_path / "g.json").sum() == 6


def test_one_file_for_all_images_may_have_nothing_on_one(tmp_path):
    far = Place(UTM.crs, (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_000_000.0), (10.0, 10.0), "m")
    path = geojson(tmp_path / "all.geojson", polygon(BOX), **OLD_CRS)
    assert not map_mask(path, place=far, data={"masks": "all.geojson"}).any()
    with pytest.raises(DataError, match=r"none of its features lies on image\.png: are longitude and latitude swapped"):
        map_mask(path, place=far)


def test_a_property_names_the_class(tmp_path):
    path = geojson(tmp_path / "g.json", polygon(BOX), properties={"kind": "tree", "code": 2}, **OLD_CRS)
    classes = ("no", "car", "tree")
    assert map_mask(path, classes=classes, field="kind").max() == 2
    assert map_mask(path, classes=classes, field="code", labels={"2": 1}).max() == 1
    with pytest.raises(DataError, match=r"which of the 3 classes is a feature\? .*data\.mask\.field; .* code, kind\."):
        map_mask(path, classes=classes)
    with pytest.raises(
        DataError, match=r"1 feature without a property sort .* features\[0\]\. The features have code, kind: "
    ):
        map_mask(path, classes=classes, field="sort")
    with pytest.raises(DataError, match=r"The features have kind, code: correct data\.mask\.field"):
        map_mask(path, classes=classes, field="Kin")
    with pytest.raises(DataError, match=r"undeclared class 2; .*`data\.mask\.labels: \{'2': 1\}`"):
        map_mask(path, classes=classes, field="code")


@pytest.mark.parametrize(
    "place", [None, Place(None, UTM.transform, UTM.spacing, "m"), Place(UTM.crs, None, (1, 1), "m")]
)
def test_pixels_of_an_image_without_a_place_are_not_guessed(tmp_path, place):
    path = geojson(tmp_path / "g.json", to_lon_lat(polygon(BOX)))
    with pytest.raises(DataError, match=r"coordinates lie on the map, but the image does not say where it lies"):
        map_mask(path, place=place)


def test_metres_without_a_crs_member_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"features\[0\]: x from 500010 to 500040 .*no longitudes and latitudes"):
        map_mask(geojson(tmp_path / "g.json", polygon(BOX)))


@pytest.mark.parametrize(
    ("geometry", "text"),
    [
        (None, "features[0]: has no geometry; only Polygon and MultiPolygon"),
        ({"type": "Point", "coordinates": [1, 2]}, "features[0]: is 'Point'; only Polygon"),
        ({"type": "Polygon", "coordinates": []}, "features[0]: is 'Polygon'; only Polygon and MultiPolygon with coord"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "a ring is a list of at least 3 positions [x, y]"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2]]]}, "a ring is a list of at least 3 positions"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, None]]]}, "a ring is a list of at least 3 positions"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 10**400]]]}, "a ring is a list of at least 3"),
        ({"type": "Polygon", "coordinates": [5]}, "a ring is a list of at least 3 positions [x, y], not 5"),
        ({"type": "Polygon", "coordinates": [{"a": 1}]}, "a ring is a list of at least 3 positions"),
        ({"type": "MultiPolygon", "coordinates": [5]}, "a polygon is a list of rings, not 5"),
    ],
)
def test_geometries_without_an_area_are_refused_by_record(tmp_path, geometry, text):
    with pytest.raises(DataError) as caught:
        map_mask(geojson(tmp_path / "g.json", geometry))
    assert "g.json, features[0]: " in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (None, "its crs member None names no coordinate reference system"),
        ({"type": "link"}, "names no coordinate reference system"),
        ({"type": "name", "properties": {"name": "EPSG:999999"}}, "cannot be brought from EPSG:999999 to EPSG:32633"),
    ],
)
def test_an_unknown_reference_system_is_refused(tmp_path, member, text):
    with pytest.raises(DataError) as caught:
        map_mask(geojson(tmp_path / "g.json", polygon(BOX), crs=member))
    assert text in str(caught.value)


def test_features_that_are_none_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"type": "FeatureCollection", "features": 5}')
    with pytest.raises(DataError, match=r"a\.json: its features are no list"):
        map_mask(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"type": "FeatureCollection", "features": [5]}')
    with pytest.raises(DataError, match=r"b\.json, features\[0\]: is no object of type Feature"):
        map_mask(tmp_path / "b.json")


def test_collections_may_be_nested_as_deep_as_json_allows(tmp_path):
    depth = 300
    text = '{"type":"GeometryCollection","geometries":[' * depth + json.dumps(to_lon_lat(polygon(BOX))) + "]}" * depth
    (tmp_path / "deep.json").write_text(text)
    assert map_mask(tmp_path / "deep.json").sum() == 6


def test_what_lies_between_the_corners_is_on_the_map_not_only_the_corners(tmp_path):
    world = {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}
    assert map_mask(geojson(tmp_path / "w.json", world)).all()
    # one edge along the parallel of 50 degrees, which UTM bends: 109 pixels of 10 m in the middle of 200 km
    grid = Place("EPSG:32633", (1000.0, 0.0, 400_000.0, 0.0, -10.0, 5_541_000.0), (10.0, 1000.0), "m")
    north = {"type": "Polygon", "coordinates": [[[10, 50], [20, 50], [20, 60], [10, 60], [10, 50]]]}
    found = map_mask(geojson(tmp_path / "n.json", north), (300, 200), grid).sum(0).astype(int)
    xs = [400_500.0 + 1000 * column for column in range(200)]
    lons = transform("EPSG:32633", "OGC:CRS84", xs, [5_539_000.0] * 200)[0]
    edge = np.array(transform("OGC:CRS84", "EPSG:32633", lons, [50.0] * 200)[1])
    assert np.ptp(edge) > 500
    assert np.abs(found - (5_541_000 - edge) / 10).max() < 1


def test_features_on_both_sides_of_the_date_line_reach_one_image(tmp_path):
    grid = Place("EPSG:32760", (1000.0, 0.0, 800_000.0, 0.0, -1000.0, 8_000_000.0), (1000.0, 1000.0), "m")
    sides = [[[a, -18.5], [b, -18.5], [b, -18.2], [a, -18.2], [a, -18.5]] for a, b in ((179, 180), (-180, -179.5))]
    path = geojson(tmp_path / "d.json", *({"type": "Polygon", "coordinates": [side]} for side in sides))
    found = map_mask(path, (100, 100), grid)
    assert found[30, :70].all()
    assert not found[:10].any()
