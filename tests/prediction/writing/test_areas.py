import builtins
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from seg_scse.data.files.raster import Place
from seg_scse.inference.spacing import Spacing
from seg_scse.prediction.writing.areas import Areas, ClassCounts, cell_areas, count_classes, pixel_areas

EARTH = (
    510_065_621_724_089.0  # m2, the surface of WGS 84 (Moritz 2000, Geodetic Reference System 1980: 5.10065621724e14)
)
A, E2 = 6378137.0, (2 - 1 / 298.257223563) / 298.257223563


def test_the_cells_of_the_whole_earth_have_its_surface() -> None:
    edges = np.linspace(-90, 90, 181)
    assert cell_areas(np.stack([edges[:-1], edges[1:]], axis=-1), 360).sum() == pytest.approx(EARTH, rel=1e-9)


@pytest.mark.parametrize("latitude", [0.0, -9.587, 52.5, 89.0])
def test_a_small_cell_is_as_large_as_its_radii_of_curvature_say(latitude: float) -> None:
    step = 1e-4
    phi = math.radians(latitude + step / 2)
    w = math.sqrt(1 - E2 * math.sin(phi) ** 2)
    meridian, normal = A * (1 - E2) / w**3, A / w
    expected = meridian * normal * math.cos(phi) * math.radians(step) ** 2
    assert cell_areas(np.array([latitude, latitude + step]), step) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("place", "area", "unit"),
    [
        pytest.param(None, 1.0, "px", id="no place"),
        pytest.param(Place("EPSG:32750", (10, 0, 5e5, 0, -10, 9.9e6), (10, 10), "m"), 100.0, "m2", id="metres"),
        pytest.param(Place("EPSG:32750", (6, 8, 5e5, 8, -6, 9.9e6), (10, 10), "m"), 100.0, "m2", id="turned"),
        pytest.param(
            Place("EPSG:2263", (2, 0, 9e5, 0, -2, 2e5), (2, 2), "unknown"),
            (2 * 1200 / 3937) ** 2,
            "m2",
            id="US survey feet",
        ),
        pytest.param(Place(None, None, (0.5, 0.25), "mm"), 0.125, "mm2", id="medical"),
        pytest.param(Place(None, (10, 0, 0, 0, -10, 0), (10, 10), "unknown"), 1.0, "px", id="no reference system"),
        pytest.param(Place("EPSG:9", (1, 0, 0, 0, -1, 0), (1, 1), "m"), 1.0, "px", id="an unknown code"),
        pytest.param(
            Place('LOCAL_CS["site",UNIT["metre",1]]', (1, 0, 0, 0, -1, 0), (1, 1), "unknown"), 1.0, "px", id="local"
        ),
    ],
)
def test_every_row_of_a_flat_image_has_the_same_area(place: Place | None, area: float, unit: str) -> None:
    found = pixel_areas(place, (3, 5))
    assert found.unit == unit
    assert found.rows == pytest.approx([area] * 3, rel=1e-9)


def test_a_configured_spacing_comes_before_the_file() -> None:
    place = Place("EPSG:32750", (10, 0, 5e5, 0, -10, 9.9e6), (10, 10), "m")
    assert pixel_areas(place, (1, 1), Spacing(0.5, 0.2, "mm")) == (pytest.approx([0.1]), "mm2")
    assert pixel_areas(place, (1, 1), Spacing(1, 1, "px")) == (pytest.approx([1.0]), "px")


def test_degrees_have_the_area_of_their_latitude() -> None:
    place = Place("EPSG:4326", (0.1, 0, 20, 0, -0.5, 60), (0.5, 0.1), "degree")
    areas = pixel_areas(place, (2, 7))
    assert areas.unit == "m2"
    assert areas.rows == pytest.approx(cell_areas(np.array([[59.5, 60], [59, 59.5]]), 0.1), rel=1e-12)
    assert areas.rows[1] > 1.01 * areas.rows[0]


@pytest.mark.parametrize("turn", [90.0, 30.0])
def test_a_turned_grid_of_degrees_keeps_its_area(turn: float) -> None:
    step, cos, sin = 1e-3, math.cos(math.radians(turn)), math.sin(math.radians(turn))
    shape = (400, 300)
    turned = Place("EPSG:4326", (step * cos, step * sin, 10, step * sin, -step * cos, 50), (step, step), "degree")
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    latitudes = 50 + sin * step * columns - cos * step * rows
    exact = cell_areas(np.stack([latitudes - step / 2, latitudes + step / 2], axis=-1), step)
    assert pixel_areas(turned, shape).rows == pytest.approx(exact.mean(axis=1), rel=1e-7)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3395", "EPSG:4087"])
def test_a_map_that_enlarges_has_the_area_on_the_ellipsoid(crs: str) -> None:
    rasterio_warp = pytest.importorskip("rasterio.warp")
    x, y = (values[0] for values in rasterio_warp.transform("OGC:CRS84", crs, [13.4], [52.5]))
    place = Place(crs, (1, 0, x, 0, -1, y), (1, 1), "m")
    found = pixel_areas(place, (2, 4))
    lon, lat = rasterio_warp.transform(crs, "OGC:CRS84", [x, x + 1], [y, y - 1])
    assert found.unit == "m2"
    assert found.rows[0] == pytest.approx(float(cell_areas(np.array(lat), lon[1] - lon[0])), rel=1e-6)
    assert found.rows[0] < 0.65


def integrated(south: float, north: float, width: float, major: float, flattening: float) -> float:
    """Area of a cell of degrees: the radii of curvature along the meridian and across it, summed numerically."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    sine = np.sin(np.radians((south + north) / 2 + (north - south) / 2 * nodes))
    squared = flattening * (2 - flattening)
    along = major * (1 - squared) / (1 - squared * sine**2) ** 1.5
    across = major / np.sqrt(1 - squared * sine**2) * np.sqrt(1 - sine**2)
    return float((along * across * weights).sum() * math.radians(north - south) / 2 * math.radians(width))


@pytest.mark.parametrize(
    ("crs", "degrees", "major", "flattening"),
    [
        ("EPSG:4326", 1, 6378137, 1 / 298.257223563),
        ("EPSG:4267", 1, 6378206.4, 1 / 294.978698213898),
        ("EPSG:4807", 0.9, 6378249.2, 1 / 293.466021293627),
        ("ESRI:104903", 1, 1737400, 0),
    ],
    ids=["world", "another ellipsoid", "grads", "moon"],
)
def test_a_cell_has_the_area_on_the_ellipsoid_of_its_system(
    crs: str, degrees: float, major: float, flattening: float
) -> None:
    place = Place(crs, (0.01, 0, 2, 0, -0.02, 48), (0.02, 0.01), "degree")
    exact = integrated(47.98 * degrees, 48 * degrees, 0.01 * degrees, major, flattening)
    assert pixel_areas(place, (1, 1)) == (pytest.approx([exact], rel=1e-8), "m2")


def test_a_mercator_map_of_the_moon_has_areas_of_the_moon() -> None:
    moon = (
        'PROJCS["m",GEOGCS["moon",DATUM["moon",SPHEROID["moon",1737400,0]],PRIMEM["reference",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["Mercator_1SP"],PARAMETER["central_meridian",0],'
        'PARAMETER["scale_factor",1],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
    )
    found = pixel_areas(Place(moon, (10, 0, 1e5, 0, -10, 2e6), (10, 10), "m"), (1, 1))
    enlarged = math.cosh((2e6 - 5) / 1737400)  # of the sphere, at the latitude of the pixel
    assert found == (pytest.approx([100 / enlarged**2], rel=1e-6), "m2")


def test_a_map_without_rasterio_is_counted_in_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., object] = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name.startswith("rasterio"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    place = Place("EPSG:32750", (10, 0, 5e5, 0, -10, 9.9e6), (10, 10), "m")
    assert pixel_areas(place, (1, 1)) == (pytest.approx([1.0]), "px")


def test_voxels_have_a_volume_and_pixels_stay_pixels() -> None:
    flat = Areas(np.array([0.5, 0.5]), "mm2").thick(3)
    assert flat.unit == "mm3"
    assert flat.rows == pytest.approx([1.5, 1.5])
    assert Areas(np.ones(1), "px").thick(3) == (pytest.approx([1.0]), "px")


LABELS = np.array([[0, 1, 2, 255], [1, 1, 2, 255], [3, 0, 255, 255]], np.uint8)
ROWS = np.array([1.0, 2.0, 4.0])


def test_classes_are_counted_with_the_areas_of_their_rows() -> None:
    counts = count_classes(LABELS, ROWS, 4, "multiclass")
    assert counts == ClassCounts((2, 3, 2, 1), (5.0, 5.0, 3.0, 4.0), 4)


def test_labels_that_overlap_are_counted_each() -> None:
    counts = count_classes(LABELS, ROWS, 3, "multilabel")
    assert counts == ClassCounts((2, 4, 3), (5.0, 9.0, 7.0), 4)


def test_a_value_without_meaning_of_its_own_is_a_class() -> None:
    counts = count_classes(LABELS, ROWS, 256, "multiclass", nodata=None)
    assert (counts.pixels[255], counts.nodata) == (4, 0)


def test_the_counts_of_strips_add_up_to_those_of_the_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (40, 30)).astype(np.uint8)
    rows = np.linspace(1, 2, 40)
    whole = count_classes(labels, rows, 4, "multiclass", nodata=3)
    total = ClassCounts.none(4)
    for start in (0, 16, 32):
        total += count_classes(labels[start : start + 16], rows[start : start + 16], 4, "multiclass", nodata=3)
    assert (total.pixels, total.nodata) == (whole.pixels, whole.nodata)
    assert total.area == pytest.approx(whole.area)
    assert sum(total.pixels) + total.nodata == labels.size


def test_counts_survive_json() -> None:
    counts = count_classes(LABELS, np.array([0.1, 1 / 3, 2.0]), 4, "multiclass")
    assert ClassCounts.of(json.loads(json.dumps(counts.record()))) == counts
