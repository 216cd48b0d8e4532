"""Runs of several processes, started as a user starts them; they are watched by `launching.py`."""

import csv
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import HashStore

from seg_scse import checkpoint, distributed
from seg_scse.cli import main

from . import launching
from .launching import launch, seen, small_config

Refused = Callable[[list[str], int], str]


@pytest.fixture(scope="module")
def config(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_config(tmp_path_factory.mktemp("elastic"), discs, "panel: 1")


def run_of(config: Path, folder: Path, *words: str) -> list[str]:
    return ["--config", str(config), "--out", str(folder), *words]


def digest(folder: Path) -> str:
    return launching.digest(checkpoint.load(folder / checkpoint.LAST)[0]["model"])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def watched(arguments: list[str], **environment: object) -> int:
    """Train in this process, watched as by `launch`, and return the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, str(value))
        launching.watch(patch.setattr)
        return main(["train", *arguments])


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    result = launch(run_of(config, folder / "run"), WATCH=folder, WRITES=folder / "run")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_only_the_first_process_writes_and_all_end_with_the_same_weights(undisturbed: Path) -> None:
    assert {entry["rank"] for entry in seen(undisturbed, "write")} == {0}
    ends = seen(undisturbed, "end")
    assert [end["rank"] for end in ends] == [0, 1]
    assert ends[0]["digest"] == ends[1]["digest"] == digest(undisturbed / "run")
    assert ends[0]["finite"]


@pytest.mark.slow
def test_processes_share_an_epoch_without_a_sample_twice(undisturbed: Path) -> None:
    steps = seen(undisturbed, "step")
    for epoch in range(3):
        ids = Counter(name for step in steps if step["epoch"] == epoch for name in step["ids"])
        assert set(ids.values()) == {1}
        assert len(ids) == 8


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_run_ends_as_the_undisturbed_one(
    config: Path, undisturbed: Path, tmp_path: Path
) -> None:
    arguments = run_of(config, tmp_path / "run", "trainer.save_every_steps=1")
    result = launch(arguments, restarts=2, WATCH=tmp_path, FAULT="kill:1:3")
    assert result.returncode == 0, result.stderr
    assert f"resuming {tmp_path / 'run'} at step 3" in result.stdout
    assert digest(tmp_path / "run") == digest(undisturbed / "run")
    for name in ("epochs.csv", "steps.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed / "run" / name).read_bytes(), name
    (line,) = json.loads((tmp_path / "run" / "run.json").read_text())["resumed"]
    assert (line["step"], line["restarts"], line["processes"], line["changes"]) == (3, 1, 2, [])


@pytest.mark.slow
def test_a_restart_does_not_go_on_with_the_run_of_another_command(
    config: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed / "run", folder)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    message = refused(["train", *run_of(config, folder, "seed=4")], 2)
    assert "holds a run that this command did not start: a setting differs" in message
    assert "seed: 0 -> 4" in message
    assert main(["train", *run_of(config, folder)]) == 0
    assert "already finished after 3 epochs" in capsys.readouterr().out
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert "holds a run already" in refused(["train", *run_of(config, folder)], 2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", json.loads((folder / "run.json").read_text())["job"])
    assert main(["train", *run_of(config, folder)]) == 0, "the same job, with other nodes"


def test_a_run_to_be_restarted_must_know_its_folder(
    config: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    message = refused(["train", "--config", str(config)], 2)
    assert "torchrun --max-restarts 3 without --out" in message
    assert "Name the folder: --out DIR" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [("data", "error: s05.png: cut short in the test."), ("defect", "internal error: ValueError: wires crossed")],
)
def test_an_error_in_one_process_ends_all_of_them_with_its_message(
    config: Path, tmp_path: Path, fault: str, said: str
) -> None:
    result = launch(run_of(config, tmp_path / "run"), WATCH=tmp_path, FAULT=f"{fault}:1:2")
    assert result.returncode != 0
    (hit,) = seen(tmp_path, "fault")
    assert time.time() - hit["at"] < 60
    assert said in result.stderr
    rest = result.stderr[result.stderr.index(said) :]
    assert "process 0 of 2 stopped, because another one ended" not in result.stderr[: -len(rest)]
    assert "Connection closed by peer" not in result.stderr


@pytest.mark.slow
def test_a_run_moves_from_one_process_to_two_and_back(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["trainer.save_every_steps=1", "trainer.repeats=2", "trainer.batch_size=4"]
    folder = tmp_path / "run"
    assert watched(run_of(config, folder, *settings), WATCH=tmp_path, FAULT="stop:*:1") == 143
    two = launch(["--resume", str(folder)], 2, WATCH=tmp_path, FAULT="data:*:5")
    assert two.returncode != 0
    assert "1 -> 2 processes: a step's batch stays 4 samples, now 2 x 2; BatchNorm sees 2 at a time" in two.stdout, (
        two.stderr
    )
    assert watched(["--resume", str(folder)], WATCH=tmp_path) == 0
    assert "2 -> 1 processes: a step's batch stays 4 samples, now 1 x 4" in capsys.readouterr().out
    steps = seen(tmp_path, "step")
    assert [step["world"] for step in sorted(steps, key=lambda one: (one["step"], one["rank"]))] == (
        [1] * 2 + [2] * 6 + [1] * 7
    )
    for epoch in range(3):
        ids = Counter(name for step in steps if step["epoch"] == epoch for name in step["ids"])
        assert set(ids.values()) == {2}, "each image twice: repeats=2"
        assert len(ids) == 8
    lines = json.loads((folder / "run.json").read_text())["resumed"]
    assert [(line["processes"], line["samples"]) for line in lines] == [(2, 2), (1, 4)]
    assert [row["step"] for row in table(folder / "steps.csv")] == [str(step) for step in range(12)]
    assert seen(tmp_path, "end")[-1]["finite"]


@pytest.fixture(scope="module")
def first_steps(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What was seen of a validation of five images and the step after it, by one process and by two."""
    # no pixels are ignored: the mean over two batches is that over both where they count equally many
    fixed = ["trainer.max_steps=1", "loss.terms={ce: 1.0}", "augmentation.preset=none"]
    split = ["data.split.train=0.5", "data.split.val=0.42", "data.split.test=0.08"]
    found = {}
    for name, processes, samples, accumulate in (("one", 1, 4, 1), ("accumulated", 1, 2, 2), ("two", 2, 2, 1)):
        folder = found[name] = tmp_path_factory.mktemp(name)
        settings = [f"trainer.batch_size={samples}", f"trainer.accumulate={accumulate}", *fixed, *split]
        arguments, watching = run_of(config, folder / "run", *settings), {"WATCH": folder, "PLAIN": 1, "VALIDATE": 1}
        if processes == 1:
            assert watched(arguments, **watching) == 0
        else:
            result = launch(arguments, processes, **watching)
            assert result.returncode == 0, result.stderr
    return found


@pytest.mark.slow
def test_the_gradient_of_two_processes_is_that_of_one_with_the_whole_batch(first_steps: dict[str, Path]) -> None:
    found = {
        name: [np.array(entry["values"]) for entry in seen(folder, "gradient")] for name, folder in first_steps.items()
    }
    assert np.array_equal(*found["two"])
    size = np.abs(found["one"][0]).max()
    assert size > 1e-3
    for name in ("two", "accumulated"):
        difference = np.abs(found[name][0] - found["one"][0]).max()
        print(f"{name}: largest difference {difference:g} of {size:g}")
        assert difference <= 1e-6


@pytest.mark.slow
def test_validation_of_five_images_on_two_processes_is_that_of_one(first_steps: dict[str, Path]) -> None:
    (alone,) = seen(first_steps["one"], "scores")
    assert len(set(alone["ids"])) == 5
    both = seen(first_steps["two"], "scores")
    assert [scores["rank"] for scores in both] == [0, 1]
    for scores in both:
        assert sorted(scores["ids"]) == sorted(alone["ids"]), "each of the five once"
        for name in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled", "val_loss"):
            assert scores[name] == pytest.approx(alone[name], abs=1e-12), name


def test_addresses_of_an_earlier_attempt_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torchrun` keeps its store; who reads in it before the other has written anew would wait for a dead process."""
    shared = HashStore()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    distributed._of_attempt(shared, 2).set("address", "of the first attempt")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not distributed._of_attempt(shared, 2).check(["address"])
    assert distributed._of_attempt(shared, 4) is shared, "several machines count their attempts differently"
