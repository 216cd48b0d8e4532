"""A 2.5-D network trained on volumes, evaluated, and applied to volumes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from seg_scse import checkpoint
from seg_scse.cli import main
from seg_scse.data.sets.cards import resolve_card
from seg_scse.evaluation.loaded import Loaded, build_predictor, load_run
from seg_scse.inference.spacing import Spacing, trained_spacing, training_resample
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volumes import VolumeOutputs, predict_volume

AFFINE = np.array([[0.0, 0, 2.5, -9], [-0.8, 0, 0, 30], [0, 0.6, 0, 4], [0, 0, 0, 1]])  # coronal, two axes reversed
SHAPE = (36, 44, 5)


def draw(root: Path, count: int = 4) -> Path:
    """Draw volumes with a ball each; noise changes from slice to slice."""
    grid = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng(number)
        centre, radius = np.array([random.uniform(14, 22), random.uniform(16, 28), 2]), random.uniform(8, 11)
        size = np.array([1, 1, 3.0])
        ball = (((grid - centre[:, None, None, None]) * size[:, None, None, None]) ** 2).sum(0) < radius**2
        voxels = (random.normal(40, 60, SHAPE) + 400 * ball).astype(np.int16)
        for folder, values in (("images", voxels), ("masks", ball.astype(np.uint8))):
            image = nibabel.Nifti1Image(values, AFFINE)
            image.header.set_xyzt_units("mm")
            image.to_filename(root / folder / f"case{number}.nii.gz")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for a moment on sagittal slices (of 5) with one neighbour on each side."""
    root = draw(tmp_path_factory.mktemp("volumes") / "data")
    folder = root.parent / "run"
    config = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    own = [
        *("data.card=null", f"data.root={root}", "data.channels=gray", "data.mask.encoding=index"),
        *("data.volume.plane=sagittal", "data.volume.neighbours=1"),
        *("data.scale.method=percentile", "data.scale.per=file"),
        *("data.split.train=0.5", "data.split.val=0.25", "data.split.test=0.25"),
        *("model.architecture=classic_unet", "model.width=4", "model.depth=2", "model.attention.reduction=2"),
        *("trainer.crop=32", "trainer.batch_size=2", "trainer.max_epochs=4", "trainer.repeats=2"),
        *("trainer.tensorboard=false", "trainer.val_every=2", "optimizer.warmup_steps=0", "evaluation.overlays=1"),
        *("augmentation.preset=heavy", "optimizer.lr=1e-2"),
    ]
    assert main(["train", "--config", str(config), "--out", str(folder), *own]) == 0
    return folder


def predicted(loaded: Loaded, item: Item, plane: str, out: Path, resample: tuple[float, float] | None = None):
    network = build_predictor(loaded, torch.device("cpu"))
    reading = Reading(resolve_card(loaded.config.data), loaded.state.get("scale"))
    trained = trained_spacing(loaded.state)
    result = predict_volume(network, item, reading, plane, resample, VolumeOutputs(out), trained=trained)
    return result, np.asarray(nibabel.load(out).dataobj)


def test_the_checkpoint_knows_its_channels_and_the_size_of_its_pixels(run):
    state, _ = checkpoint.load(run / checkpoint.BEST)
    assert len(state["mean"]) == 3
    assert trained_spacing(state) == Spacing(*training_resample(state), "mm")
    assert training_resample(state) == pytest.approx((0.6, 0.8), rel=1e-5)


def test_a_volume_is_predicted_as_evaluate_predicts_its_slices(run, tmp_path):
    loaded = load_run(run, "best")
    assert main(["evaluate", str(run), "--split", "test", "--save-predictions", str(tmp_path / "saved")]) == 0
    saved = sorted((tmp_path / "saved").rglob("*.png"))
    case = saved[0].parent.name
    path = Path(loaded.config.data.root) / "images" / f"{case}.nii.gz"
    result, labels = predicted(loaded, Item(case, "volume", (path,)), "sagittal", tmp_path / "out.nii.gz")
    assert result.slices == len(saved) == SHAPE[2]
    turned = np.asarray(nibabel.as_closest_canonical(nibabel.load(tmp_path / "out.nii.gz")).dataobj)
    for number, file in enumerate(saved):
        with Image.open(file) as image:
            assert np.array_equal(turned[number].T[::-1], np.asarray(image))
    truth = np.asarray(nibabel.load(path.parents[1] / "masks" / path.name).dataobj)
    assert 2 * (labels & truth).sum() / (labels.sum() + truth.sum()) > 0.6
    assert np.array_equal(nibabel.load(tmp_path / "out.nii.gz").affine, nibabel.load(path).affine)


def test_the_run_predicts_every_plane_and_other_spacings(run, tmp_path):
    loaded = load_run(run, "best")
    path = Path(loaded.config.data.root) / "images" / "case0.nii.gz"
    image = nibabel.load(path)
    image.header["pixdim"][1:4] *= 2
    double = nibabel.Nifti1Image(np.asarray(image.dataobj), AFFINE @ np.diag([2, 2, 2, 1]))
    double.header.set_xyzt_units("mm")
    double.to_filename(tmp_path / "double.nii.gz")
    item = Item("double", "volume", (tmp_path / "double.nii.gz",))
    result, plain = predicted(loaded, item, "sagittal", tmp_path / "plain.nii.gz")
    assert result.notes == (
        "its sagittal pixels are 1.2 x 1.6 mm, those of the training 0.6 x 0.8 mm: use --resample training",
    )
    spacing = training_resample(loaded.state)
    result, resampled = predicted(loaded, item, "mean", tmp_path / "mean.nii.gz", spacing)
    assert (result.notes, resampled.shape, result.slices) == ((), SHAPE, sum(SHAPE))
    assert not np.array_equal(plain, resampled)
    assert result.voxel_size == pytest.approx(8 * 0.8 * 0.6 * 2.5, rel=1e-5)


def test_one_slice_is_explained_and_the_data_are_checked_with_neighbours(run, tmp_path):
    path = next((Path(load_run(run, "best").config.data.root) / "images").iterdir())
    assert main(["explain", str(run), "--images", f"{path}:2", "--out", str(tmp_path / "explained")]) == 0
    assert main(["data", "check", "--config", str(run / "config.yaml"), "--out", str(tmp_path / "checked")]) == 0
