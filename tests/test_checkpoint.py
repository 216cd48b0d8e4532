import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seg_scse import checkpoint, files
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import CheckpointError
from seg_scse.inference.predictor import Predictor
from seg_scse.models import build_model

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
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == saved:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
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


def test_a_save_that_comes_between_two_reads_is_no_damage(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, saves = checkpoint._listed, [1]

    def read_after_a_save(hashes: Path) -> list[str]:
        if saves:
            saves.clear()
            checkpoint.save(saved, {**REST, "model": {}, "note": "second"})
        return read(hashes)

    monkeypatch.setattr(checkpoint, "_listed", read_after_a_save)
    assert checkpoint.load(saved)[0]["note"] == "second"


def test_no_flipped_byte_is_more_than_a_damaged_file(saved: Path) -> None:
    saved.with_name("last.ckpt.sha256").unlink()  # else the hash alone would tell
    whole, refused = saved.read_bytes(), 0
    for place in range(0, len(whole), 61):
        data = bytearray(whole)
        data[place] ^= 0xFF
        saved.write_bytes(data)
        try:
            checkpoint.load(saved)
        except CheckpointError:
            refused += 1
    assert refused, "a byte of padding may be any, others not"


_MEMORY = """
import sys
from pathlib import Path
import torch
from seg_scse import checkpoint

def memory(key):
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith(key + ":"))

path, rest = Path(sys.argv[1]), {key: 0 for key in checkpoint.REQUIRED}
checkpoint.save(path, rest)
checkpoint.load(path)
before = memory("VmRSS")
state = rest | {"model": {str(number): torch.ones(5_000_000) for number in range(5)}}
held = memory("VmRSS")
checkpoint.save(path, state)
saved = memory("VmHWM")
checkpoint.load(path)
print(held - before, saved - held, memory("VmHWM") - saved)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status")
def test_saving_and_loading_hold_no_second_copy_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MEMORY, str(tmp_path / "a.ckpt")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    held, saving, loading = map(int, output.split())
    assert 90 <= held <= 110  # MiB
    assert saving < 20
    assert loading < held + 40  # the loaded tensors, and one of them twice while it is read


def test_a_second_signal_in_the_middle_of_a_write_ends_at_once_and_leaves_nothing(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, calls = files.HashingStream._attempt, []

    def interrupted(self: files.HashingStream, function: Any, *arguments: Any) -> None:
        def signalled(*_: Any) -> None:
            raise SystemExit(143)

        calls.append(function)
        attempt(self, signalled if len(calls) == 10 else function, *arguments)

    monkeypatch.setattr(files.HashingStream, "_attempt", interrupted)
    with pytest.raises(SystemExit, match="143"):
        checkpoint.save(saved, {**REST, "model": {"weight": torch.zeros(1000)}})
    assert checkpoint.load(saved)[0]["note"] == "first"
    assert sorted(file.name for file in saved.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]


FORMAT_1 = Path(__file__).parent / "checkpoints" / "format1"


def test_a_checkpoint_of_format_1_loads_and_predicts_the_same() -> None:
    state, _ = checkpoint.load(FORMAT_1 / "best.ckpt")
    assert state["format"] == 1
    config = checkpoint.config_of(state, FORMAT_1 / "best.ckpt")
    model = build_model(config.model, 3, 2)
    checkpoint.load_weights(model, state, FORMAT_1 / "best.ckpt")
    standardizer = Standardizer(tuple(state["mean"]), tuple(state["std"]))
    predictor = Predictor.from_config(config, model.eval(), standardizer, torch.device("cpu"), "fp32")
    rows, columns = np.mgrid[:32, :32]
    disc = (rows - 16) ** 2 + (columns - 12) ** 2 < 64
    image = np.stack([rows * 8, columns * 8, 255 * disc], -1).astype(np.uint8)
    expected = np.load(FORMAT_1 / "expected.npy")
    found = np.asarray(predictor.probabilities(image)[0])
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_epochs_of_a_checkpoint_are_read_without_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    assert checkpoint.epoch_of(path) is None
    checkpoint.save(path, {**REST, "model": {}, "progress": {"epoch": 7}})
    assert checkpoint.epoch_of(path) == 7
    path.write_bytes(b"no checkpoint")
    assert checkpoint.epoch_of(path) is None


PACKAGE = Path(checkpoint.__file__).parent


def test_one_checkpoint_loads_after_each_of_a_hundred_kills_in_a_save(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    paths = os.environ | {"TMPDIR": str(elsewhere), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)}
    script = Path(__file__).parent / "checkpoints" / "killed_saves.py"
    command = [sys.executable, str(script), str(tmp_path / "last.ckpt"), "100"]
    result = subprocess.run(command, capture_output=True, text=True, env=paths, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    loaded, in_between = map(int, result.stdout.split())
    assert loaded == 100
    assert in_between >= 20  # kills that came within a save and not between two
