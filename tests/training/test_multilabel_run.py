"""A network for labels that overlap, from masks in two files per image to scores of each label."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg_scse import checkpoint
from seg_scse.cli import main
from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import DataError, Stopped
from seg_scse.inference.counting import count_split
from seg_scse.inference.predictor import Predictor
from seg_scse.losses import build_loss
from seg_scse.metrics.scores import image_scores
from seg_scse.models import build_model
from seg_scse.training import run

from .test_run import stop_after

CLASSES = ("none", "red", "green")
SIDE, COUNT = 48, 14


def draw(root: Path) -> Path:
    """Draw two discs that overlap: label `red` brightens the red channel, label `green` the green one."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for folder in ("images", "masks/red", "masks/green"):
        (root / folder).mkdir(parents=True)
    for index in range(COUNT):
        random = np.random.default_rng(index)
        y, x, radius = random.uniform(18, 30), random.uniform(16, 24), random.uniform(8, 12)
        image = random.normal(60, 12, (SIDE, SIDE, 3))
        for channel, (name, shift) in enumerate((("red", 0.0), ("green", 0.9 * radius))):
            disc = (rows - y) ** 2 + (columns - x - shift) ** 2 < radius**2
            image[..., channel] += 110 * disc
            Image.fromarray((255 * disc).astype(np.uint8)).save(root / "masks" / name / f"s{index:02}.png")
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(root / "images" / f"s{index:02}.png")
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        f"data.root={draw(tmp_path_factory.mktemp('labels'))}",
        "data.masks=masks/{class}",
        "data.mask.encoding=files",
        "data.task=multilabel",
        f"data.classes=[{', '.join(CLASSES)}]",
        "data.split.train=0.5",
        "data.split.val=0.25",
        "data.split.test=0.25",
        "model.architecture=classic_unet",
        "model.width=8",
        "model.depth=2",
        "model.attention.type=scse",
        "augmentation.preset=flips",
        "trainer.crop=32",
        "trainer.crops=class",
        "trainer.batch_size=4",
        "trainer.repeats=4",
        "trainer.max_epochs=8",
        "optimizer.lr=0.01",
        "trainer.val_every=8",
        "trainer.tensorboard=false",
        "trainer.device=cpu",
    ]


@pytest.fixture(scope="module")
def finished(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "labels"
    assert main(["train", "--out", str(folder), "--config", str(written(settings, folder.parent))]) == 0
    return folder


def written(settings: list[str], folder: Path) -> Path:
    file = folder / "labels.yaml"
    file.write_text(to_yaml(load_config(None, settings)))
    return file


def loaded(folder: Path) -> tuple[Predictor, PreparedData]:
    state = checkpoint.load(folder / checkpoint.BEST)[0]
    config = load_config(folder / "config.yaml")
    model = build_model(config.model, 3, len(CLASSES), config.data.task)
    model.load_state_dict(state["model"])
    standardize = Standardizer(state["mean"], state["std"])
    predictor = Predictor.from_config(config, model, standardize, torch.device("cpu"), "fp32")
    return predictor, prepare_data(config.data, state["splits"])


def test_each_label_is_found_where_the_other_is_too(finished: Path) -> None:
    predictor, data = loaded(finished)
    found: dict[int, np.ndarray] = {}
    test = data.manifest.indices("test")
    scored = count_split(predictor, data, test, len(CLASSES), on_image=found.__setitem__)
    dice = image_scores(scored.counts, "exclude")["dice"]
    assert dice.shape == (len(test), len(CLASSES))
    assert dice.min() > 0.8  # everything as foreground would give about 0.3
    for index, labels in found.items():
        both = np.asarray(data.store.mask(index)) == 0b11
        assert both.sum() > 20
        assert (labels[both] == 0b11).mean() > 0.8


def test_the_network_has_a_channel_for_each_label(finished: Path) -> None:
    predictor, data = loaded(finished)
    probabilities = predictor.probabilities(data.store.image(0))
    assert probabilities.shape == (len(CLASSES) - 1, SIDE, SIDE)
    assert probabilities.sum(0).max() > 1.5  # no softmax: both at once are likely


def test_the_records_hold_losses_and_scores(finished: Path) -> None:
    with (finished / "epochs.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    assert float(last["dice_per_image"]) > 0.8
    assert 0 < float(last["val_loss"]) < 0.5


def test_the_validation_loss_is_that_of_the_blended_prediction(finished: Path) -> None:
    predictor, data = loaded(finished)
    index = data.manifest.indices("val")[0]
    loss = build_loss(load_config(finished / "config.yaml").loss, len(CLASSES), "multilabel")
    scored = count_split(predictor, data, [index], len(CLASSES), loss=loss)
    logits = predictor.probabilities(data.store.image(index)).logit(eps=1e-6)
    target = torch.from_numpy(np.asarray(data.store.mask(index)).copy())
    assert scored.loss == pytest.approx(float(loss(logits[None], target[None])[0]), rel=1e-5)


def test_a_stopped_run_ends_as_the_whole_one(
    finished: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 9)
    with pytest.raises(Stopped):
        run.start(load_config(None, [*settings, "name=labels"]), tmp_path / "run", lambda _: {})
    assert run.resume(tmp_path / "run", lambda _: {}).progress.finished
    ours, theirs = (checkpoint.load(place / checkpoint.LAST)[0]["model"] for place in (tmp_path / "run", finished))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_masks_without_any_labelled_pixel_are_refused(settings: list[str], tmp_path: Path) -> None:
    for place in ("images", "masks/red", "masks/green"):
        (tmp_path / "data" / place).mkdir(parents=True)
    for index in range(6):
        np.save(tmp_path / f"data/images/{index}.npy", np.full((40, 40, 3), -1, np.int16))
        for name in ("red", "green"):
            Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / f"data/masks/{name}/{index}.png")
    changed = [
        *settings,
        f"data.root={tmp_path / 'data'}",
        "data.bands=[a, b, c]",
        "data.nodata=-1",
        "data.scale.method=range",
        "data.scale.low=0",
        "data.scale.high=1",
    ]
    with pytest.raises(DataError, match=r"every pixel of the train split \(3 masks\) is ignored"):
        run.start(load_config(None, changed), tmp_path / "run", lambda _: {})
