"""Runs whose data are of no use, or become so."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse import checkpoint
from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.data.store import Store
from seg_scse.errors import DataError
from seg_scse.training import run
from seg_scse.training.panel import EpochEnd


def nothing(_: EpochEnd) -> dict[str, np.ndarray]:
    """Called after each epoch."""
    return {}


@pytest.fixture
def config(tiny: list[str], discs: Path, tmp_path: Path) -> Config:
    shutil.copytree(discs, tmp_path / "data")
    return override(load_config(None, tiny), [f"data.root={tmp_path / 'data'}"])


def ignore_split(folder: Path, split: str) -> list[str]:
    """Make every pixel of a split's masks 100, which means ignore; return the overrides that say so."""
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    lines = [f"s{index:02},{name}" for index, name in enumerate(splits)]
    (folder / "splits.csv").write_text("\n".join(["id,split", *lines]) + "\n")
    for index, name in enumerate(splits):
        path = folder / "masks" / f"s{index:02}.png"
        if name == split:
            Image.fromarray(np.full_like(np.asarray(Image.open(path)), 100)).save(path)
    return [f"data.split.file={folder / 'splits.csv'}", "data.mask.ignore=[100]"]


@pytest.mark.parametrize(("split", "masks"), [("train", 6), ("val", 3)])
def test_a_split_of_ignored_pixels_is_refused_before_the_first_step(
    config: Config, tmp_path: Path, split: str, masks: int
) -> None:
    ignored = override(config, ignore_split(tmp_path / "data", split))
    expected = rf"every pixel of the {split} split \({masks} masks\) is ignored: .*\. Correct data\.mask"
    with pytest.raises(DataError, match=expected):
        run.start(ignored, tmp_path / "a", nothing)
    assert not (tmp_path / "a").exists()


def test_ignored_test_pixels_do_not_stop_training(config: Config, tmp_path: Path) -> None:
    ignored = override(config, [*ignore_split(tmp_path / "data", "test"), "trainer.max_epochs=1"])
    assert run.start(ignored, tmp_path / "a", nothing).progress.finished


def test_a_file_lost_in_training_is_named_with_epoch_step_checkpoint_and_command(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, epochs = Store.image, []

    def lost(self: Store, index: int) -> object:
        if epochs:
            raise DataError("images/s03.png: is gone")
        return image(self, index)

    out = tmp_path / "a"
    monkeypatch.setattr(Store, "image", lost)
    with pytest.raises(DataError) as caught:
        run.start(config, out, lambda end: epochs.append(end) or {})
    monkeypatch.undo()
    first, second = str(caught.value).splitlines()
    assert first.startswith("images/s03.png: is gone (sample ")
    assert first.endswith(", epoch 2)")
    assert second == (
        f"Training ended at step 3. Kept: {out / checkpoint.LAST}. "
        f"Repair the data, then: python train.py --resume {out}"
    )
    assert run.resume(out, nothing).progress.epoch == 3


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (0, r"is gone \(sample \d+, epoch 1\)$"),
        (
            4,
            r"epoch 1\)\nTraining ended at step 1\. No checkpoint was written yet\. Repair the data, then start again",
        ),
    ],
    ids=["before the first step", "after it"],
)
def test_a_file_lost_before_the_first_checkpoint_says_that_there_is_none(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int, message: str
) -> None:
    image, count = Store.image, []

    def lost(self: Store, index: int) -> object:
        count.append(index)
        if len(count) > read:  # two are read before the first step already
            raise DataError("images/s03.png: is gone")
        return image(self, index)

    monkeypatch.setattr(Store, "image", lost)
    with pytest.raises(DataError, match=message):
        run.start(config, tmp_path / "a", nothing)
    assert (tmp_path / "a").exists() == (read > 0)
