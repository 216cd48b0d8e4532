"""Slices of volumes that are in no data set."""

import re

import nibabel
import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.store import Store
from seg_scse.data.volume_slices import VolumeSlices, in_plane, series_slices, volume_slices
from seg_scse.errors import DataError

from .files.drawn_files import save_volume
from .files.drawn_series import save_scan, save_series
from .test_single import PER_FILE, VOXELS, run

RANGE = {"method": "range", "low": -800, "high": 900}


def shown(slices: VolumeSlices, view: str, number: int) -> np.ndarray:
    return np.asarray(slices.read(view, number).image)


@pytest.mark.parametrize(
    ("scale", "neighbours"),
    [(RANGE, 0), ({"method": "percentile"}, 1), (PER_FILE, 0), ({"method": "zscore", "per": "file"}, 1)],
    ids=["range", "percentile", "file", "zscore"],
)
def test_slices_are_those_of_the_run(tmp_path, scale, neighbours):
    volume = {"plane": "coronal", "every": 5, "neighbours": neighbours}
    config, store, state = run(tmp_path / "d", scale=scale, volume=volume)
    for position, sample in enumerate(build_manifest(config).samples):
        slices = volume_slices([sample.image], config, state)
        assert np.array_equal(shown(slices, "coronal", sample.plane), np.asarray(store.image(position)))
    other = volume_slices([tmp_path / "d/images/0.nii"], config, state)
    assert shown(other, "axial", 3).shape == (24, 20, 2 * neighbours + 1)


def test_pixels_without_data_are_filled_as_in_the_run(tmp_path):
    config, store, state = run(tmp_path / "d", scale=RANGE, nodata=int(VOXELS[3, 4, 5]))
    slices = volume_slices([tmp_path / "d/images/0.nii"], config, state)
    holes = 0
    for plane in range(7):
        found = slices.read("axial", plane)
        assert np.array_equal(np.asarray(found.image), np.asarray(store.image(plane)))
        holes += 0 if found.valid is None else int((~found.valid).sum())
    assert holes == np.count_nonzero(VOXELS[3, 4, 5] == VOXELS)


def test_8_bit_slices_stay_as_they_are(tmp_path):
    path = save_volume(tmp_path / "a.nii", (VOXELS % 256).astype(np.uint8), np.eye(4))
    found = volume_slices([path], DataConfig(channels="gray"), None).read("axial", 2)
    assert (found.scaling, found.pixels.dtype) == (None, np.uint8)
    assert np.array_equal(found.pixels[..., 0], (VOXELS % 256)[..., 2].T[::-1])


def test_an_ensemble_finds_the_units_of_the_file(tmp_path):
    config, _, state = run(tmp_path / "d", scale={"method": "percentile"})
    found = volume_slices([tmp_path / "d/images/0.nii"], config, state).read("axial", 2)
    assert np.array_equal(found.pixels[..., 0], VOXELS[..., 2].T[::-1])
    assert found.scaling is not None


@pytest.mark.parametrize("neighbours", [0, 2])
@pytest.mark.parametrize("scale", [RANGE, PER_FILE])
def test_a_series_is_what_the_nifti_file_of_its_voxels_is(tmp_path, neighbours, scale):
    config = DataConfig.model_validate({"channels": "gray", "scale": scale, "volume": {"neighbours": neighbours}})
    series = series_slices(save_series(tmp_path / "s"), config, None)
    scan = volume_slices([save_scan(tmp_path / "a.nii")], config, None)
    for view in ("axial", "coronal", "sagittal"):
        for number in (0, 3, series.header.along(view) - 1):
            assert np.array_equal(shown(series, view, number), shown(scan, view, number))


def test_one_volume_per_band_makes_bands(tmp_path):
    files = [save_volume(tmp_path / f"{name}.nii", VOXELS // part) for part, name in enumerate(("t1", "t2"), start=1)]
    config = DataConfig.model_validate({"bands": ["t1", "t2"], "scale": RANGE})
    found = volume_slices(files, config, None).read("axial", 1).pixels
    assert found.shape[2] == 2
    assert np.array_equal(found[..., 1], found[..., 0] // 2)
    short = save_volume(tmp_path / "short.nii", VOXELS[..., :5])
    with pytest.raises(DataError, match=r"short\.nii: has 20 x 24 x 5 voxels, but the band in t1\.nii 20 x 24 x 7"):
        volume_slices([files[0], short], config, None)


@pytest.mark.parametrize("axis", range(3))
def test_bands_of_other_places_are_refused_and_turned_ones_are_brought_together(tmp_path, axis):
    config = DataConfig.model_validate({"bands": ["t1", "t2"], "scale": RANGE})
    first = save_volume(tmp_path / "t1.nii", VOXELS)
    affine = nibabel.load(first).affine
    moved, turned = affine.copy(), affine.copy()
    moved[:3, 3] += 2 * affine[:3, axis]
    turned[:3, 3] += (VOXELS.shape[axis] - 1) * affine[:3, axis]
    turned[:3, axis] *= -1
    other = save_volume(tmp_path / "turned.nii", np.flip(VOXELS, axis), turned)
    found = volume_slices([first, other], config, None).read("coronal", 3).pixels
    assert np.array_equal(found[..., 0], found[..., 1])
    other = save_volume(tmp_path / "moved.nii", VOXELS, moved)
    with pytest.raises(
        DataError, match=r"moved\.nii: lies elsewhere than the band in t1\.nii \(a shift of up to 2 voxels"
    ):
        volume_slices([first, other], config, None)


def test_what_the_run_could_not_read_is_refused_by_name(tmp_path):
    path = save_volume(tmp_path / "a.nii")
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: holds int16, but data\.scale\.method = dtype"):
        volume_slices([path], DataConfig(channels="gray"), None).read("axial", 0)
    four = save_volume(tmp_path / "b.nii", np.zeros((4, 4, 4, 2), np.uint8), np.eye(4))
    with pytest.raises(DataError, match=r"b\.nii: has 2 bands\. Name them"):
        volume_slices([four], DataConfig(channels="gray"), None).read("axial", 0)


def test_the_plane_of_a_section_is_changed_alone():
    config = in_plane(
        DataConfig.model_validate({"channels": "gray", "volume": {"neighbours": 3, "every": 2}}), "coronal"
    )
    assert (config.volume.plane, config.volume.neighbours, config.volume.every) == ("coronal", 3, 2)


def test_the_store_names_its_channels(tmp_path):
    config, store, _ = run(tmp_path / "d", scale={"method": "percentile"}, volume={"neighbours": 1})
    assert isinstance(store, Store)
    assert config.band_names == ("gray-1", "gray", "gray+1")
    assert store.image(0).shape == (24, 20, 3)
    assert len(store.statistics([0, 1]).mean) == 3
