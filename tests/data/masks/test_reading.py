from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine

from seg_scse.data.files.raster import Place
from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .masked import mask_of, palette, saved

INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
BLACK_WHITE = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
CLASSES = ("a", "b", "c")
GRID = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
PLACE = Place("EPSG:32633", GRID, (10.0, 10.0), "m")


def geotiff(path: Path, bands: np.ndarray, crs: str = "EPSG:32633", grid: tuple = GRID, **options: object) -> Path:
    """Bands `(H, W)` or `(C, H, W)`."""
    bands = bands if bands.ndim == 3 else bands[None]
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=Affine(*grid), **shape, **options) as file:
        file.write(bands)
    return path


def test_sizes_must_be_equal_and_both_files_are_named(tmp_path):
    path = saved(tmp_path / "m.png", INDICES)
    with pytest.raises(DataError, match=r"m\.png: the mask is 3 x 2 pixels, but its image image\.png is 4 x 2"):
        mask_of(path, shape=(2, 4))


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_is_applied_to_masks(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path / "m.png", INDICES, exif=exif)
    expected = np.rot90(INDICES, {3: 2, 6: -1}[orientation])
    assert np.array_equal(mask_of(path, shape=expected.shape, classes=CLASSES), expected)


def test_objects_are_united(tmp_path):
    first = saved(tmp_path / "1.png", np.array([[255, 255, 0]], np.uint8))
    second = saved(tmp_path / "2.png", np.array([[0, 255, 0]], np.uint8))
    assert mask_of([first, second], (1, 3), encoding="objects").tolist() == [[1, 1, 0]]
    assert mask_of([], (1, 3), encoding="objects").tolist() == [[0, 0, 0]]


def test_an_object_of_another_size_is_named(tmp_path):
    paths = [saved(tmp_path / "1.png", BLACK_WHITE), saved(tmp_path / "2.png", BLACK_WHITE[:1])]
    with pytest.raises(DataError, match=r"2\.png: the mask is 3 x 1 pixels, but its image image\.png is 3 x 2"):
        mask_of(paths, encoding="objects")


def class_files(folder: Path) -> list[Path]:
    layers = ([[255, 0, 0], [255, 0, 0]], [[0, 255, 0], [255, 0, 0]])
    return [saved(folder / f"{name}.png", np.array(x, np.uint8)) for name, x in zip("bc", layers, strict=True)]


def test_one_file_for_each_class_is_put_together(tmp_path):
    paths = class_files(tmp_path)
    options = {"classes": CLASSES, "encoding": "files", "data": {"masks": "{class}"}}
    assert mask_of(paths, **options, overlap="last").tolist() == [[1, 2, 0], [2, 0, 0]]
    with pytest.raises(DataError, match=r"b\.png, .*c\.png: 1 pixel is in two classes: 1 in b and c\. Put `data\.m"):
        mask_of(paths, **options)
    options["data"] = {"masks": "{class}", "task": "multilabel"}
    assert mask_of(paths, **options).tolist() == [[1, 2, 0], [3, 0, 0]]


def test_one_band_for_each_class_is_put_together(tmp_path):
    bands = np.array([[[255, 0, 0], [255, 0, 0]], [[0, 200, 100], [255, 0, 0]]], np.uint8)
    path = geotiff(tmp_path / "m.tif", bands)
    options = {"classes": CLASSES, "encoding": "bands"}
    assert mask_of(path, **options, overlap="last").tolist() == [[1, 2, 0], [2, 0, 0]]
    with pytest.raises(DataError, match=r"m\.tif: 1 pixel is in two classes: 1 in b and c"):
        mask_of(path, **options)
    assert mask_of(path, **options, data={"task": "multilabel"}).tolist() == [[1, 2, 0], [3, 0, 0]]
    with pytest.raises(DataError, match=r"has 2 bands, but data\.mask\.encoding=bands needs 3: one each for x, y, z"):
        mask_of(path, classes=("no", "x", "y", "z"), encoding="bands")


@pytest.mark.parametrize("count", [1, 3, 4])
def test_bands_of_pictures_are_classes_too(tmp_path, count):
    layers = np.zeros((2, 3, count), np.uint8)
    layers[0, 0, 0] = layers[1, 2, -1] = 255
    path = saved(tmp_path / "m.png", layers.squeeze())
    found = mask_of(path, classes=["no", *"wxyz"[:count]], encoding="bands")
    assert found.tolist() == [[1, 0, 0], [0, 0, count]]


def test_a_palette_has_no_bands(tmp_path):
    with pytest.raises(DataError, match=r"has a palette, but data\.mask\.encoding=bands needs 1"):
        mask_of(palette(tmp_path / "m.png", INDICES), encoding="bands")


def test_deep_bands_have_a_deep_threshold(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[[0, 3000, 3001]]], np.uint16))
    assert mask_of(path, (1, 3), encoding="bands", threshold=3000).tolist() == [[0, 0, 1]]


def test_pixels_without_data_are_refused_until_they_are_declared(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[0, 1, 99]], np.uint8), nodata=99)
    with pytest.raises(DataError) as caught:
        mask_of(path, (1, 3))
    text = str(caught.value)
    assert "m.tif: 1 of 3 pixels hold the no-data value 99 that the file declares. " in text
    assert "Put `data.mask.nodata: value` into" in text
    assert "`data.mask.nodata: ignore`" in text
    assert mask_of(path, (1, 3), nodata="ignore").tolist() == [[0, 1, 255]]
    with pytest.raises(DataError, match="undeclared mask value 99"):
        mask_of(path, (1, 3), nodata="value")


def test_a_background_that_is_called_no_data_can_be_an_ordinary_value(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[0, 1, 0]], np.uint8), nodata=0)
    assert mask_of(path, (1, 3), nodata="value").tolist() == [[0, 1, 0]]
    assert mask_of(path, (1, 3), nodata="ignore").tolist() == [[255, 1, 255]]


def test_a_no_data_value_that_no_pixel_holds_is_no_problem(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[0, 1, 0]], np.uint8), nodata=255)
    assert mask_of(path, (1, 3)).tolist() == [[0, 1, 0]]


def test_labels_as_floats_with_nan_for_no_data_are_read(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[0, 1, np.nan]], np.float32), nodata=np.nan)
    assert mask_of(path, (1, 3), nodata="ignore").tolist() == [[0, 1, 255]]
    with pytest.raises(DataError, match=r"1 of 3 pixels hold no integer, such as nan"):
        mask_of(path, (1, 3), nodata="value")


def test_no_data_is_left_out_of_thresholds_bands_and_whole_masks(tmp_path):
    path = geotiff(tmp_path / "m.tif", np.array([[0, 200, 255]], np.uint8), nodata=255)
    assert mask_of(path, (1, 3), encoding="binary", nodata="ignore").tolist() == [[0, 1, 255]]
    assert mask_of(path, (1, 3), encoding="bands", nodata="ignore").tolist() == [[0, 1, 255]]
    empty = geotiff(tmp_path / "e.tif", np.full((1, 3), 255, np.uint8), nodata=255)
    for encoding in ("index", "binary"):
        assert mask_of(empty, (1, 3), encoding=encoding, nodata="ignore").tolist() == [[255, 255, 255]]


@pytest.mark.parametrize("encoding", ["objects", "files"])
def test_no_data_of_one_of_several_files_can_be_ignored(tmp_path, encoding):
    paths = [geotiff(tmp_path / "a.tif", np.array([[0, 255, 7]], np.uint8), nodata=7)]
    paths.append(geotiff(tmp_path / "b.tif", np.array([[255, 0, 0]], np.uint8)))
    declared = {"classes": ["background", "a", "b"], "masks": "{class}"} if encoding == "files" else {}
    read = mask_of(paths, (1, 3), encoding=encoding, nodata="ignore", **({"data": declared} if declared else {}))
    assert read.tolist() == ([[2, 1, 255]] if encoding == "files" else [[1, 1, 255]])


@pytest.mark.parametrize(
    ("crs", "grid", "text"),
    [
        ("EPSG:32634", GRID, r"EPSG:32634 against EPSG:32633"),
        ("EPSG:32633", (10.0, 0.0, 500_010.0, 0.0, -10.0, 5_000_000.0), r"a shift of up to 1 pixels"),
        ("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_005.0), r"a shift of up to 0\.5 pixels"),
        ("EPSG:32633", (10.1, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), r"a shift of up to 0\.0297 pixels"),
        ("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, 10.0, 5_000_000.0), r"a shift of up to 4 pixels"),
    ],
)
def test_a_mask_that_lies_elsewhere_than_its_image_is_refused(tmp_path, crs, grid, text):
    path = geotiff(tmp_path / "m.tif", BLACK_WHITE, crs, grid)
    with pytest.raises(DataError, match=rf"m\.tif: the mask lies elsewhere than its image image\.png: {text}\. Bring"):
        mask_of(path, place=PLACE, encoding="binary")


def test_a_mask_on_the_same_grid_or_without_one_is_read(tmp_path):
    nearly = (10.0, 0.0, 500_000.004, 0.0, -10.0, 5_000_000.0)
    for place in (PLACE, None, Place(None, None, (1.0, 1.0), "unknown")):
        path = geotiff(tmp_path / "m.tif", BLACK_WHITE, grid=nearly)
        assert np.array_equal(mask_of(path, place=place, encoding="binary"), BLACK_WHITE // 255)
    plain = saved(tmp_path / "m.png", BLACK_WHITE)
    assert np.array_equal(mask_of(plain, place=PLACE, encoding="binary"), BLACK_WHITE // 255)


def test_two_names_of_one_reference_system_are_no_difference(tmp_path):
    same = Place(rasterio.CRS.from_epsg(32633).to_wkt(), GRID, (10.0, 10.0), "m")
    path = geotiff(tmp_path / "m.tif", BLACK_WHITE)
    assert np.array_equal(mask_of(path, place=same, encoding="binary"), BLACK_WHITE // 255)


def nifti(path: Path, voxels: np.ndarray, spacing: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> Path:
    nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])).to_filename(path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_of_a_volume_are_read_slice_by_slice_as_its_image(tmp_path, dtype):
    voxels = np.random.default_rng(2).integers(0, 3, (4, 5, 6)).astype(dtype)
    labels = nifti(tmp_path / "labels.nii.gz", voxels)
    for plane in range(6):
        slice_ = read_raster(labels, 1000, plane)
        found = mask_of(labels, slice_.pixels.shape[:2], slice_.place, plane=plane, classes=CLASSES)
        assert np.array_equal(found, slice_.pixels[..., 0])
        assert sorted(found.ravel()) == sorted(voxels[:, :, plane].ravel())


def test_labels_with_other_voxels_than_the_image_are_refused(tmp_path):
    voxels = np.zeros((4, 5, 6), np.uint8)
    image = read_raster(nifti(tmp_path / "i.nii", voxels), 1000, 0)
    labels = nifti(tmp_path / "l.nii", voxels, (1.0, 2.5, 3.0))
    with pytest.raises(DataError, match=r"l\.nii: the mask lies elsewhere than .*: a shift of up to 0\.9 pixels"):
        mask_of(labels, image.pixels.shape[:2], image.place, plane=0)
