"""Where in a patient things are found: a body that is drawn in the world is found there, however its file is stored."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volumes import VolumeOutputs, predict_volume

from ..data.files.drawn_files import save_volume
from ..data.files.drawn_series import TILTED, save_series
from ..inference.drawn import predictor
from .drawn_volumes import CONFIG, FLIPPED, OBLIQUE, Point, gray, predicted

PERMUTED = np.array([[0, 0, -1.7, 20], [1.1, 0, 0, -17], [0, -0.9, 0, 15], [0, 0, 0, 1.0]])
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "prone feet first": (1, 0, 0, 0, -1, 0),
    "tilted": TILTED,
}


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Centres of voxels, `(3, X, Y, Z)`, mm."""
    return (
        np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.mgrid[tuple(map(slice, shape))]) + affine[:3, 3, None, None, None]
    )


def body(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A block with an arm to the right, a longer one to the front and a head, which no turn makes equal to itself."""
    arms = [((x, 14), (y, z)), ((y, 11), (x, z)), ((z, 9), (x, y))]
    found = (abs(x) < 5) & (abs(y) < 5) & (abs(z) < 5)
    for (along, length), across in arms:
        found |= (along > 0) & (along < length) & (abs(across[0]) < 3) & (abs(across[1]) < 3)
    return found


class Moved(nn.Module):
    """Finds each thing three columns to the right and two rows further down; of channels, the last."""

    def __init__(self, columns: int = 3, rows: int = 2) -> None:
        super().__init__()
        self.by = columns, rows

    def forward(self, x: Tensor) -> Tensor:
        columns, rows = self.by
        padded = torch.nn.functional.pad(x[:, -1:], (columns, 0, rows, 0), value=-2.5)
        return padded[..., : x.shape[2], : x.shape[3]]


def save_body(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = (40, 38, 30)) -> Path:
    """Draw the body into the middle of a file."""
    affine = affine.astype(np.float32).astype(float)  # as the file holds it
    affine[:3, 3] = np.rint(-affine[:3, :3] @ ((np.array(shape) - 1) / 2)) + 0.25  # no voxel on an edge
    return save_volume(path, (body(*world(affine, shape)) * 3900 - 900).astype(np.int16), affine)


@pytest.mark.parametrize(
    "affine", [np.diag([1.1, 0.9, 1.3, 1]), FLIPPED, PERMUTED, OBLIQUE], ids=["plain", "flipped", "permuted", "oblique"]
)
def test_right_left_up_and_down_are_those_of_the_patient(tmp_path, affine):
    path = save_body(tmp_path / "a.nii", affine)
    affine = nibabel.load(path).affine
    canonical = nibabel.as_closest_canonical(nibabel.load(path)).affine
    right, front, up = canonical[:3, :3].T

    def centre(labels: np.ndarray) -> np.ndarray:
        return world(affine, labels.shape)[:, labels > 0].mean(axis=1)

    still, _ = predicted(path, tmp_path / "o.nii", gray(Moved(0, 0), tile=64), "mean")
    assert np.array_equal(still > 0, body(*world(affine, still.shape)))
    steps = {"axial": 3 * right - 2 * front, "coronal": 3 * right - 2 * up, "sagittal": 3 * front - 2 * up}
    below = {"axial": up, "coronal": front, "sagittal": right}
    config = CONFIG.model_copy(update={"volume": CONFIG.volume.model_copy(update={"neighbours": 1})})
    for plane, step in steps.items():
        labels, _ = predicted(path, tmp_path / "o.nii", gray(Moved(), tile=64), plane)
        assert centre(labels) - centre(still) == pytest.approx(step, abs=1e-3)
        labels, _ = predicted(
            path, tmp_path / "o.nii", predictor(Moved(0, 0), bands=3, tile=64), plane, config=config
        )  # what it sees one slice above, it says of the slice itself
        assert centre(labels) - centre(still) == pytest.approx(-below[plane], abs=1e-3)


@pytest.mark.parametrize("directions", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_dicom_series_of_any_orientation_puts_what_it_shows_where_it_is(tmp_path, directions):
    shape, spacing, step = (36, 34, 26), (0.9, 1.1), 1.4
    axes = np.column_stack([np.array(directions[:3]) * spacing[1], np.array(directions[3:]) * spacing[0]])
    axes = np.column_stack([axes, np.cross(directions[:3], directions[3:]) * step])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, [-30, 12, 5]  # as `save_series` places it: left, back, head
    affine = np.diag([-1.0, -1, 1, 1]) @ affine
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    drawn = body(*(world(affine, shape) - middle[:, None, None, None]))
    files = save_series(tmp_path / "s", (drawn * 3900 - 900).astype(np.int16), directions, step, spacing)
    out = VolumeOutputs(tmp_path / "o.nii")
    predict_volume(gray(Point()), Item("s", "series", tuple(files)), Reading(CONFIG, None), "mean", None, out)
    labels = nibabel.load(out.labels)
    found = np.asarray(labels.dataobj) > 0
    assert np.array_equal(found, body(*(world(labels.affine, found.shape) - middle[:, None, None, None])))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", "mean"])
def test_resampling_moves_nothing(tmp_path, plane):
    grid, middle = np.mgrid[:41, :37, :20], np.array([17.3, 16.6, 9.2])
    apart = (grid - middle[:, None, None, None]) * np.array([0.5, 1, 2])[:, None, None, None]
    blob = np.exp(-(apart**2).sum(0) / 18) * 3000
    path = save_volume(tmp_path / "a.nii", blob.astype(np.int16), np.diag([-0.5, 1, 2, 1.0]))
    config = CONFIG.model_copy(update={"scale": CONFIG.scale.model_copy(update={"low": -900, "high": 3900})})

    def centre(resample: tuple[float, float] | None) -> np.ndarray:
        out = VolumeOutputs(None, tmp_path / "p.nii")
        network = gray(Moved(0, 0), tile=64)
        predict_volume(network, Item("a", "volume", (path,)), Reading(config, None), plane, resample, out)
        found = np.asarray(nibabel.load(out.probabilities).dataobj, float)[..., 0]
        weights = (found - found.min()).clip(0)
        return (grid * weights).sum((1, 2, 3)) / weights.sum()

    own = centre(None)
    for resample in ((0.4, 0.4), (1.3, 0.9), (2.3, 2.3)):
        assert centre(resample) == pytest.approx(own, abs=0.06)
