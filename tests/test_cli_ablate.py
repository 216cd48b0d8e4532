"""`seg-scse ablate` from end to end, on drawn discs; its runs are copies of the test's process, not new ones."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seg_scse.cli import main
from seg_scse.study.budget import Budget
from seg_scse.study.cells import Cell, cells
from seg_scse.study.declaration import Declaration

from .study.processes import Forked, fork_runs, until

Refused = Callable[[list[str], int], str]

CONFIG = """name: drawn
data: {{root: {discs}, mask: {{encoding: binary}}, split: {{train: 0.5, val: 0.25, test: 0.25}}}}
model: {{architecture: classic_unet, width: 4, depth: 2}}
optimizer: {{lr: 0.02, warmup_steps: 0}}
trainer: {{crop: 32, batch_size: 2, max_epochs: 1, val_every: 1, tensorboard: false, panel: 0, threads: 1}}
evaluation: {{overlays: 0, resamples: 1000, calibration: false}}
"""


@pytest.fixture(scope="module")
def config(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ablate") / "drawn.yaml"
    file.write_text(CONFIG.format(discs=discs))
    return file


@pytest.fixture(scope="module")
def forked() -> Iterator[None]:
    """Runs that start at once, and costs that are measured in a second."""
    with pytest.MonkeyPatch.context() as patch:
        from seg_scse.study import cost

        fork_runs(patch)
        patch.setattr(cost.measure_cost, "__defaults__", (1.0,))
        yield


def command(config: Path, folder: Path, *words: str) -> list[str]:
    return ["ablate", "--config", str(config), "--out", str(folder), *words]


@pytest.fixture(scope="module")
def study(config: Path, forked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variant, the controls that this network can have, and two seeds, undisturbed."""
    folder = tmp_path_factory.mktemp("studies") / "whole"
    assert main(command(config, folder, "--variants", "none,scse-add", "--seeds", "2", "--controls")) == 0
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    shutil.copytree(study, tmp_path / "study")
    return tmp_path / "study"


def every(folder: Path) -> list[Cell]:
    return cells(folder, Declaration.read(folder))


def files_of(folders: list[Path]) -> dict[Path, tuple[int, bytes]]:
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def test_all_files_of_a_study_are_there(study: Path) -> None:
    names = "config.yaml cost.json curves.csv curves.png forest.png gates report.html report.md runs scores.csv"
    others = ["study.json", "study.yaml", "table.csv"]
    assert sorted(path.name for path in study.iterdir()) == [".lock", *names.split(), *others]
    content = json.loads((study / "study.json").read_text())
    assert [row["name"] for row in content["rows"]] == ["scse-add", "constant", "identity", "frozen"]
    assert [one["control"] for one in content["against"]] == ["constant", "identity", "frozen"]
    assert content["tests"] == 4
    assert {run["status"] for run in content["runs"]} == {"done"}
    assert content["rows"][0]["cost"]["parameters"] > content["baseline"]["cost"]["parameters"]
    with (study / "scores.csv").open() as stream:
        scored = {(row["variant"], row["seed"]) for row in csv.DictReader(stream)}
    assert len(scored) == 5 * 2
    assert "cannot be told from none" in (study / "report.md").read_text()


def test_a_study_that_was_killed_goes_on_to_the_same_answer(
    study: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    words = command(config, folder, "--variants", "none,scse-add", "--seeds", "2", "--controls")
    killed = Forked(lambda: main(words), tmp_path / "said", os.environ)
    until(lambda: (folder / "study.yaml").exists(), 120)
    until(lambda: every(folder)[2].folder.exists(), 120)  # the third run has begun
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (folder / "study.json").exists()
    kept = files_of([cell.folder for cell in every(folder)[:2]])
    assert len(kept) > 20
    assert main(["ablate", "--resume", str(folder)]) == 0
    assert files_of([cell.folder for cell in every(folder)[:2]]) == kept
    assert (folder / "scores.csv").read_bytes() == (study / "scores.csv").read_bytes()
    mine, undisturbed = (json.loads((one / "study.json").read_text()) for one in (folder, study))
    assert mine["tests"] == undisturbed["tests"]
    for one, other in zip(mine["rows"], undisturbed["rows"], strict=True):
        assert one["metrics"] == other["metrics"]
    assert mine["against"] == undisturbed["against"]


def test_a_finished_study_answers_again_without_touching_a_run_and_prints_json(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = files_of([copy / "runs"])
    capsys.readouterr()
    assert main(["ablate", "--resume", str(copy), "--json"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["rows"][0]["name"] == "scse-add"
    assert Path(content["written"][0]).name == "report.html"
    assert "dice_per_image against none" in printed.err
    assert files_of([copy / "runs"]) == kept


def test_more_seeds_are_trained_beside_those_that_are_there(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = files_of([cell.folder for cell in every(copy)])
    assert main(["ablate", "--resume", str(copy), "--seeds", "3", "--jobs", "2"]) == 0
    assert files_of(list({path.parent for path in kept})).items() >= kept.items()
    content = json.loads((copy / "study.json").read_text())
    assert content["rows"][0]["metrics"]["dice"]["seeds"] == 3
    assert content["declaration"]["history"][1].endswith("added seeds 2 after 8 finished runs")
    assert "after 8 finished runs" in (copy / "report.md").read_text()


def test_a_study_in_which_all_runs_fail_says_why(
    config: Path, forked: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(config, tmp_path / "s", "--variants", "none,cse", "--seeds", "1", f"data.root={tmp_path}/nowhere")
    capsys.readouterr()
    assert main([*words, "--json"]) == 1
    printed = capsys.readouterr()
    assert "2 runs not done. To go on: seg-scse ablate --resume" in printed.err
    assert "failed: cse seed 0: error: " in printed.err
    assert "nowhere" in printed.err
    assert [one["variant"] for one in json.loads(printed.out)["failures"]] == ["none", "cse"]


def test_a_variant_that_fails_leaves_the_answer_of_the_others_and_exit_code_1(
    copy: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(config, copy, "--variants", "none,scse-add", "--seeds", "2")
    assert main([*words, "--add", "wild: finetune.source=/nowhere.ckpt"]) == 1
    printed = capsys.readouterr()
    assert "failed: wild seed 0: error: " in printed.err
    assert "nowhere.ckpt" in printed.err
    assert "dice_per_image against none" in printed.out
    content = json.loads((copy / "study.json").read_text())
    assert [one["variant"] for one in content["failures"]] == ["wild", "wild"]


def test_a_report_that_is_interrupted_says_what_goes_on(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg_scse.study import reporting

    def slow(*_: object) -> None:
        (tmp_path / "begun").touch()
        time.sleep(60)

    monkeypatch.setattr(reporting, "cost", slow)
    writing = Forked(lambda: main(["ablate", "--resume", str(copy)]), tmp_path / "said", os.environ)
    until((tmp_path / "begun").exists)
    writing.send_signal(signal.SIGTERM)
    assert writing.wait() == 143
    said = (tmp_path / "said").read_text()
    assert "terminated: the runs are kept, and the report is not written yet" in said
    assert f"To go on: seg-scse ablate --resume {copy}" in said
    assert "Traceback" not in said


def test_time_that_is_up_is_no_failure(
    config: Path, forked: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "is_spent", lambda _: True)
    words = command(config, tmp_path / "s", "--variants", "none,cse", "--seeds", "1", "--budget", "1h")
    assert main(words) == 0
    assert "2 runs not done. To go on: seg-scse ablate --resume" in capsys.readouterr().out


def test_another_process_of_torchrun_makes_runs_and_leaves_the_report_to_the_first(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    (copy / "study.json").unlink()
    assert main(["ablate", "--resume", str(copy)]) == 0
    assert capsys.readouterr().out == ""
    assert not (copy / "study.json").exists()


def test_a_study_is_published_and_computed_again_from_its_scores(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablate", "--resume", str(copy), "--publish", str(tmp_path / "public")]) == 0
    first = capsys.readouterr().out
    assert main(["ablate", "--from-scores", str(tmp_path / "public")]) == 0
    again = capsys.readouterr().out
    row = next(line for line in again.splitlines() if line.startswith("scse-add "))
    assert row in first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants", "none,cse"], "--variants: belongs to a new study"),
        (["trainer.max_epochs=9"], "`trainer.max_epochs=9` cannot be changed here"),
        (["--publish", "SAME"], "is the study itself"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_with_a_study_is_refused(
    copy: Path, refused: Refused, words: list[str], message: str
) -> None:
    given = [str(copy) if word == "SAME" else word for word in words]
    assert message in refused(["ablate", "--resume", str(copy), *given], 2)


def test_another_configuration_in_the_same_folder_is_refused_with_both_values(
    copy: Path, config: Path, refused: Refused
) -> None:
    words = command(config, copy, "--variants", "none,scse-add", "--seeds", "2")
    assert "trainer.max_epochs: 1 -> 3" in refused([*words, "trainer.max_epochs=3"], 2)
    assert "metric = dice, not iou" in refused([*words, "--metric", "iou"], 2)


@pytest.mark.slow
def test_every_image_is_scored_once_per_seed_in_a_cross_validation(config: Path, forked: None, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    assert main(command(config, folder, "--variants", "none,cse", "--seeds", "1", "--folds", "2")) == 0
    content = json.loads((folder / "study.json").read_text())
    assert content["data"]["images"] == 12
    assert content["rows"][0]["metrics"]["dice"]["images"] == 12


@pytest.mark.slow
def test_a_variant_that_is_handicapped_by_construction_is_said_to_be_worse(
    config: Path, forked: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(config, tmp_path / "s", "--variants", "none", "--add", "slow: optimizer.lr=1e-6", "--seeds", "3")
    own = ["data.split.train=0.34", "data.split.val=0.16", "data.split.test=0.5", "trainer.max_epochs=15"]
    assert main([*words, *own]) == 0
    (row,) = json.loads((tmp_path / "s" / "study.json").read_text())["rows"]
    found = row["metrics"]["dice"]
    assert found["high"] < -0.1
    assert found["p_holm"] < 0.05
    assert "slow" in capsys.readouterr().out


@pytest.mark.slow
def test_the_processes_of_a_study_are_those_of_the_command_line(config: Path, tmp_path: Path) -> None:
    words = command(config, tmp_path / "s", "--variants", "none,cse", "--seeds", "1", "--jobs", "2")
    done = subprocess.run([sys.executable, "-m", "seg_scse", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[2/2] " in done.stdout
    assert (tmp_path / "s" / "report.html").exists()
