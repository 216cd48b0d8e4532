import pytest
import rasterio

from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster import Place
from seg_scse.data.files.reading import read_place, read_raster

from .drawn_files import COLOURS, FOUR, save_raster

UTM = {"crs": "EPSG:32750", "transform": rasterio.Affine(10, 0, 399960, 0, -20, 8900020)}


def test_place_is_read_from_the_header(tmp_path):
    place = Place("EPSG:32750", (10, 0, 399960, 0, -20, 8900020), (20, 10), "m")
    for pixels in (COLOURS, FOUR):  # decoded by Pillow, and by GDAL
        path = save_raster(tmp_path / "a.tif", pixels, **UTM)
        assert read_place(path) == read_raster(path, 10**6).place == place


@pytest.mark.parametrize(
    ("crs", "unit"), [("EPSG:4326", "degree"), ("EPSG:3857", "m"), ("EPSG:2263", "unknown"), ("EPSG:32633+5773", "m")]
)
@pytest.mark.parametrize(
    "transform", [rasterio.Affine(0.5, 0, 10, 0, -0.25, 50), rasterio.Affine(0.3, 0.4, 10, 0.4, -0.3, 50)]
)
@pytest.mark.parametrize("area", ["AREA", "POINT"])
def test_place_is_that_of_rasterio(tmp_path, crs, unit, transform, area):
    path = save_raster(tmp_path / "a.tif", FOUR, crs=crs, transform=transform)
    with decoding, rasterio.open(path, "r+") as dataset:
        dataset.update_tags(AREA_OR_POINT=area.title())
    place = read_place(path)
    with decoding, rasterio.open(path) as dataset:
        assert place is not None
        assert place.transform == pytest.approx(tuple(dataset.transform)[:6])
        assert place.crs is not None
        assert rasterio.crs.CRS.from_user_input(place.crs) == dataset.crs
        assert place.unit == unit


def test_a_system_without_code_is_named_by_its_text(tmp_path):
    own = "+proj=laea +lat_0=10 +lon_0=20 +units=m +ellps=GRS80"
    place = read_place(save_raster(tmp_path / "a.tif", FOUR, crs=own, transform=UTM["transform"]))
    assert place is not None
    assert place.crs is not None
    assert place.crs.startswith("PROJCS")
    assert place.unit == "m"


def test_a_scale_without_system_has_no_name(tmp_path):
    place = read_place(save_raster(tmp_path / "a.tif", FOUR, transform=UTM["transform"]))
    assert place == Place(None, (10, 0, 399960, 0, -20, 8900020), (20, 10), "unknown")
