"""Which checkpoints a run folder holds, also after kills between any two writes."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_scse import checkpoint
from seg_scse.training import saving
from seg_scse.training.saving import Checkpoints

SCORES = [0.5, 0.3, 0.7, 0.6, 0.7, None, 0.9, 0.1]


class Killed(BaseException):
    """Stands for SIGKILL."""


def state(epoch: int, best_epoch: int | None = None, best_score: float | None = None) -> dict[str, Any]:
    progress = {"epoch": epoch, "best_epoch": best_epoch, "best_score": best_score}
    rest: dict[str, Any] = {"config": {}, "data_digest": "", "mean": [], "splits": {}, "std": []}
    return {**rest, "model": {"weight": torch.full((3,), float(epoch))}, "progress": progress}


def train(folder: Path, top_k: int, scores: list[float | None] = SCORES) -> Checkpoints:
    """Save as the loop does, from the epoch of the last checkpoint on."""
    checkpoints, start = Checkpoints(folder, top_k), 0
    best_epoch, best_score = None, None
    if (folder / checkpoint.LAST).exists():
        last, _ = checkpoint.load(folder / checkpoint.LAST)
        checkpoints.load(last)
        start, best_epoch, best_score = (last["progress"][key] for key in ("epoch", "best_epoch", "best_score"))
    for epoch, score in enumerate(scores[start:], start + 1):
        checkpoints.save_last(state(epoch - 1, best_epoch, best_score))  # within the epoch
        is_best = best_epoch is None or (score is not None and (best_score is None or score > best_score))
        if is_best:
            best_epoch, best_score = epoch, score
        checkpoints.save_best(state(epoch, best_epoch, best_score), epoch, score, is_best)
        checkpoints.save_last(state(epoch, best_epoch, best_score))
    return checkpoints


def held(folder: Path) -> dict[str, int]:
    """Epochs of the checkpoints that load, by name."""
    found = {}
    for file in (folder / "checkpoints").glob("*.ckpt"):
        content, _ = checkpoint.load(file)
        assert content["model"]["weight"][0] == content["progress"]["epoch"]
        found[file.name] = content["progress"]["epoch"]
    return found


def entries(folder: Path) -> set[str]:
    return {file.name for file in (folder / "checkpoints").iterdir()}


def test_one_best_checkpoint_and_the_last_one_are_kept(tmp_path: Path) -> None:
    train(tmp_path, 1)
    assert held(tmp_path) == {"best.ckpt": 7, "last.ckpt": 8}
    assert entries(tmp_path) == {"best.ckpt", "best.ckpt.sha256", "last.ckpt", "last.ckpt.sha256"}


def test_the_three_best_and_the_last_one_are_kept_and_of_equal_ones_the_earlier(tmp_path: Path) -> None:
    checkpoints = train(tmp_path, 3)
    assert checkpoints.kept == ((7, 0.9), (3, 0.7), (5, 0.7))
    assert held(tmp_path) == {"best.ckpt": 7, "epoch-0003.ckpt": 3, "epoch-0005.ckpt": 5, "last.ckpt": 8}
    assert len(entries(tmp_path)) == 8  # each with its hash


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7])
def test_after_each_epoch_there_are_exactly_as_many_as_asked_for(tmp_path: Path, length: int) -> None:
    train(tmp_path, 3, SCORES[:length])
    assert len(held(tmp_path)) == min(3, length) + 1


def test_an_epoch_without_a_score_ranks_below_all_others(tmp_path: Path) -> None:
    assert train(tmp_path, 2, [None, None, 0.0]).kept == ((3, 0.0), (1, None))


def test_kills_before_any_write_or_removal_change_nothing_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores: list[float | None] = [0.5, 0.3, 0.7, 0.6]  # the third epoch takes the place of the first, which stays
    train(tmp_path / "whole", 3, scores)
    left = [0]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= not str(arguments[0]).endswith(".partial")  # which each write tries to remove
            if left[0] == 0:
                left[0] = -1
                raise Killed
            return function(*arguments, **options)

        return call

    for module, name in ((saving.checkpoint, "save"), (saving, "write_bytes"), (os, "link"), (Path, "unlink")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    kills = 0
    for moment in range(1, 16):  # a second kill of the same run comes soon after
        folder = tmp_path / f"{moment}"
        for left[0] in (moment, moment % 4 + 2, -1):
            try:
                train(folder, 3, scores)
            except Killed:
                kills += 1
            if (folder / checkpoint.LAST).exists():
                last, _ = checkpoint.load(folder / checkpoint.LAST)
                assert {epoch for epoch, _ in last["kept"]} <= set(held(folder).values()), moment
        assert held(folder) == held(tmp_path / "whole"), moment
        assert entries(folder) == entries(tmp_path / "whole"), moment
    assert kills >= 24


def test_removal_waits_for_the_last_checkpoint_that_knows_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = train(tmp_path, 2, [0.1, 0.2])
    checkpoints.save_best(state(3), 3, 0.3, is_best=True)
    assert held(tmp_path) == {"best.ckpt": 3, "epoch-0001.ckpt": 1, "epoch-0002.ckpt": 2, "last.ckpt": 2}
    checkpoints.save_last(state(3))
    assert held(tmp_path) == {"best.ckpt": 3, "epoch-0002.ckpt": 2, "last.ckpt": 3}


def test_a_file_system_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    train(tmp_path, 2, [0.1, 0.2])
    assert held(tmp_path) == {"best.ckpt": 2, "epoch-0001.ckpt": 1, "last.ckpt": 2}


def test_a_state_of_format_1_names_its_best_epoch(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 2)
    checkpoints.load(state(4, best_epoch=2, best_score=0.5))
    assert checkpoints.kept == ((2, 0.5),)
    checkpoints.load(state(4))
    assert checkpoints.kept == ()


def test_fewer_or_more_can_be_kept_after_a_resume(tmp_path: Path) -> None:
    train(tmp_path, 3, SCORES[:4])
    train(tmp_path, 1, SCORES[:5])
    assert held(tmp_path) == {"best.ckpt": 3, "last.ckpt": 5}
    train(tmp_path, 3)
    assert held(tmp_path) == {"best.ckpt": 7, "epoch-0003.ckpt": 3, "epoch-0008.ckpt": 8, "last.ckpt": 8}


def test_the_files_of_others_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "checkpoints" / "epoch-0001-mine.ckpt"
    mine.parent.mkdir()
    mine.write_text("")
    train(tmp_path, 2)
    assert mine.exists()


def test_leftovers_of_a_kill_are_removed_at_start_and_never_chosen(tmp_path: Path) -> None:
    train(tmp_path, 1, [0.5])
    kept = entries(tmp_path)
    leftovers = [
        tmp_path / "checkpoints" / ".last.ckpt.0a1b2c3d.partial",
        tmp_path / "checkpoints" / ".best.ckpt.0a1b2c3d.partial",
        tmp_path / ".epochs.csv.0a1b2c3d.partial",
        tmp_path / "panel" / ".epoch-0001.png.0a1b2c3d.partial",
    ]
    leftovers[-1].parent.mkdir()
    for leftover in leftovers:
        leftover.write_bytes(b"half a checkpoint")
    evaluation = tmp_path / "evaluation" / ".report.html.0a1b2c3d.partial"  # another process may be writing it
    evaluation.parent.mkdir()
    evaluation.write_text("")
    Checkpoints(tmp_path, 1)
    assert entries(tmp_path) == kept
    assert not any(leftover.exists() for leftover in leftovers)
    assert evaluation.exists()
