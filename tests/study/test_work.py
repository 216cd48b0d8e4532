"""Who makes the runs of a study, when, and what becomes of those that end otherwise; `stand_in.py` is each run."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_scse.config.loading import load_config
from seg_scse.errors import Stopped
from seg_scse.study.budget import Budget
from seg_scse.study.cells import Cell
from seg_scse.study.grid import Study
from seg_scse.study.progress import Step
from seg_scse.study.work import Share, Workers, devices

from .drawn_studies import FROZEN, NONE, SCSE, declared
from .processes import Forked, is_alive, stand_in, until

EVERY = ["none seed0", "scse-add seed0", "none seed1", "scse-add seed1"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    stand_in(monkeypatch, tmp_path / "journal")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Study(tmp_path / "study", declared(NONE, SCSE), load_config(None, []))


def journal(study: Study, kind: str = "begins") -> list[dict[str, Any]]:
    path = study.folder.with_name("journal")
    lines = path.read_text().splitlines() if path.exists() else []
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def begun(study: Study) -> list[str]:
    return [entry["cell"] for entry in journal(study)]


def work(study: Study, said: list[str] | None = None, budget: Budget | None = None, **share: Any) -> list[str]:
    """Make the runs, and return what was said."""
    lines = [] if said is None else said

    def say(line: str) -> None:
        lines.append(line)
        print(line)

    Workers(study, Share(**share), budget or Budget(None, []), say).run()
    return lines


def states(study: Study) -> list[str]:
    return [cell.state()["status"] for cell in study.cells()]


def beside(study: Study, **share: Any) -> Forked:
    """Make the runs in another process."""

    def run() -> int:
        try:
            work(study, **share)
        except Stopped as stop:
            print(stop)
            return stop.exit_code
        return 0

    return Forked(run, study.folder.with_name("said"), os.environ)


@pytest.fixture
def ended() -> Iterator[list[Forked]]:
    """Processes that are not left behind."""
    started: list[Forked] = []
    yield started
    for process in started:
        process.kill()


def test_each_run_is_made_once_seed_by_seed_and_finished_ones_are_not_touched(study: Study) -> None:
    said = work(study)
    assert begun(study) == EVERY
    assert states(study) == ["done"] * 4
    assert said[-1].startswith("[4/4] scse-add seed 1: done")
    assert "left" in said[1]
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in study.folder.rglob("*") if path.is_file()}
    work(study)
    assert begun(study) == EVERY
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == files


def test_a_run_that_fails_is_reported_does_not_stop_the_rest_and_is_tried_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "none")
    said = work(study)
    assert begun(study) == EVERY
    assert states(study) == ["failed", "done", "failed", "done"]
    failed = study.cells()[0].state()
    assert failed["error"] == "error: s05.png: cut short in the test.\nRestore it."
    assert failed["exit_code"] == 3
    assert any(line.startswith("[0/4] none seed 0: failed: error: s05.png") for line in said)
    monkeypatch.delenv("FAIL")
    work(study)
    assert begun(study)[4:] == ["none seed0", "none seed1"]
    assert states(study) == ["done"] * 4


def test_a_run_that_was_killed_says_by_what(study: Study, monkeypatch: pytest.MonkeyPatch, ended: list[Forked]) -> None:
    monkeypatch.setenv("WAIT", "60")
    ended.append(beside(study, jobs=4))
    until(lambda: len(begun(study)) == 4)
    for entry in journal(study):
        os.kill(entry["pid"], signal.SIGKILL)
    assert ended[0].wait() == 0
    assert {cell.state()["error"] for cell in study.cells()} == {"killed by signal 9: was memory short?"}


def test_two_calls_make_each_run_once_and_the_first_waits_for_all(
    study: Study, monkeypatch: pytest.MonkeyPatch, ended: list[Forked]
) -> None:
    monkeypatch.setenv("WAIT", "0.3")
    ended.append(beside(study, waits=False))
    until(lambda: len(begun(study)) > 0)
    work(study)
    assert sorted(begun(study)) == sorted(EVERY)
    assert states(study) == ["done"] * 4
    assert ended[0].wait() == 0


def test_what_fails_in_another_process_meanwhile_is_not_made_again(study: Study) -> None:
    cell = study.cells()[0]
    workers = Workers(study, Share(), Budget(None, []), lambda line: None, began=0.0)
    cell.folder.mkdir(parents=True)
    cell.note(status="failed", error="", exit_code=1, seconds=1.0)
    workers.run()
    assert begun(study) == EVERY[1:]


@pytest.mark.parametrize(("number", "mine"), [(1, EVERY[::2]), (2, EVERY[1::2])])
def test_a_shard_makes_every_second_run(study: Study, number: int, mine: list[str]) -> None:
    work(study, shard=(number, 2), waits=False)
    assert begun(study) == mine


def test_two_runs_side_by_side_have_half_the_threads_each_and_gpus_in_turn(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WAIT": "0.5", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    work(study, jobs=2, devices=("4", "7"))
    first, second = journal(study)[:2]
    assert second["at"] < journal(study, "ends")[0]["at"]
    assert {entry["OMP_NUM_THREADS"] for entry in journal(study)} == {"6"}
    assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"4", "7"}
    assert {entry["RANK"] for entry in journal(study)} == {None}


@pytest.mark.parametrize(
    ("visible", "rank", "expected"),
    [("", None, ("0", "1", "2")), ("", 4, ("1",)), ("5,GPU-8", None, ("5", "GPU-8")), ("5,GPU-8", 1, ("GPU-8",))],
)
def test_a_process_of_torchrun_uses_its_own_gpu_and_another_one_all(
    monkeypatch: pytest.MonkeyPatch, visible: str, rank: int | None, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices(rank) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices(rank) == ()


def test_when_the_time_is_up_runs_save_and_the_same_command_goes_on(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT", "60")
    budget = Budget(1e9, [])
    monkeypatch.setattr(budget, "is_spent", lambda: bool(journal(study)))
    said = work(study, budget=budget)
    assert states(study) == ["stopped", *["missing"] * 3]
    assert [entry["cell"] for entry in journal(study, "saved")] == ["none seed0"]
    assert "stopped, resumable" in said[-1]
    monkeypatch.setenv("WAIT", "0")
    assert "goes on" in work(study)[0]
    assert journal(study)[1]["words"][:2] == ["train", "--resume"]
    assert states(study) == ["done"] * 4


def test_no_run_begins_that_would_not_end_in_time(study: Study) -> None:
    work(study, budget=Budget(100.0, [90.0, 500.0, 300.0]))
    assert begun(study) == []


def test_a_study_that_is_ended_ends_its_runs_and_says_how_it_goes_on(
    study: Study, monkeypatch: pytest.MonkeyPatch, ended: list[Forked]
) -> None:
    monkeypatch.setenv("WAIT", "60")
    ended.append(beside(study, jobs=2))
    until(lambda: len(begun(study)) == 2)
    ended[0].send_signal(signal.SIGTERM)
    assert ended[0].wait() == 143
    assert len(journal(study, "saved")) == 2
    assert states(study)[:2] == ["stopped"] * 2
    said = study.folder.with_name("said").read_text()
    assert "terminated: 0 of 4 runs are done" in said
    assert "asked to save and end: none seed 0, scse-add seed 0 ..." in said
    assert f"seg-scse ablate --resume {study.folder}" in said


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells a process that its parent ended")
def test_a_study_that_is_killed_leaves_no_run_behind_and_nobody_takes_it_while_it_saves(
    study: Study, monkeypatch: pytest.MonkeyPatch, ended: list[Forked]
) -> None:
    monkeypatch.setenv("WAIT", "60")
    ended.append(beside(study))
    until(lambda: len(begun(study)) == 1)
    (entry,) = journal(study)
    os.kill(entry["pid"], signal.SIGSTOP)  # as if it took long to save
    ended[0].kill()
    ended[0].wait()
    monkeypatch.setenv("WAIT", "0")
    work(study, waits=False)
    assert begun(study)[1:] == EVERY[1:]
    os.kill(entry["pid"], signal.SIGCONT)
    until(lambda: not is_alive(entry["pid"]))
    work(study)
    assert journal(study)[-1]["words"][:2] == ["train", "--resume"]
    assert states(study) == ["done"] * 4


def test_frozen_gates_are_scored_after_training_and_later_where_they_are_missing(study: Study) -> None:
    work(study)
    with_frozen = Study(study.folder, declared(NONE, SCSE, FROZEN, seeds=3), study.config)
    work(with_frozen)
    later = journal(study)[4:]
    assert [(entry["cell"], entry["words"][0]) for entry in later] == [
        ("scse-add seed0", "evaluate"),
        ("scse-add seed1", "evaluate"),
        ("none seed2", "train"),
        ("scse-add seed2", "train"),
        ("scse-add seed2", "evaluate"),
    ]
    assert later[0]["words"][2:] == ["--split", "test", "--frozen-gates"]


def test_scores_stay_where_only_the_scoring_of_frozen_gates_fails_and_that_is_tried_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_frozen = Study(study.folder, declared(NONE, SCSE, FROZEN, seeds=1), study.config)
    monkeypatch.setenv("FAIL", "evaluate")
    said = work(with_frozen)
    assert states(with_frozen) == ["done", "done"]
    state = with_frozen.cells()[1].state()
    assert (state["error"].splitlines()[0], state["exit_code"]) == ("error: s05.png: cut short in the test.", 3)
    assert any("scse-add seed 0: done but for its frozen gates, which failed: error: s05" in line for line in said)
    assert with_frozen.unfinished() == with_frozen.cells()[1:]
    monkeypatch.delenv("FAIL")
    work(with_frozen)
    assert [entry["words"][0] for entry in journal(study)] == ["train", "train", "evaluate", "evaluate"]
    assert with_frozen.unfinished() == []
    assert with_frozen.cells()[1].state()["error"] == ""


def test_scores_stay_where_the_time_is_up_while_frozen_gates_are_scored(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(study)
    with_frozen = Study(study.folder, declared(NONE, SCSE, FROZEN), study.config)
    monkeypatch.setenv("WAIT", "60")
    budget = Budget(1e9, [])
    monkeypatch.setattr(budget, "is_spent", lambda: len(journal(study)) > len(EVERY))
    assert "done but for its frozen gates, which the next call scores" in work(with_frozen, budget=budget)[-1]
    assert states(with_frozen) == ["done"] * 4
    assert [cell.label for cell in with_frozen.unfinished()] == ["scse-add seed 0", "scse-add seed 1"]


def test_runs_of_hours_say_where_they_are(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_scse.study.work.MINUTE", 0.3)
    monkeypatch.setattr("seg_scse.study.work.at_step", lambda cell: Step(f"{cell.label} at half", 0.5))
    monkeypatch.setenv("WAIT", "0.8")
    said = work(study, jobs=2, budget=Budget(None, [3600.0]))
    assert "[0/4] none seed 0 at half; scse-add seed 0 at half; about 1.5 h left" in said


def test_a_run_that_somebody_removed_is_made_again(study: Study) -> None:
    work(study)
    cell: Cell = study.cells()[2]
    (cell.folder / "checkpoints" / "best.ckpt").unlink()
    work(study)
    assert begun(study)[4:] == ["none seed1"]
