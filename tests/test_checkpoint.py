import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_scse import checkpoint
from seg_scse.errors import CheckpointError

REST: dict[str, Any] = {"config": {}, "data_digest": "", "mean": [], "progress": {}, "splits": {}, "std": []}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, {**REST, "model": {"weight": torch.arange(1000.0)}, "note": "first"})
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    return str(caught.value)


def test_state_reads_back(saved: Path) -> None:
    state, digest = checkpoint.load(saved)
    assert state["note"] == "first"
    assert torch.equal(state["model"]["weight"], torch.arange(1000.0))
    assert saved.with_name("last.ckpt.sha256").read_text().split() == [digest]


def test_flipped_bit_is_refused_and_the_usable_neighbour_named(saved: Path) -> None:
    best = saved.with_name("best.ckpt")
    checkpoint.save(best, {**REST, "model": {}})
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    saved.write_bytes(data)
    text = refusal(saved)
    assert "damaged" in text
    assert f"Usable: {best}" in text


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"cut"])
def test_empty_html_or_cut_file_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content or b"")
    text = refusal(saved)
    assert "empty" in text if not content else "not a checkpoint, or cut short" in text
    assert "weights_only" not in text


def test_cut_checkpoint_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-500])
    assert "cut short" in refusal(saved) or "damaged" in refusal(saved)


def test_directory_and_missing_file_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "none.ckpt")


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_pickle_payload_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.ckpt", tmp_path / "ran"
    torch.save({"format": 1, "model": Payload(trace)}, path)
    assert "more than plain values" in refusal(path)
    path.write_bytes(pickle.dumps(Payload(trace)))
    refusal(path)
    assert not trace.exists()


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {}}, path)
    assert "not a checkpoint of seg_scse" in refusal(path)
    torch.save({"format": checkpoint.FORMAT + 1, "model": {}}, path)
    assert "newer" in refusal(path)
    torch.save({"format": checkpoint.FORMAT, "model": {}}, path)
    assert "not a complete checkpoint: config, data_digest," in refusal(path)
    with pytest.raises(CheckpointError, match=r"another version of seg_scse \(differs in modle\)"):
        checkpoint.config_of({"config": {"modle": 1}}, path)


@pytest.mark.parametrize("kills", [1, 2, 5])
def test_kills_between_hash_and_data_leave_a_loadable_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    def killed(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_bytes", killed)
        for number in range(kills):
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(saved, {**REST, "model": {}, "note": f"lost {number}"})
            assert checkpoint.load(saved)[0]["note"] == "first"
    checkpoint.save(saved, {**REST, "model": {}, "note": "second"})
    assert checkpoint.load(saved)[0]["note"] == "second"
    assert len(saved.with_name("last.ckpt.sha256").read_text().split()) == 1


def test_weights_of_another_model_are_refused_with_numbers(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    state = {"model": {"weight": torch.zeros(4, 2), "other": torch.zeros(1)}}
    with pytest.raises(CheckpointError, match=r"another model: 1 tensors missing, 1 unknown, 1 of another shape"):
        checkpoint.load_weights(model, state, tmp_path / "a.ckpt")
