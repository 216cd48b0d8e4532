"""Files that are in no data set, read as those of a run."""

import json
import re

import nibabel
import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.single import find_file, read_scaled
from seg_scse.data.store import Store
from seg_scse.errors import DataError

VOXELS = np.random.default_rng(0).integers(-900, 3000, (20, 24, 7), dtype=np.int16)
VOXELS += 300 * np.arange(7, dtype=np.int16)  # each slice has a range of its own
PER_FILE = {"method": "percentile", "per": "file"}


def run(root, **data):
    """Draw a data set of three volumes; return its configuration, its store and the scaling of its checkpoint."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
        for number in range(3):
            voxels = VOXELS // (number + 1) if folder == "images" else (VOXELS > 500).astype(np.uint8)
            nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(root / folder / f"{number}.nii")
    fields = {
        "root": str(root),
        "cache": str(root / "cache"),
        "channels": "gray",
        "mask": {"encoding": "index"},
        "split": {"train": 0.5, "val": 0.25, "test": 0.25},
        **data,
    }
    config = DataConfig.model_validate(fields)
    store = Store.prepare(build_manifest(config), config)
    return config, store, json.loads(json.dumps(store.scales.as_state()))


@pytest.mark.parametrize("scale", [{"method": "range", "low": -800, "high": 900}, {"method": "percentile"}, PER_FILE])
def test_a_slice_of_a_volume_is_scaled_as_those_of_the_run(tmp_path, scale):
    config, store, state = run(tmp_path / "d", scale=scale, volume={"plane": "coronal", "every": 5})
    slices = [sample.plane for sample in build_manifest(config).samples]
    assert slices == [0, 5, 10, 15, 20] * 3
    for position, plane in enumerate(slices):
        path = tmp_path / f"d/images/{position // 5}.nii"
        assert np.array_equal(read_scaled(path, config, state, plane), np.asarray(store.image(position)))
    unlisted = read_scaled(tmp_path / "d/images/0.nii", config, state, 7)
    low, high = store.scales.each[0].low[0], store.scales.each[0].high[0]
    expected = (VOXELS[:, 7].T[::-1].astype(np.float32) - np.float32(low)) / np.float32(high - low)
    assert unlisted[..., 0] == pytest.approx(expected.clip(0, 1), abs=1e-6)


def test_a_volume_without_the_number_of_a_slice_is_refused_and_the_message_shows_how_to_name_one(tmp_path):
    config, _, state = run(tmp_path / "d", scale=PER_FILE)
    path = tmp_path / "d/images/0.nii"
    text = f"{path}: is a volume of 7 axial slices, not one image. Name one of them by its number from 0, such as "
    with pytest.raises(DataError, match=f"^{re.escape(text)}" + r"0\.nii:3\.$"):
        read_scaled(path, config, state)
    with pytest.raises(DataError, match=r"0\.nii: has 7 axial slices; there is no slice 7"):
        read_scaled(path, config, state, 7)


def test_a_volume_of_one_slice_needs_no_number(tmp_path):
    config, _, state = run(tmp_path / "d", scale=PER_FILE)
    nibabel.Nifti1Image(VOXELS[..., 2:3], np.eye(4)).to_filename(tmp_path / "a.nii")
    assert read_scaled(tmp_path / "a.nii", config, state).shape == (24, 20, 1)


def test_a_name_means_a_file_or_a_slice_of_a_volume(tmp_path):
    for name in ("a.nii.gz", "a.png", "b.nii:3"):
        (tmp_path / name).touch()
    assert find_file(f"{tmp_path}/a.png") == (tmp_path / "a.png", None)
    assert find_file(f"{tmp_path}/a.nii.gz") == (tmp_path / "a.nii.gz", None)
    assert find_file(f"{tmp_path}/a.nii.gz:012") == (tmp_path / "a.nii.gz", 12)
    assert find_file(f"{tmp_path}/b.nii:3") == (tmp_path / "b.nii:3", None)
    for name in ("a.png:3", "none.nii:3", "a.nii.gz:-1", "a.nii.gz:", "a.nii.gz:1:2", "a.nii.gz:" + "9" * 5000, ""):
        assert find_file(f"{tmp_path}/{name}") is None
