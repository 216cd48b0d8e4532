"""Checkpoints that are damaged, foreign or poisoned, as the commands meet them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_scse import checkpoint

Refused = Callable[[list[str], int], str]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("command", ["resume", "from", "evaluate", "card", "explain"])
def test_code_in_a_checkpoint_does_not_run_whatever_reads_it(
    small_run: Path, small: list[str], file: Path, tmp_path: Path, refused: Refused, command: str
) -> None:
    folder, trace = tmp_path / "run", tmp_path / "ran"
    shutil.copytree(small_run, folder)
    for path in (folder / checkpoint.LAST, folder / checkpoint.BEST):
        state, _ = checkpoint.load(path)
        torch.save({**state, "extra": Payload(trace)}, path)
        checkpoint.hash_file(path).unlink()
    arguments = {
        "resume": ["train", "--resume", str(folder)],
        "from": ["train", "--config", str(file), *small, "--out", str(tmp_path / "new"), "--from", str(folder)],
        "evaluate": ["evaluate", str(folder)],
        "card": ["card", str(folder), "--out", str(tmp_path / "card")],
        "explain": ["explain", str(folder)],
    }
    message = refused(arguments[command], 6)
    assert "holds more than plain values and tensors" in message
    assert "weights_only" not in message
    assert not trace.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "html", "folder", "newer", "another network"])
def test_a_damaged_last_checkpoint_is_refused_with_the_usable_one(
    small_run: Path, tmp_path: Path, refused: Refused, damage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    last = folder / checkpoint.LAST
    whole, (state, _) = last.read_bytes(), checkpoint.load(last)
    state["progress"]["finished"] = False
    contents = {"empty": b"", "cut": whole[: len(whole) // 2], "html": b"<html>404 not found</html>"}
    last.unlink()
    if damage == "folder":
        last.mkdir()
    elif damage in contents:
        last.write_bytes(contents[damage])
    else:
        changed = {"format": checkpoint.FORMAT + 1} if damage == "newer" else {"model": {"other": torch.zeros(1)}}
        checkpoint.save(last, {**state, **changed})
    reasons = {
        "empty": "the file is empty",
        "cut": "not a checkpoint, or cut short",
        "html": "not a checkpoint, or cut short",
        "folder": "cannot be read",
        "newer": "Upgrade seg-scse",
        "another network": "made by another model",
    }
    resume, score = ["train", "--resume", str(folder)], ["evaluate", str(folder), "--checkpoint", "last"]
    message = refused(score if damage == "folder" else resume, 6)
    assert reasons[damage] in message
    assert "weights_only" not in message
    if damage != "another network":
        assert f"Usable: {folder / checkpoint.BEST}" in message


def test_a_checkpoint_of_a_run_loads_without_a_list_of_allowed_classes(small_run: Path) -> None:
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        states = [checkpoint.load(small_run / name)[0] for name in (checkpoint.LAST, checkpoint.BEST)]
        assert torch.serialization.get_safe_globals() == []
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert [state["format"] for state in states] == [checkpoint.FORMAT] * 2
