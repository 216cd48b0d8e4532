"""Slices of a volume with their neighbours as channels."""

from pathlib import Path

import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.neighbours import around
from seg_scse.data.files.pictures import file_sample, open_picture
from seg_scse.data.files.volumes import plane_count
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

from .drawn_files import COLOURS, VOXELS, read_picture, save_pillow, save_volume


def config(neighbours: int, **data: object) -> DataConfig:
    volume = {"neighbours": neighbours, "plane": data.pop("plane", "axial")}
    return DataConfig.model_validate({"channels": "gray", "volume": volume, **data})


def test_numbers_stop_at_the_ends():
    assert around(3, 9, 0) == [3]
    assert around(0, 9, 2) == [0, 0, 0, 1, 2]
    assert around(8, 9, 1) == [7, 8, 8]
    assert around(0, 1, 1) == [0, 0, 0]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_channels_are_the_slices_below_itself_and_above(tmp_path, plane):
    path = save_volume(tmp_path / "a.nii.gz")
    with open_picture(file_sample(path, 0), config(0, plane=plane)) as picture:
        assert picture.shape[2] == 1
    count = plane_count(path, plane)
    for number in (0, 3, count - 1):
        pixels, valid, facts = read_picture(file_sample(path, number), config(2, plane=plane))
        assert (valid, pixels.shape[2]) == (None, 5)
        assert facts == ("come with 2 neighbouring slices on each side",)
        for channel, other in enumerate(around(number, count, 2)):
            alone = read_picture(file_sample(path, other), config(0, plane=plane))[0]
            assert np.array_equal(pixels[..., channel], alone[..., 0])


def test_windows_are_those_of_the_whole(tmp_path):
    path = save_volume(tmp_path / "a.nii")
    with open_picture(file_sample(path, 2), config(1)) as picture:
        whole, _ = picture.read(slice(None), slice(None))
        part, _ = picture.read(slice(3, 9), slice(5, 11))
        assert np.array_equal(part, whole[3:9, 5:11])
        assert (picture.windowed, picture.shape, picture.dtype) == (False, whole.shape, "int16")
        assert picture.place is not None


def test_bands_keep_together_in_each_slice(tmp_path):
    voxels = np.arange(4 * 5 * 3 * 2, dtype=np.int16).reshape(4, 5, 3, 2)
    path = save_volume(tmp_path / "a.nii", voxels, np.eye(4))
    two = DataConfig.model_validate({"bands": ["ct", "pet"], "use": ["pet", "ct"], "volume": {"neighbours": 1}})
    assert two.band_names == ("pet-1", "ct-1", "pet", "ct", "pet+1", "ct+1")
    pixels = read_picture(file_sample(path, 1), two)[0]
    expected = [voxels[:, ::-1, plane, band].T for plane in (0, 1, 2) for band in (1, 0)]
    assert np.array_equal(pixels, np.stack(expected, axis=2))


def test_a_neighbour_without_data_gives_way_and_the_slice_itself_says_where_there_is_none(tmp_path):
    voxels = np.zeros((4, 5, 3), np.float32) + np.arange(3, dtype=np.float32)
    voxels[1, 1, 0] = np.nan
    voxels[2, 2, 1] = np.nan
    path = save_volume(tmp_path / "a.nii", voxels, np.eye(4))
    pixels, valid, _ = read_picture(file_sample(path, 1), config(1))
    assert np.argwhere(~valid).tolist() == [[2, 2]]
    assert pixels[3, 1].tolist() == [1, 1, 2]
    assert pixels[0, 0].tolist() == [0, 1, 2]
    assert np.isfinite(pixels[valid]).all()


def test_files_that_are_no_volumes_have_no_neighbours(tmp_path):
    path = save_pillow(tmp_path / "a.png", COLOURS[..., 0])
    with (
        pytest.raises(DataError, match=r"a\.png: is no volume, and has no neighbouring slices.*= 1 takes volumes"),
        open_picture(Sample("a", Path(path), (), None, "a"), config(1)),
    ):
        pass


def test_a_volume_is_still_not_taken_for_one_image(tmp_path):
    path = save_volume(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"is a volume of 7 axial slices, not one image"):
        read_picture(file_sample(path), config(1))
    alone = save_volume(tmp_path / "b.nii", VOXELS[..., :1])
    assert read_picture(file_sample(alone), config(1))[0].shape == (20, 24, 3)
