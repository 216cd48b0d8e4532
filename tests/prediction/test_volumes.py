"""Predicting volumes."""

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from seg_scse.config.schema import DataConfig
from seg_scse.data.volume_slices import volume_slices
from seg_scse.errors import ConfigError, DataError, WriteError
from seg_scse.inference.ensemble import Ensemble
from seg_scse.prediction import volumes
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volumes import VolumeOutputs, predict_volume

from ..data.files.drawn_files import save_volume
from ..data.files.drawn_series import TILTED, save_scan, save_series
from ..inference.drawn import Bright, predictor
from .drawn_volumes import CONFIG, FLIPPED, OBLIQUE, RANGE, ROUND, Point, gray, predicted


@pytest.mark.parametrize(
    ("affine", "plane", "suffix"),
    [
        (np.eye(4), "axial", ".nii"),
        (FLIPPED, "coronal", ".nii.gz"),
        (FLIPPED, "axial", ".nii"),
        *((OBLIQUE, plane, ".nii.gz") for plane in ("axial", "coronal", "sagittal")),
    ],
    ids=["axial", "flipped-coronal", "flipped", "oblique-axial", "oblique-coronal", "oblique-sagittal"],
)
def test_labels_lie_on_the_voxels_of_their_file(tmp_path, affine, plane, suffix):
    path = save_volume(tmp_path / f"a{suffix}", ROUND, affine)
    labels, result = predicted(path, tmp_path / f"out{suffix}", gray(), plane)
    source, found = nibabel.load(path), nibabel.load(tmp_path / f"out{suffix}")
    assert (found.get_data_dtype(), labels.shape) == (np.uint8, ROUND.shape)
    assert np.array_equal(found.affine, source.affine)
    for name in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "qoffset_x", "pixdim"):
        assert np.array_equal(found.header[name], source.header[name])
    slices, network = volume_slices([path], CONFIG, None), gray()
    turned = np.asarray(nibabel.as_closest_canonical(found).dataobj)
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    for number in range(turned.shape[axis]):
        expected = network.labels(network.probabilities(slices.read(plane, number).image))
        assert np.array_equal(turned.take(number, axis).T[::-1], expected)
    assert 0 < labels.mean() < 1
    assert result.voxels == (int((labels == 0).sum()), int((labels == 1).sum()))
    assert (result.slices, result.shape, result.unit) == (turned.shape[axis], ROUND.shape, "mm3")
    assert result.voxel_size == pytest.approx(abs(np.linalg.det(affine[:3, :3])), rel=1e-5)


def test_planes_make_no_difference_to_a_network_of_points_and_their_mean_is_each_of_them(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", ROUND, OBLIQUE)
    found = {
        plane: predicted(path, tmp_path / f"{plane}.nii.gz", gray(Point()), plane)
        for plane in ("axial", "coronal", "sagittal", "mean")
    }
    assert found["mean"][1].slices == sum(ROUND.shape)
    for labels, result in found.values():
        assert np.array_equal(labels, found["axial"][0])
        assert result.voxels == found["axial"][1].voxels
    assert 0 < found["axial"][0].mean() < 1
    assert found["mean"][1].notes == found["axial"][1].notes == ()
    assert found["coronal"][1].notes == ("the slices are coronal, those of the training axial",)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_mean_of_three_planes_is_that_of_their_probabilities(tmp_path, classes):
    config = CONFIG.model_copy(update={"classes": ("none", "a", "b")[:classes]})
    network = gray(Bright(1, 1 if classes == 2 else classes))
    voxels = ROUND[4:32:2, 6:32:2]  # slices fit into one tile: blended ones disagree a little
    path = save_volume(tmp_path / "a.nii", voxels, FLIPPED)
    parts = {}
    for plane in ("axial", "coronal", "sagittal", "mean"):
        out = VolumeOutputs(tmp_path / f"{plane}.nii", tmp_path / f"{plane}_p.nii", tmp_path / f"{plane}_u.nii")
        predict_volume(network, Item("a", "volume", (path,)), Reading(config, None), plane, None, out)
        parts[plane] = [np.asarray(nibabel.load(file).dataobj) for file in (out.labels, out.probabilities)]
        uncertainty = np.asarray(nibabel.load(out.uncertainty).dataobj)
        assert (parts[plane][1].shape, parts[plane][1].dtype) == ((*voxels.shape, 1 if classes == 2 else 3), np.float32)
        assert uncertainty.shape == (*voxels.shape, 2)
        p = parts[plane][1].astype(float)
        p = np.concatenate([p, 1 - p], -1) if classes == 2 else p
        assert uncertainty[..., 0] == pytest.approx(-(p * np.log(p)).sum(-1), abs=1e-4)
        assert (uncertainty[..., 1] >= 0).all()
        assert (uncertainty[..., 1].max() > 1e-3) == (plane == "mean")
    mean = np.mean([parts[plane][1] for plane in ("axial", "coronal", "sagittal")], axis=0)
    assert parts["mean"][1] == pytest.approx(mean, abs=1e-6)
    labels = mean.argmax(-1) if classes == 3 else mean[..., 0] > 0.5
    assert (parts["mean"][0] != labels).mean() < 1e-4
    assert not np.array_equal(parts["mean"][0], parts["axial"][0])


@pytest.mark.parametrize(("plane", "neighbours"), [("axial", 1), ("coronal", 0), ("mean", 1)])
def test_a_dicom_series_gives_the_bytes_of_its_nifti_file(tmp_path, neighbours, plane):
    config = CONFIG.model_copy(update={"volume": CONFIG.volume.model_copy(update={"neighbours": neighbours})})
    network = predictor(Bright(2 * neighbours + 1), bands=2 * neighbours + 1)
    files = tuple(save_series(tmp_path / "s", directions=TILTED))
    items = Item("a", "series", files[::-1]), Item("a", "volume", (save_scan(tmp_path / "a.nii", directions=TILTED),))
    found = []
    for item in items:
        out = VolumeOutputs(tmp_path / f"{item.kind}.nii.gz", tmp_path / f"{item.kind}_p.nii.gz")
        predict_volume(network, item, Reading(config, None), plane, None, out)
        found.append([nibabel.load(path) for path in (out.labels, out.probabilities)])
    for one, other in zip(*found, strict=True):
        assert np.asarray(one.dataobj).tobytes() == np.asarray(other.dataobj).tobytes()
        assert one.affine == pytest.approx(other.affine, abs=1e-4)
    assert int(found[0][0].header["sform_code"]) == int(found[0][0].header["qform_code"]) == 1


def test_voxels_without_data_are_background_and_counted_apart(tmp_path):
    voxels = ROUND.astype(np.float32)
    voxels[:, :, 4] = np.nan
    voxels[3, 3, 3] = np.inf
    config = CONFIG.model_copy(update={"volume": CONFIG.volume})
    path = save_volume(tmp_path / "a.nii", voxels, OBLIQUE)
    missing = ~np.isfinite(voxels)
    for plane in ("axial", "mean"):
        out = VolumeOutputs(tmp_path / "l.nii", tmp_path / "p.nii", tmp_path / "u.nii")
        network = gray(threshold=1e-9)  # all is foreground
        item = Item("a", "volume", (path,))
        result = predict_volume(network, item, Reading(config, None), plane, None, out)
        labels = np.asarray(nibabel.load(out.labels).dataobj)
        assert (labels[missing] == 0).all()
        assert labels[~missing].mean() > 0.99
        assert (result.nodata, sum(result.voxels)) == (missing.sum(), (~missing).sum())
        for file in (out.probabilities, out.uncertainty):
            values = np.asarray(nibabel.load(file).dataobj)
            assert np.array_equal(np.isnan(values).any(-1), missing)


def test_bits_of_a_multilabel_task_are_counted_one_by_one(tmp_path):
    config = CONFIG.model_copy(update={"classes": ("none", "a", "b"), "task": "multilabel"})
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    labels, result = predicted(path, tmp_path / "o.nii", gray(Point(2), multilabel=True), config=config)
    expected = int((labels == 0).sum()), int((labels & 1 > 0).sum()), int((labels & 2 > 0).sum())
    assert result.voxels == expected
    assert set(np.unique(labels)) == {0, 1, 3}


def test_an_ensemble_predicts_volumes_and_their_disagreement(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    out = VolumeOutputs(tmp_path / "l.nii", tmp_path / "p.nii", tmp_path / "u.nii")
    members = gray(Point()), gray(Bright(1))
    predict_volume(Ensemble(members), Item("a", "volume", (path,)), Reading(CONFIG, None), "axial", None, out)
    both = np.asarray(nibabel.load(out.probabilities).dataobj)
    alone = []
    for member in members:
        one = VolumeOutputs(None, tmp_path / "one.nii")
        predict_volume(member, Item("a", "volume", (path,)), Reading(CONFIG, None), "axial", None, one)
        alone.append(np.asarray(nibabel.load(one.probabilities).dataobj))
    assert both == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
    assert np.asarray(nibabel.load(out.uncertainty).dataobj)[..., 1].max() > 1e-3


def test_files_say_what_their_values_mean_and_are_the_same_each_time(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    out = VolumeOutputs(tmp_path / "l.nii.gz", tmp_path / "p.nii.gz")
    written = []
    for _ in range(2):
        predict_volume(gray(), Item("a", "volume", (path,)), Reading(CONFIG, None), "axial", None, out)
        written.append((out.labels.read_bytes(), out.probabilities.read_bytes()))
    assert written[0] == written[1]
    header = nibabel.load(out.labels).header
    assert json.loads(header.extensions[0].get_content()) == {
        "classes": ["background", "foreground"],
        "values": "indices",
    }
    assert header.get_intent()[0] == "label"
    assert written[0][0][4:8] == bytes(4)  # gzip's time
    labels = np.asarray(nibabel.load(out.labels).dataobj)
    assert gzip.decompress(written[0][0])[-ROUND.size :] == labels.tobytes(order="F")


def test_progress_counts_the_slices_of_all_planes(tmp_path):
    path, seen = save_volume(tmp_path / "a.nii", ROUND[:5, :6, :4], np.eye(4)), []
    predicted(path, tmp_path / "o.nii", gray(), "mean", progress=lambda *at: seen.append(at))
    assert seen == [(done, 15) for done in range(1, 16)]


def test_flat_files_and_vectors_keep_their_shape_in_space(tmp_path):
    flat = save_volume(tmp_path / "flat.nii", ROUND[..., 5], np.eye(4))
    labels, result = predicted(flat, tmp_path / "o.nii", gray())
    assert (labels.shape, result.shape) == (ROUND.shape[:2], (*ROUND.shape[:2], 1))
    two = save_volume(tmp_path / "two.nii", np.stack([ROUND, ROUND], -1), OBLIQUE)
    config = DataConfig.model_validate({"bands": ["a", "b"], "scale": RANGE})
    network = predictor(Bright(2), bands=2)
    assert predicted(two, tmp_path / "o2.nii", network, config=config)[0].shape == ROUND.shape


def test_big_endian_and_nifti_2_files_are_answered_in_kind(tmp_path):
    image = nibabel.Nifti1Image(ROUND, OBLIQUE)
    nibabel.Nifti1Image(ROUND, OBLIQUE, image.header.as_byteswapped(">")).to_filename(tmp_path / "big.nii")
    nibabel.Nifti2Image(ROUND, OBLIQUE).to_filename(tmp_path / "two.nii")
    save_volume(tmp_path / "one.nii", ROUND, OBLIQUE)
    found = []
    for name in ("one", "big", "two"):
        out = VolumeOutputs(tmp_path / "l.nii", tmp_path / "p.nii.gz")
        predict_volume(
            gray(), Item("a", "volume", (tmp_path / f"{name}.nii",)), Reading(CONFIG, None), "axial", None, out
        )
        found.append(np.asarray(nibabel.load(out.probabilities).dataobj, np.float32))
        assert isinstance(nibabel.load(out.labels), nibabel.Nifti2Image if name == "two" else nibabel.Nifti1Image)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_slope_and_intercept_of_the_input_do_not_change_the_labels(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([2, -100], "<f4").tobytes()
    path.write_bytes(data)
    config = CONFIG.model_copy(update={"scale": CONFIG.scale.model_copy(update={"low": -1900, "high": 5900})})
    labels, _ = predicted(path, tmp_path / "o.nii", gray(), config=config)
    assert np.array_equal(
        labels, predicted(save_volume(tmp_path / "b.nii", ROUND, np.eye(4)), tmp_path / "p.nii", gray())[0]
    )
    assert set(np.unique(labels)) == {0, 1}


@pytest.mark.parametrize("resample", [None, (1.5, 1.5)])
def test_slices_that_are_predicted_together_are_those_predicted_alone(tmp_path, monkeypatch, resample):
    path = save_volume(tmp_path / "a.nii", ROUND, OBLIQUE)
    network, found = gray(tile=64, batch_size=4), []
    for together in (1, 4):
        monkeypatch.setattr(volumes, "_together", lambda *_, size=together: size)
        out = VolumeOutputs(tmp_path / "l.nii", tmp_path / "p.nii", tmp_path / "u.nii")
        predict_volume(network, Item("a", "volume", (path,)), Reading(CONFIG, None), "coronal", resample, out)
        found.append(
            [np.asarray(nibabel.load(file).dataobj) for file in (out.labels, out.probabilities, out.uncertainty)]
        )
    assert (found[0][0] != found[1][0]).sum() <= 2
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)
    assert found[0][2] == pytest.approx(found[1][2], abs=1e-4)


def test_slices_are_predicted_together_on_a_gpu_where_each_fits_into_a_tile():
    network = gray(tile=64, batch_size=4)
    on_gpu = gray(tile=64, batch_size=4).__class__(**{**vars(network), "device": torch.device("cuda")})
    assert [volumes._together(network, (64, 30)), volumes._together(on_gpu, (64, 30))] == [1, 4]
    assert volumes._together(on_gpu, (65, 30)) == 1


def test_outputs_of_another_name_are_refused_before_anything_is_computed(tmp_path):
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    with pytest.raises(ConfigError, match=r"o\.png: the prediction of a volume is a NIfTI file: name it \.nii\.gz or"):
        predicted(path, tmp_path / "o.png", gray(), progress=lambda *_: pytest.fail("computed"))


def test_a_volume_that_cannot_be_read_leaves_nothing(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", ROUND, np.eye(4))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.nii\.gz: the NIfTI file is cut off or damaged"):
        predicted(path, tmp_path / "out" / "o.nii", gray())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_volume(tmp_path / "a.nii", ROUND, np.eye(4))
    out = tmp_path / "o.nii.gz"
    out.write_bytes(b"old")
    original = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *given, **more: original(Path("/dev/full") if "partial" in self.name else self, *given, **more),
    )
    with pytest.raises(WriteError, match="the disk is full"):
        predicted(path, out, gray())
    assert out.read_bytes() == b"old"
