"""Bringing the slices of a volume to the size of the training's pixels, and back."""

import nibabel
import numpy as np
import pytest
from torch import Tensor

from seg_scse.config.schema import DataConfig
from seg_scse.errors import DataError
from seg_scse.inference.predictor import Predictor
from seg_scse.inference.spacing import Spacing
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volumes import VolumeOutputs, predict_volume

from ..data.files.drawn_files import save_volume
from .drawn_volumes import ROUND, Point, gray, predicted


def test_resampling_shows_the_network_pixels_of_the_size_of_the_training_and_brings_back(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.diag([0.5, 1.0, 3.0, 1.0]))
    seen: list[tuple[int, ...]] = []

    class Watch(Point):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[2:]))
            return super().forward(x)

    network = gray(Watch(), tile=128)
    plain, _ = predicted(path, tmp_path / "plain.nii", network)
    labels, _ = predicted(path, tmp_path / "out.nii", network, resample=(0.5, 0.5))
    assert labels.shape == plain.shape
    assert (labels != plain).mean() < 0.02
    same, _ = predicted(path, tmp_path / "same.nii", network, resample=(1.0, 0.5))
    assert np.array_equal(same, plain)
    coarse, _ = predicted(path, tmp_path / "coarse.nii", network, resample=(4, 2))
    inside = np.s_[14:24, 16:22, 3:8]
    assert (coarse[inside] == 1).all()
    assert (coarse[:2, :2] == 0).all()


def test_the_size_of_the_network_input_follows_the_spacing_of_each_plane(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.diag([0.5, 1.0, 3.0, 1.0]))
    seen: list[tuple[int, ...]] = []

    class Watching(Predictor):
        def strips(self, image, which=None, **more):
            seen.append(tuple(image.shape))
            return super().strips(image, which, **more)

    network = Watching(**vars(gray(Point())))
    predicted(path, tmp_path / "out.nii", network, "mean", resample=(1, 0.5))
    assert seen == [(36, 40, 1)] * 11 + [(33, 40, 1)] * 36 + [(33, 72, 1)] * 40


def test_8_bit_slices_are_resampled_as_numbers_from_0_to_1(tmp_path):
    voxels = np.full((16, 16, 3), 200, np.uint8)
    path = save_volume(tmp_path / "a.nii", voxels, np.eye(4))
    config = DataConfig(channels="gray")
    out = VolumeOutputs(None, tmp_path / "p.nii")
    found = []
    for resample in (None, (0.7, 0.7)):
        predict_volume(gray(Point()), Item("a", "volume", (path,)), Reading(config, None), "axial", resample, out)
        found.append(np.asarray(nibabel.load(out.probabilities).dataobj))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_volume_without_unit_cannot_be_resampled_and_is_counted_in_voxels(tmp_path):
    nibabel.Nifti1Image(ROUND, np.eye(4)).to_filename(tmp_path / "a.nii")
    _, result = predicted(tmp_path / "a.nii", tmp_path / "out.nii", gray())
    assert (result.voxel_size, result.unit) == (None, "px")
    with pytest.raises(DataError, match=r"a\.nii: does not say the unit of its voxels.*set_xyzt_units\('mm'\)"):
        predicted(tmp_path / "a.nii", tmp_path / "b.nii", gray(), resample=(1, 1))
    assert not (tmp_path / "b.nii").exists()


def test_pixels_of_another_size_than_in_the_training_are_remarked(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.diag([0.5, 1.0, 3.0, 1.0]))

    def notes(height: float, width: float, unit: str = "mm", plane: str = "axial", **more: object) -> tuple:
        trained = Spacing(height, width, unit)
        return predicted(path, tmp_path / "o.nii", gray(), plane, trained=trained, **more)[1].notes

    assert notes(1.2, 0.5) == notes(1, 0.61) == notes(9, 9, "m") == ()
    assert notes(1.0, 0.3) == (
        "its axial pixels are 1 x 0.5 mm, those of the training 1 x 0.3 mm: use --resample training",
    )
    assert notes(1.0, 0.3, resample=(1, 0.3)) == ()
    assert notes(1.0, 0.5, plane="coronal")[1:] == (
        "its coronal pixels are 3 x 0.5 mm, those of the training 1 x 0.5 mm: use --resample training",
    )
    assert notes(1.0, 0.5, plane="mean") == (
        "its coronal pixels are 3 x 0.5 mm, sagittal pixels are 3 x 1 mm, those of the training 1 x 0.5 mm: use "
        "--resample training",
    )
