"""DICOM series read as volumes."""

import re
import shutil
import sys

import numpy as np
import pydicom
import pytest

from seg_scse.data.files import series as module
from seg_scse.data.files.reading import read_raster
from seg_scse.data.files.series import read_series
from seg_scse.errors import DataError

from .drawn_files import COLOURS, save_dicom, save_pillow
from .drawn_series import AXIAL, SCAN, TILTED, save_scan, save_series

LIMIT = 10**6
CORONAL = (1, 0, 0, 0, 0, -1)


@pytest.mark.parametrize("directions", [AXIAL, TILTED, CORONAL])
@pytest.mark.parametrize("view", ["axial", "coronal", "sagittal"])
def test_a_series_has_the_slices_of_the_nifti_file_of_its_voxels(tmp_path, directions, view):
    series = read_series(save_series(tmp_path / "s", directions=directions), LIMIT)
    scan = save_scan(tmp_path / "a.nii", directions=directions)
    for plane in range(series.header.along(view)):
        one, other = series.slice(plane, view), read_raster(scan, LIMIT, plane, view)
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.kind, one.pixels.dtype, one.valid) == (other.kind, other.pixels.dtype, None)
        assert one.place is not None
        assert other.place is not None
        assert one.place.spacing == pytest.approx(other.place.spacing, rel=1e-5)
        assert one.place.transform == pytest.approx(other.place.transform, abs=1e-4)
        assert one.place.unit == "mm"
    with pytest.raises(
        DataError, match=rf"the series has {series.header.along(view)} {view} slices; there is no slice"
    ):
        series.slice(series.header.along(view), view)


def test_names_and_numbers_do_not_order_the_slices(tmp_path):
    files = save_series(tmp_path / "s")
    assert read_series(files, LIMIT).files == tuple(files)
    assert read_series(files[::-1], LIMIT).files == tuple(files)
    assert sorted(files) != files


def test_slope_and_intercept_of_each_slice_are_applied_and_inverted_ones_turned(tmp_path):
    files = save_series(tmp_path / "s", RescaleIntercept="-1024", RescaleSlope="1")
    dataset = pydicom.dcmread(files[2])
    dataset.RescaleSlope = "0.5"
    dataset.save_as(files[2])
    series = read_series(files, LIMIT)
    assert series.voxels.dtype == np.float32
    expected = SCAN - np.float32(1024)
    expected[..., 2] = SCAN[..., 2] * 0.5 - 1024
    assert np.array_equal(series.slice(2, "axial").pixels[..., 0], expected[..., 2].T[:, ::-1])
    inverted = save_series(tmp_path / "i", PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(
        read_series(inverted, LIMIT).voxels, -1 - read_series(save_series(tmp_path / "n"), LIMIT).voxels
    )


def test_a_slice_of_floats_among_integers_makes_all_floats(tmp_path):
    files = save_series(tmp_path / "s")
    dataset = pydicom.dcmread(files[0])
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "0"
    dataset.save_as(files[0])
    assert read_series(files, LIMIT).voxels.dtype == np.float32


def test_padding_of_one_slice_is_no_data_there(tmp_path):
    files = save_series(tmp_path / "s", PixelPaddingValue=int(SCAN[4, 5, 6]))
    series = read_series(files, LIMIT)
    slices = [series.slice(plane, "axial") for plane in range(7)]
    for raster in slices:
        assert np.array_equal(raster.valid, raster.pixels[..., 0] != SCAN[4, 5, 6])
    assert not slices[6].valid.all()


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path):
    files = save_series(tmp_path / "s")
    for number, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [-30.0, 12.0 + 0.4 * number, 5 + 2.5 * number]
        dataset.save_as(path)
    affine = read_series(files, LIMIT).header.nifti.get_best_affine()
    assert affine[:3, 2] == pytest.approx([0, -0.4, 2.5], abs=1e-6)


def moved(path, **tags):
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"SeriesInstanceUID": "9.9"}, "is of another series, compared with 90.dcm"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "lies in another direction"),
        ({"PixelSpacing": [0.75, 0.6]}, "has pixels of 0.75 x 0.6 mm (0.75 x 0.5 there)"),
        ({"ImagePositionPatient": [-30, 12, 5.0]}, "lies at the same place as"),
        ({"ImagePositionPatient": [-30, 12, 12.0]}, "no even volume. Resample the scan"),
        ({"ImagePositionPatient": [-24, 12, 12.5]}, "lies 6 mm beside the line of the other slices"),
        ({"ImagePositionPatient": None}, "does not say where it lies in its series (ImagePositionPatient missing)"),
        ({"PixelSpacing": None}, "(PixelSpacing missing). Predict the files as images: --series files."),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no pair of perpendicular directions"),
    ],
)
def test_slices_that_make_no_volume_are_refused_by_name(tmp_path, tags, reason):
    files = save_series(tmp_path / "s")
    moved(files[3], **tags)
    with pytest.raises(DataError, match=re.escape(reason)) as caught:
        read_series(files, LIMIT)
    assert "87.dcm" in str(caught.value)


def test_slices_of_another_size_are_refused(tmp_path):
    files = save_series(tmp_path / "s")
    save_series(tmp_path / "t", SCAN[:12, :, :2])
    shutil.copy(tmp_path / "t" / "89.dcm", files[1])
    with pytest.raises(DataError, match=r"89\.dcm: is 12 x 24 pixels large \(20 x 24 there\)"):
        read_series(files, LIMIT)


def test_missing_slices_are_counted_between_their_neighbours(tmp_path):
    files = save_series(tmp_path / "s")
    with pytest.raises(
        DataError, match=r"slices of its series are missing: 2 between 87\.dcm and 84\.dcm; slices are 2\.5 mm apart"
    ):
        read_series([*files[:4], files[6]], LIMIT)


def test_one_slice_and_other_files_are_no_series(tmp_path):
    files = save_series(tmp_path / "s")
    with pytest.raises(DataError, match=r"90\.dcm: is one slice, no series"):
        read_series(files[:1], LIMIT)
    with pytest.raises(DataError, match=r"a\.png: is a PNG file, not a slice of a DICOM series"):
        read_series([*files, save_pillow(tmp_path / "a.png", COLOURS)], LIMIT)
    with pytest.raises(DataError, match=r"b\.dcm: does not say where it lies in its series \(ImagePositionPatient, "):
        read_series([*files, save_dicom(tmp_path / "b.dcm")], LIMIT)


def test_a_series_that_is_too_large_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch):
    files = save_series(tmp_path / "s")
    monkeypatch.setattr(module, "read_raster", lambda *_: pytest.fail("a slice was decoded"))
    with pytest.raises(
        DataError, match=r"480 pixels are more than|more than data\.max_pixels=100|3360 values are more"
    ):
        read_series(files, 100)


def test_a_series_is_decoded_once_until_a_file_changes(tmp_path):
    files = save_series(tmp_path / "s")
    first = read_series(files, LIMIT)
    assert read_series(files, LIMIT) is first
    save_dicom_again = pydicom.dcmread(files[0])
    save_dicom_again.PatientComments = "changed"
    save_dicom_again.save_as(files[0])
    assert read_series(files, LIMIT) is not first


def test_without_pydicom_the_message_says_what_to_install(tmp_path, monkeypatch):
    files = save_series(tmp_path / "s")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r'DICOM is read by pydicom.*pip install "seg-scse\[medical\]"'):
        read_series(files, LIMIT)
