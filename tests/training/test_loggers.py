import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seg_scse.config import load_config
from seg_scse.errors import ConfigError
from seg_scse.training.loggers import Logger, open_loggers, require_loggers
from seg_scse.training.meter import Timing
from seg_scse.training.records import Records

from .fake_services import FakeMLflow, FakeWandB, Service


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log each step, so that a point that is lost or doubled shows in a few."""
    monkeypatch.setattr("seg_scse.training.records.LOGGED_EVERY", 1)


TIMING = Timing(3.5, 2.5, 1.0, 12.25, 1_000_000, 60.0)
PICTURE = np.zeros((4, 4, 3), np.uint8)
EPOCH = 5  # steps
Points = dict[str, list[int]]


def opened(folder: Path, *settings: str, step: int = 0, in_epoch: int = 0) -> list[Logger]:
    folder.mkdir(exist_ok=True)
    config = load_config(None, ["trainer.tensorboard=false", *settings])
    return open_loggers(config, folder, step, in_epoch)


class Run:
    """A run whose logs are written as the loop writes them, and that can be killed."""

    def __init__(self, folder: Path, step: int, in_epoch: int, *settings: str) -> None:
        self.folder, self.step = folder, step
        loggers = opened(folder, *settings, step=step, in_epoch=in_epoch)
        self.records = Records(folder, ("ce",), (step - in_epoch) // EPOCH, step, loggers)

    def steps(self, count: int) -> "Run":
        for _ in range(count):
            row = {"step": self.step, "epoch": self.step // EPOCH, "lr": 0.1, "loss": float(self.step), "loss_ce": 1.0}
            self.records.add_step(row)
            self.step += 1
        return self

    def epoch(self, pictures: bool = True) -> "Run":
        self.records.add_epoch({"epoch": self.step // EPOCH - 1, "step": self.step, "val_loss": 0.5}, TIMING)
        if pictures:
            self.records.add_images({"panel": PICTURE}, self.step)
        return self

    def killed(self, into: Path) -> Path:
        """Leave what lies on the disk now; `flush` was called, so that it is as much as possible."""
        self.records.flush(durable=True)
        shutil.copytree(self.folder, into)
        self.records.close()
        for path in into.glob("tensorboard/*/*"):  # read in the order of the second in their names
            parts = path.name.split(".")
            parts[3] = str(int(parts[3]) - 60)
            path.rename(path.with_name(".".join(parts)))
        return into


def tensorboard(folder: Path) -> tuple[Points, Points]:
    """Steps of the scalars and of the pictures, as TensorBoard reads them."""
    scalars: Points = {}
    pictures: Points = {}
    for part in sorted((folder / "tensorboard").iterdir()):
        events = EventAccumulator(str(part), size_guidance={"scalars": 0, "images": 0}).Reload()
        tags = events.Tags()
        scalars |= {tag: [event.step for event in events.Scalars(tag)] for tag in tags["scalars"]}
        pictures |= {tag: [event.step for event in events.Images(tag)] for tag in tags["images"]}
    return scalars, pictures


@pytest.mark.parametrize("place", ["in_an_epoch", "before_the_epoch_is_logged", "after_it_is_logged"])
def test_a_resumed_run_neither_loses_nor_doubles_a_point_in_tensorboard(tmp_path: Path, place: str) -> None:
    """Each time the checkpoint is older than what was written when the run was killed."""
    on = "trainer.tensorboard=true"
    run = Run(tmp_path / "a", 0, 0, on).steps(EPOCH).epoch()
    if place == "in_an_epoch":  # checkpoint after step 8, kill in the second epoch
        left = run.steps(4).killed(tmp_path / "b")
        run = Run(left, 8, 3, on).steps(2).epoch()
    elif place == "before_the_epoch_is_logged":  # checkpoint after step 10, kill when its epoch had been logged
        left = run.steps(EPOCH).epoch().killed(tmp_path / "b")
        run = Run(left, 10, 5, on).epoch()
    else:  # checkpoint at the end of the second epoch, kill in the third one
        left = run.steps(EPOCH).epoch().steps(3).killed(tmp_path / "b")
        run = Run(left, 10, 0, on)
    run.steps(EPOCH).epoch()
    run.records.close()
    scalars, pictures = tensorboard(left)
    assert scalars["step/loss"] == scalars["step/loss_ce"] == list(range(15))
    assert scalars["epoch/val_loss"] == scalars["epoch/train_loss"] == [5, 10, 15]
    assert pictures == {"panel": [5, 10, 15]}


def test_values_in_tensorboard_are_those_of_the_files(tmp_path: Path) -> None:
    run = Run(tmp_path / "a", 0, 0, "trainer.tensorboard=true").steps(EPOCH).epoch()
    run.records.close()
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard" / "steps")).Reload()
    assert [event.value for event in events.Scalars("step/loss")] == [0.0, 1.0, 2.0, 3.0, 4.0]
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard" / "epochs")).Reload()
    assert [event.value for event in events.Scalars("epoch/train_loss")] == [2.0]


def test_nothing_is_opened_that_is_not_asked_for(tmp_path: Path) -> None:
    assert opened(tmp_path / "a") == []
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    config = load_config(None, [f"trainer.{name}=true"])
    with pytest.raises(ConfigError) as caught:
        require_loggers(config.trainer)
    assert str(caught.value).startswith(f"trainer.{name}=true, but the package {name} cannot be imported (")
    assert f"(pip install 'seg-scse[{name}]'), or set trainer.{name}=false." in str(caught.value)


@pytest.fixture(params=["wandb", "mlflow"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Service]]:
    name = request.param
    fake = FakeWandB() if name == "wandb" else FakeMLflow()
    monkeypatch.setitem(sys.modules, name, fake)
    return name, fake


def test_a_resumed_run_is_the_same_one_in_the_service_with_every_point_once(
    tmp_path: Path, service: tuple[str, Service]
) -> None:
    name, fake = service
    on = f"trainer.{name}=true"
    left = Run(tmp_path / "a", 0, 0, on).steps(EPOCH).epoch(pictures=False).steps(3).killed(tmp_path / "b")
    remembered = (left / "loggers.json").read_text()
    run = Run(left, 6, 1, on).steps(4).epoch()
    run.records.close()
    assert fake.points["step/loss"] == list(range(10))
    assert fake.points["epoch/val_loss"] == [5, 10]
    assert (left / "loggers.json").read_text() == remembered
    known = json.loads(remembered)[name]
    if isinstance(fake, FakeMLflow):
        assert (len(fake.started), fake.states) == (1, [f"{known} RUNNING"])
        assert fake.pictures == ["panel/step-000010.png"]
    else:
        assert [one["id"] for one in fake.started] == [known, known]
        assert {one["resume"] for one in fake.started} == {"allow"}
    assert fake.ended == 2


def test_a_new_run_carries_project_name_and_configuration(tmp_path: Path, service: tuple[str, Service]) -> None:
    name, fake = service
    for logger in opened(tmp_path / "nuclei", f"trainer.{name}=true", "trainer.project=cells", "optimizer.lr=0.25"):
        logger.close()
    (started,) = fake.started
    if isinstance(fake, FakeMLflow):
        assert started == {"experiment": "cells", "name": "nuclei"}
        assert fake.parameters["optimizer.lr"] == "0.25"
    else:
        assert (started["project"], started["name"], started["dir"]) == ("cells", "nuclei", str(tmp_path / "nuclei"))
        assert started["config"]["optimizer"]["lr"] == 0.25
        assert started["settings"]["console"] == "off"  # it would take the progress bar's place


def test_a_service_that_fails_while_training_is_left_out_with_one_warning(
    tmp_path: Path, service: tuple[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    name, fake = service
    run = Run(tmp_path / "a", 0, 0, f"trainer.{name}=true", "trainer.tensorboard=true").steps(2)
    run.records.flush(durable=True)
    fake.down = True
    run.steps(3).epoch()
    run.records.close()
    assert capsys.readouterr().err == (
        f"warning: {name} failed (ConnectionError: network is unreachable); training goes on without it.\n"
    )
    scalars, _ = tensorboard(tmp_path / "a")
    assert scalars["step/loss"] == list(range(5))  # the others go on
    assert fake.points["step/loss"] == [0, 1]


def test_a_service_that_cannot_begin_is_refused_before_the_first_step(
    tmp_path: Path, service: tuple[str, Service]
) -> None:
    name, fake = service
    fake.down = True
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path / "a", f"trainer.{name}=true")
    message = str(caught.value)
    assert message.startswith(
        f"trainer.{name}=true, but {name} cannot begin a run (ConnectionError: network is unreach"
    )
    assert message.endswith(f"or set trainer.{name}=false.")
    assert ("WANDB_MODE=offline" if name == "wandb" else "MLFLOW_TRACKING_URI") in message
    assert not (tmp_path / "a" / "loggers.json").exists()


def test_a_service_that_is_down_when_a_run_is_resumed_does_not_stop_it(
    tmp_path: Path, service: tuple[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    name, fake = service
    for logger in opened(tmp_path / "a", f"trainer.{name}=true"):
        logger.close()
    fake.down = True
    assert opened(tmp_path / "a", f"trainer.{name}=true", step=3, in_epoch=3) == []
    assert f"warning: {name} failed (ConnectionError" in capsys.readouterr().err


def test_both_services_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandB())
    monkeypatch.setitem(sys.modules, "mlflow", FakeMLflow())
    for logger in opened(tmp_path / "a", "trainer.wandb=true", "trainer.mlflow=true"):
        logger.close()
    assert set(json.loads((tmp_path / "a" / "loggers.json").read_text())) == {"wandb", "mlflow"}
