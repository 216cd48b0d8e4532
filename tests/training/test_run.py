import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from seg_scse import checkpoint
from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.errors import CheckpointError, ConfigError, DataError, DivergedError, Stopped, WriteError
from seg_scse.training import run
from seg_scse.training.lock import locked
from seg_scse.training.loop import Trainer
from seg_scse.training.panel import EpochEnd


def nothing(_: EpochEnd) -> dict[str, np.ndarray]:
    """Called after each epoch; draws no picture."""
    return {}


@pytest.fixture(scope="module")
def config(tiny: list[str]) -> Config:
    small = [text for text in tiny if not text.startswith("model.decoder_channels")]
    return load_config(None, [*small, "model.architecture=classic_unet", "model.width=4", "model.depth=2"])


@pytest.fixture(scope="module")
def finished(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    run.start(config, folder, nothing)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def weights(folder: Path, name: str = checkpoint.LAST) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / name)[0]["model"]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def stop_after(patch: pytest.MonkeyPatch, *steps: int) -> None:
    """Send SIGTERM after these steps, SIGINT after step 5."""
    step, left = Trainer._step, list(steps)

    def step_then_signal(self: Trainer, *arguments: object) -> object:
        result = step(self, *arguments)
        if left and self.progress.step == left[0]:
            os.kill(os.getpid(), signal.SIGINT if left.pop(0) == 5 else signal.SIGTERM)
        return result

    patch.setattr(Trainer, "_step", step_then_signal)


def test_run_folder_is_complete_and_its_config_runs_again(finished: Path, config: Config) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml",
        "run.json",
        "splits.csv",
        "steps.csv",
        "epochs.csv",
        *map(str, (checkpoint.BEST, checkpoint.LAST)),
    }
    assert not [name for name in names if "partial" in name]
    assert load_config(finished / "config.yaml") == config
    facts = json.loads((finished / "run.json").read_text())
    assert facts["data"]["samples"] == {"train": 6, "val": 3, "test": 3}
    assert len(facts["data"]["digest"]) == 64
    assert len(facts["model"]["gates"]) == 2
    assert facts["versions"]["torch"]
    assert len(rows(finished / "steps.csv")) == facts["steps"] == 9


def test_training_learns(finished: Path) -> None:
    losses = [float(row["train_loss"]) for row in rows(finished / "epochs.csv")]
    assert losses[-1] < losses[0]


def test_last_is_the_last_and_best_the_best(finished: Path) -> None:
    scores = [float(row["dice_per_image"]) for row in rows(finished / "epochs.csv")]
    best, last = (checkpoint.load(finished / name)[0]["progress"] for name in (checkpoint.BEST, checkpoint.LAST))
    assert last["epoch"] == 3
    assert last["finished"]
    assert best["epoch"] == 1 + scores.index(max(scores))
    assert best["best_score"] == last["best_score"] == max(scores)


def test_equal_seeds_give_equal_bytes_and_others_do_not(finished: Path, config: Config, tmp_path: Path) -> None:
    run.start(config, tmp_path / "same", nothing)
    assert equal(weights(tmp_path / "same"), weights(finished))
    assert rows(tmp_path / "same" / "steps.csv") == rows(finished / "steps.csv")
    run.start(override(config, ["seed=1"]), tmp_path / "other", nothing)
    assert not equal(weights(tmp_path / "other"), weights(finished))


def test_run_stopped_at_each_step_of_an_epoch_ends_as_the_uninterrupted_one(
    finished: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    stop_after(monkeypatch, 4, 5, 6)
    with pytest.raises(Stopped, match=r"stopped at step 4, resumable: python train\.py --resume") as first:
        run.start(config, folder, nothing)
    with pytest.raises(Stopped, match="stopped at step 5") as second:
        run.resume(folder, nothing)
    with pytest.raises(Stopped, match="stopped at step 6"):  # the epoch's last step, before its validation
        run.resume(folder, nothing)
    assert (first.value.exit_code, second.value.exit_code) == (143, 130)
    outcome = run.resume(folder, nothing)
    assert outcome.progress.finished
    assert equal(weights(folder), weights(finished))
    assert equal(weights(folder, checkpoint.BEST), weights(finished, checkpoint.BEST))
    assert rows(folder / "steps.csv") == rows(finished / "steps.csv")
    assert rows(folder / "epochs.csv") == rows(finished / "epochs.csv")


def test_validating_or_not_changes_no_weight(finished: Path, config: Config, tmp_path: Path) -> None:
    run.start(override(config, ["trainer.val_every=3"]), tmp_path / "a", nothing)
    assert equal(weights(tmp_path / "a"), weights(finished))
    assert [row["val_loss"] != "" for row in rows(tmp_path / "a" / "epochs.csv")] == [False, False, True]


def test_finished_run_is_not_touched_by_resume(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in finished.rglob("[!.]*") if path.is_file()}

    before = times()
    run.resume(finished, nothing)
    assert "already finished after 3 epochs" in capsys.readouterr().out
    assert times() == before


def test_update_that_makes_weights_infinite_is_never_saved(config: Config, tmp_path: Path) -> None:
    # one step: its loss and gradient are finite, what it leaves behind is not
    settings = ["optimizer.name=sgd", "optimizer.lr=1e38", "loss.terms={ce: 100.0}", "trainer.max_steps=1"]
    with pytest.raises(DivergedError, match=r"step 0: its update made \d+ of \d+ tensors non-finite"):
        run.start(override(config, [*settings, "trainer.clip_grad_norm=null"]), tmp_path / "a", nothing)
    assert not list((tmp_path / "a").rglob("*.ckpt"))


def test_folder_of_a_run_that_wrote_no_checkpoint_can_be_used_again(config: Config, tmp_path: Path) -> None:
    settings = ["optimizer.name=sgd", "optimizer.lr=1e30", "trainer.clip_grad_norm=null"]
    with pytest.raises(DivergedError):
        run.start(override(config, settings), tmp_path / "a", nothing)
    outcome = run.start(override(config, ["trainer.max_epochs=1"]), tmp_path / "a", nothing)
    assert outcome.progress.finished
    assert len(rows(tmp_path / "a" / "steps.csv")) == 3


@pytest.mark.parametrize(("empty", "other"), [("val", "train"), ("train", "val")])
def test_split_without_images_is_refused_before_training(
    config: Config, tmp_path: Path, empty: str, other: str
) -> None:
    settings = [f"data.split.{empty}=0", f"data.split.{other}=0.5", "data.split.test=0.5"]
    with pytest.raises(DataError, match=f"the {empty} split has no images"):
        run.start(override(config, settings), tmp_path / "a", nothing)
    assert not (tmp_path / "a").exists()


def test_split_to_be_scored_must_have_images(config: Config, tmp_path: Path) -> None:
    settings = ["data.split.test=0", "data.split.train=0.75"]
    with pytest.raises(DataError, match=r"the test split has no images.*without --evaluate"):
        run.start(override(config, settings), tmp_path / "a", nothing, evaluate="test")


def test_folder_is_locked_while_the_data_are_prepared(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = run.prepare_data

    def second_start(*arguments: object) -> object:
        with pytest.raises(ConfigError, match="is training in this folder"):
            run.start(config, tmp_path / "a", nothing)
        return prepare(*arguments)

    monkeypatch.setattr(run, "prepare_data", second_start)
    outcome = run.start(override(config, ["trainer.max_epochs=1"]), tmp_path / "a", nothing)
    assert outcome.progress.finished


def test_moved_data_are_named_at_resume(
    config: Config, discs: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(discs, tmp_path / "first")
    stopped = tmp_path / "run"
    stop_after(monkeypatch, 5, 7)
    with pytest.raises(Stopped):
        run.start(override(config, [f"data.root={tmp_path / 'first'}"]), stopped, nothing)
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(DataError, match="does not exist"):
        run.resume(stopped, nothing)
    with pytest.raises(Stopped):
        run.resume(stopped, nothing, [f"data.root={tmp_path / 'second'}"])
    run.resume(stopped, nothing, [f"data.root={tmp_path / 'second'}"])
    assert equal(weights(stopped), weights(finished))


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run with a checkpoint to resume"):
        run.resume(tmp_path, nothing)


def test_existing_run_is_never_overwritten(finished: Path, config: Config) -> None:
    with pytest.raises(ConfigError, match="holds a run already"):
        run.start(config, finished, nothing)
    assert (finished / checkpoint.LAST).exists()


def test_two_writers_of_one_folder_are_refused(tmp_path: Path) -> None:
    def nested() -> None:
        with locked(tmp_path), locked(tmp_path):
            pass

    with pytest.raises(ConfigError, match=f"process {os.getpid()} is training in this folder"):
        nested()


def test_early_stopping_ends_the_run(config: Config, tmp_path: Path) -> None:
    settings = ["trainer.early_stopping=1", "trainer.max_epochs=30", "optimizer.lr=1e-9", "trainer.max_steps=60"]
    outcome = run.start(override(config, settings), tmp_path / "a", nothing)
    assert outcome.progress.finished
    assert outcome.progress.step < 60


def test_accumulated_steps_see_more_samples(config: Config, tmp_path: Path) -> None:
    run.start(override(config, ["trainer.accumulate=3", "trainer.max_epochs=1"]), tmp_path / "a", nothing)
    assert len(rows(tmp_path / "a" / "steps.csv")) == 1


@pytest.mark.parametrize("schedule", ["onecycle", "plateau", "poly", "constant"])
def test_every_schedule_trains_in_bf16(config: Config, tmp_path: Path, schedule: str) -> None:
    settings = [f"optimizer.schedule={schedule}", "trainer.precision=bf16", "trainer.max_steps=2"]
    outcome = run.start(override(config, settings), tmp_path / "a", nothing)
    assert outcome.progress.step == 2


def test_non_finite_loss_names_step_parts_and_samples_and_keeps_the_checkpoint(config: Config, tmp_path: Path) -> None:
    settings = ["optimizer.lr=1e30", "optimizer.name=sgd", "trainer.clip_grad_norm=null"]
    with pytest.raises(DivergedError) as caught:
        run.start(override(config, settings), tmp_path / "a", nothing)
    text = str(caught.value)
    assert "is not finite" in text
    assert "on samples s" in text
    assert "e+29, fp32)" in text
    for file in (tmp_path / "a" / "checkpoints").glob("*.ckpt"):
        assert all(torch.isfinite(value).all() for value in checkpoint.load(file)[0]["model"].values())


def test_run_that_cannot_start_leaves_no_folder(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fills no batch"):
        run.start(override(config, ["trainer.batch_size=100"]), tmp_path / "a", nothing)
    with pytest.raises(ConfigError, match=r"trainer\.accumulate=9"):
        run.start(override(config, ["trainer.accumulate=9"]), tmp_path / "a", nothing)
    assert not (tmp_path / "a").exists()


def test_unwritable_folder_is_found_before_any_step(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="Choose another folder or correct"):
        run.start(config, tmp_path / "file" / "a", nothing)


def test_changed_data_are_refused_at_resume(config: Config, discs: Path, tmp_path: Path) -> None:
    shutil.copytree(discs, tmp_path / "data")
    moved = override(config, [f"data.root={tmp_path / 'data'}", "trainer.max_epochs=1"])
    run.start(moved, tmp_path / "a", nothing)
    state, _ = checkpoint.load(tmp_path / "a" / checkpoint.LAST)
    state["progress"]["finished"] = False
    checkpoint.save(tmp_path / "a" / checkpoint.LAST, state)
    (tmp_path / "data" / "images" / "s00.png").write_bytes((discs / "images" / "s01.png").read_bytes())
    with pytest.raises(CheckpointError, match="images or masks are not those"):
        run.resume(tmp_path / "a", nothing)
