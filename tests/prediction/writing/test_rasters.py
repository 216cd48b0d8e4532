"""Probabilities and uncertainty as GeoTIFF."""

import numpy as np
import pytest
import rasterio

from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster import Place
from seg_scse.errors import ConfigError
from seg_scse.prediction.writing.rasters import probability_names, quantised, write_probabilities, write_uncertainty

UTM = Place("EPSG:32750", (10.0, 0.0, 500_000.0, 0.0, -10.0, 9_000_000.0), (10.0, 10.0), "m")
SHAPE = (600, 70)


def drawn(bands: int = 2) -> np.ndarray:
    values = np.random.default_rng(0).random((bands, *SHAPE), np.float32)
    values[:, :3] = np.nan
    values[:, 3, :4] = (0, 1, 0.5, 1 / 3)
    return values


def cut(values: np.ndarray) -> list[np.ndarray]:
    return [values[:, row : row + 77] for row in range(0, SHAPE[0], 77)]


@pytest.mark.parametrize(("dtype", "step"), [("float32", 0), ("uint8", 1 / 254), ("uint16", 1 / 65534)])
def test_probabilities_come_back_within_half_a_step(tmp_path, dtype, step):
    values = drawn()
    path = tmp_path / "p.tif"
    write_probabilities(path, cut(values), SHAPE, UTM, names=("axon", "myelin"), dtype=dtype)
    with rasterio.open(path) as dataset:
        assert (dataset.dtypes, dataset.descriptions) == ((dtype, dtype), ("axon", "myelin"))
        assert (dataset.crs.to_epsg(), dataset.transform) == (32750, rasterio.Affine(*UTM.transform))
        assert (dataset.shape, dataset.block_shapes[0]) == (SHAPE, (512, 512))
        data = dataset.read(masked=True)
        assert set(dataset.scales) == {step or 1}
        np.testing.assert_array_equal(np.ma.getmaskarray(data), np.isnan(values))
        difference = np.abs(data.data * np.float64(dataset.scales[0]) - values)[~np.isnan(values)]
    assert difference.max() <= step / 2 * 1.01
    assert data.data[0, 3, 1] * dataset.scales[0] == pytest.approx(1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_quantised_strips_are_written_as_they_are(tmp_path, dtype):
    values = drawn()
    for name, strips in (("a", cut(values)), ("b", [quantised(strip, dtype) for strip in cut(values)])):
        write_probabilities(tmp_path / f"{name}.tif", strips, SHAPE, UTM, names=("x", "y"), dtype=dtype)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_floats_are_not_quantised():
    values = drawn()
    assert quantised(values, "float32") is values


def test_quantising_leaves_its_input_alone():
    values = drawn()
    quantised(values, "uint8")
    np.testing.assert_array_equal(values, drawn())


@pytest.mark.parametrize("bands", [3, 4])
def test_the_bands_of_several_classes_are_no_colours_and_no_transparency(tmp_path, bands):
    names = tuple("abcd"[:bands])
    write_probabilities(tmp_path / "p.tif", cut(drawn(bands)), SHAPE, UTM, names=names, dtype="uint8")
    with rasterio.open(tmp_path / "p.tif") as dataset:
        kinds = {kind.name for kind in dataset.colorinterp}
    assert kinds <= {"gray", "undefined"}


def test_uncertainty_has_named_bands_in_nats(tmp_path):
    values = drawn()
    write_uncertainty(tmp_path / "u.tif", cut(values), SHAPE, UTM, names=("entropy", "disagreement"))
    with rasterio.open(tmp_path / "u.tif") as dataset:
        assert (dataset.descriptions, dataset.units) == (("entropy", "disagreement"), ("nat", "nat"))
        assert np.isnan(dataset.nodata)
        np.testing.assert_array_equal(dataset.read(), values)


def test_maps_without_place_are_written(tmp_path):
    write_uncertainty(tmp_path / "u.tif", cut(drawn(1)), SHAPE, None)
    with decoding, rasterio.open(tmp_path / "u.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), drawn(1))


def test_maps_need_the_suffix_of_a_tiff(tmp_path):
    with pytest.raises(ConfigError, match=r"p\.png: these maps are written as \.tif or \.tiff, not \.png"):
        write_probabilities(tmp_path / "p.png", cut(drawn()), SHAPE, UTM, names=("x", "y"))
    with pytest.raises(ConfigError, match=r"u: .*not without suffix"):
        write_uncertainty(tmp_path / "u", cut(drawn()), SHAPE, UTM)


@pytest.mark.parametrize(
    ("classes", "task", "names"),
    [
        (("background", "cell"), "multiclass", ("cell",)),
        (("a", "b", "c"), "multiclass", ("a", "b", "c")),
        (("none", "b", "c"), "multilabel", ("b", "c")),
        (("none", "b"), "multilabel", ("b",)),
    ],
)
def test_planes_are_named_by_their_classes(classes, task, names):
    assert probability_names(classes, task) == names
