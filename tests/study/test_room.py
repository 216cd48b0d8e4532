"""The room that checkpoints take, said before the first run."""

import shutil
from pathlib import Path

import pytest
import torch

from seg_scse.config.loading import load_config, override
from seg_scse.config.schema import Config
from seg_scse.study import grid
from seg_scse.study.grid import Study, Wish
from seg_scse.study.room import checkpoint_bytes, room

from .test_grid import SMALL


@pytest.fixture
def study(tmp_path: Path) -> Study:
    config = override(load_config(None, SMALL), ["trainer.save_top_k=2"])
    return grid.begin(config, Wish(["none", "cse"], seeds=2), tmp_path / "s")[0]


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = type(shutil.disk_usage("/"))(size, 0, size)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_runs_that_have_no_checkpoint_yet_are_counted(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 5 * 2**30)
    monkeypatch.setattr("seg_scse.study.room.checkpoint_bytes", lambda config: 2**29)
    (line,) = room(study)
    assert line == (
        "warning: disk: 4 runs with 3 checkpoints of about 512 MiB each: 6.0 GiB; 5.0 GiB are free. Free some room "
        "before they are needed."
    )
    for cell in study.cells():
        assert len(room(study)) == 1
        (cell.folder / "checkpoints").mkdir(parents=True)
        (cell.folder / "checkpoints" / "last.ckpt").touch()
    assert room(study) == []


def test_a_study_that_has_room_says_how_much(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 7 * 2**30)
    monkeypatch.setattr("seg_scse.study.room.checkpoint_bytes", lambda config: 2**29)
    assert room(study) == ["disk: 4 runs with 3 checkpoints of about 512 MiB each: 6.0 GiB; 7.0 GiB are free"]


def test_a_checkpoint_is_about_as_large_as_said(trained: Path) -> None:
    config: Config = load_config(trained / "config.yaml")
    state = torch.random.get_rng_state()
    said = checkpoint_bytes(config)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (trained / "checkpoints" / "last.ckpt").stat().st_size == pytest.approx(said, rel=0.05)


@pytest.mark.parametrize(
    ("overrides", "copies"),
    [
        (["optimizer.name=adam"], 3),
        (["optimizer.name=sgd"], 2),
        (["optimizer.name=sgd", "optimizer.momentum=0.0"], 1),
        (["averaging.method=ema"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_optimizer_and_an_average_keep_is_counted(overrides: list[str], copies: int) -> None:
    config = load_config(None, SMALL)
    one = checkpoint_bytes(override(config, ["optimizer.name=sgd", "optimizer.momentum=0.0"]))
    assert checkpoint_bytes(override(config, overrides)) == copies * one
