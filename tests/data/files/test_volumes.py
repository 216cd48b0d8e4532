import concurrent.futures
import gzip
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_scse.data.files import volumes
from seg_scse.data.files.reading import read_place, read_raster
from seg_scse.data.files.volumes import is_volume, plane_count
from seg_scse.errors import DataError

from .drawn_files import COLOURS, TURNED, VOXELS, save_pillow, save_volume

LIMIT = 10**6


def canonical(path: Path) -> np.ndarray:
    return np.asanyarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


@pytest.mark.parametrize("view", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("affine", [np.eye(4), TURNED, np.diag([-1.0, -2, 3, 1])])
def test_slices_lie_as_on_a_screen(tmp_path, view, affine):
    path = save_volume(tmp_path / "a.nii.gz", VOXELS, affine)
    voxels = canonical(path)
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[view]
    assert plane_count(path, view) == voxels.shape[axis]
    for plane in range(voxels.shape[axis]):
        across = voxels.take(plane, axis)  # (to the right, or to the front; upwards, or to the front)
        raster = read_raster(path, LIMIT, plane, view)
        assert np.array_equal(raster.pixels[..., 0], across.T[::-1])
        assert raster.pixels.dtype == np.int16
        assert (raster.kind, raster.format) == ("gray", "NIfTI")


def test_an_axial_slice_has_the_front_on_top_and_the_right_at_the_right(tmp_path):
    voxels = np.zeros((3, 4, 2), np.uint8)
    voxels[2, 3, 1] = 7  # rightmost, foremost, highest
    raster = read_raster(save_volume(tmp_path / "a.nii", voxels, np.eye(4)), LIMIT, 1)
    assert raster.pixels.shape == (4, 3, 1)
    assert raster.pixels[0, 2, 0] == 7


def test_the_place_follows_the_slice(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = [-10, -20, -30]
    place = read_raster(save_volume(tmp_path / "a.nii", VOXELS, affine), LIMIT, 0).place
    assert place == read_place(tmp_path / "a.nii")
    assert place is not None
    assert (place.spacing, place.unit) == ((3.0, 2.0), "mm")
    assert place.transform == (2.0, 0.0, -11.0, 0.0, -3.0, -20 + 3 * 23 + 1.5)
    across = read_place(tmp_path / "a.nii", "coronal")
    assert across is not None
    assert across.spacing == (4.0, 2.0)


def test_slope_and_intercept_are_applied_as_nibabel_does(tmp_path):
    path = save_volume(tmp_path / "a.nii", VOXELS)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, -1024], "<f4").tobytes()
    path.write_bytes(data)
    raster = read_raster(path, LIMIT, 3)
    assert raster.pixels.dtype == np.float32
    assert np.array_equal(raster.pixels[..., 0], canonical(path).take(3, 2).T[::-1].astype(np.float32))


@pytest.mark.parametrize(("dtype", "kept"), [(np.int64, "int32"), (np.float64, "float32"), (np.int8, "int16")])
def test_wide_labels_are_kept_where_they_fit(tmp_path, dtype, kept):
    path = tmp_path / "a.nii"
    nibabel.Nifti1Image(np.arange(24).reshape(2, 3, 4).astype(dtype), np.eye(4), dtype=dtype).to_filename(path)
    raster = read_raster(path, LIMIT, 0)
    assert raster.pixels.dtype == kept
    assert np.array_equal(raster.pixels[..., 0], np.arange(24).reshape(2, 3, 4)[..., 0].T[::-1])


def test_the_last_axis_of_four_is_bands(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    raster = read_raster(save_volume(tmp_path / "a.nii", voxels, np.eye(4)), LIMIT, 2)
    assert raster.kind == "bands"
    assert np.array_equal(raster.pixels, voxels[:, :, 2].transpose(1, 0, 2)[::-1])


def test_nifti_2_is_read(tmp_path):
    nibabel.Nifti2Image(VOXELS, np.eye(4)).to_filename(tmp_path / "a.nii")
    assert np.array_equal(read_raster(tmp_path / "a.nii", LIMIT, 0).pixels[..., 0], VOXELS[..., 0].T[::-1])


def test_a_volume_is_not_taken_for_one_image(tmp_path):
    path = save_volume(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii: is a volume of 7 axial slices, not one image"):
        read_raster(path, LIMIT)
    with pytest.raises(DataError, match=r"a\.nii: has 7 axial slices; there is no slice 7"):
        read_raster(path, LIMIT, 7)
    assert read_raster(save_volume(tmp_path / "b.nii", VOXELS[..., :1]), LIMIT).pixels.shape == (20, 24, 1)


def test_headers_that_cannot_be_used_are_refused(tmp_path):
    path = save_volume(tmp_path / "a.nii", np.zeros((2, 2, 2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(DataError, match=r"a NIfTI volume of shape \(2, 2, 2, 2, 2\), which is not read"):
        read_raster(path, LIMIT, 0)
    data = bytearray(save_volume(tmp_path / "b.nii").read_bytes())
    data[280:328] = bytes(48)  # the rows of the affine
    (tmp_path / "b.nii").write_bytes(data)
    with pytest.raises(DataError, match=r"b\.nii: (has an affine that gives its axes no direction|cannot be decoded)"):
        plane_count(tmp_path / "b.nii", "axial")


def test_a_compressed_header_that_promises_too_much_is_refused_at_once(tmp_path):
    head = save_volume(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16)).read_bytes()[:352]
    sizes = np.array([3, 1000, 1000, 900, 1, 1, 1, 1], "<i2").tobytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(head[:40] + sizes + head[56:]))
    with pytest.raises(DataError, match=r"b\.nii\.gz: the NIfTI file is cut off"):
        read_raster(tmp_path / "b.nii.gz", 10**8, 0)
    with pytest.raises(DataError, match=r"900000000 values are more than 16 times data\.max_pixels=1000000"):
        read_raster(tmp_path / "b.nii.gz", LIMIT, 0)


def test_slices_in_a_row_decode_the_volume_once(tmp_path, monkeypatch):
    path = save_volume(tmp_path / "once.nii.gz")
    decoded, original = [], volumes._voxels
    monkeypatch.setattr(volumes, "_voxels", lambda *given: decoded.append(1) or original(*given))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slices = list(pool.map(lambda plane: read_raster(path, LIMIT, plane).pixels, [*range(7)] * 3))
    assert decoded == [1]
    assert all(np.array_equal(slices[plane], slices[plane + 7]) for plane in range(14))


def test_few_volumes_are_kept(tmp_path):
    for number in range(8):
        read_raster(save_volume(tmp_path / f"{number}.nii"), LIMIT, 0)
    assert len(volumes._recent) <= 4


def test_a_volume_that_cannot_be_decoded_does_not_block_the_next(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(DataError, match=r"a\.nii\.gz: the NIfTI file is cut off or damaged \(CRC check failed"):
            read_raster(path, LIMIT, 0)


def test_other_files_have_no_planes(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: is a PNG file, not a NIfTI volume"):
        plane_count(save_pillow(tmp_path / "a.png", COLOURS), "axial")


def test_volumes_are_told_by_name():
    assert [is_volume(Path(name)) for name in ("a.nii", "a.NII.GZ", "a.gz", "a.dcm")] == [True, True, False, False]


def test_without_nibabel_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = save_volume(tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r'NIfTI is read by nibabel.*pip install "seg-scse\[medical\]"'):
        read_raster(path, LIMIT, 0)
