"""Finished strips as files."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from seg_scse.errors import DataError, WriteError
from seg_scse.prediction.writing.strip_store import StripStore

ROWS = (slice(0, 4), slice(4, 8), slice(8, 10))
WIDTH = 6


def drawn(index: int) -> dict[str, np.ndarray]:
    random, height = np.random.default_rng(index), ROWS[index].stop - ROWS[index].start
    return {
        "labels": random.integers(0, 3, (height, WIDTH)).astype(np.uint8),
        "probabilities": random.random((2, height, WIDTH), np.float32),
    }


@pytest.fixture
def store(tmp_path):
    return StripStore(tmp_path / "item", ROWS, WIDTH, "one")


def test_strips_come_back_exactly_and_in_order(store):
    for index in (2, 0, 1):
        store.write(index, drawn(index))
    for name in ("labels", "probabilities"):
        for index, strip in enumerate(store.strips(name)):
            np.testing.assert_array_equal(strip, drawn(index)[name], strict=True)


def test_a_stopped_scene_goes_on_with_what_is_missing(store, tmp_path):
    assert store.missing() == [0, 1, 2]
    store.write(1, drawn(1))
    assert StripStore(tmp_path / "item", ROWS, WIDTH, "one").missing() == [0, 2]


@pytest.mark.parametrize(
    ("rows", "width", "fingerprint"), [(ROWS, WIDTH, "two"), (ROWS, 7, "one"), (ROWS[:2], WIDTH, "one")]
)
def test_strips_of_other_settings_are_never_taken_for_these(store, tmp_path, rows, width, fingerprint):
    store.write(0, drawn(0))
    other = StripStore(tmp_path / "item", rows, width, fingerprint)
    assert other.missing() == list(range(len(rows)))
    assert not list((tmp_path / "item").iterdir())


def test_two_processes_write_one_scene(store, tmp_path):
    other = StripStore(tmp_path / "item", ROWS, WIDTH, "one")
    store.write(0, drawn(0))
    other.write(1, drawn(1))
    store.write(2, drawn(2))
    assert store.missing() == other.missing() == []
    np.testing.assert_array_equal(store.read(1, "labels"), drawn(1)["labels"])


def test_the_same_strip_has_the_same_bytes(store, tmp_path):
    other = StripStore(tmp_path / "again", ROWS, WIDTH, "one")
    for one in (store, other):
        one.write(0, drawn(0))
    files = [next((tmp_path / name).rglob("*.npz")).read_bytes() for name in ("item", "again")]
    assert files[0] == files[1]


def test_a_strip_of_another_size_is_refused(store):
    with pytest.raises(ValueError, match=r"strip 2 is \(2, 6\) large, not labels \(4, 6\)"):
        store.write(2, {"labels": drawn(0)["labels"]})


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_damaged_strip_is_named_with_its_cure(store, tmp_path, damage):
    store.write(0, drawn(0))
    (file,) = tmp_path.rglob("*.npz")
    if damage == "missing":
        file.unlink()
    elif damage != "other":
        file.write_bytes(b"" if damage == "empty" else file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"000000\.npz: the (labels|entropy) of this strip cannot be read.*Remove this"):
        store.read(0, "entropy" if damage == "other" else "labels")


def test_a_full_disk_leaves_no_strip(store, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"000001\.npz: the disk is full \([0-9,]+ bytes are needed"):
        store.write(1, drawn(1))
    assert store.missing() == [0, 1, 2]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


KILLED = """
import sys, os, signal
from pathlib import Path
import numpy as np
from seg_scse.prediction.writing.strip_store import StripStore
store = StripStore(Path(sys.argv[1]), [slice(0, 4), slice(4, 8)], 6, "one")
strip = np.zeros((4, 6), np.uint8)
store.write(0, {"labels": strip})
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
store.write(1, {"labels": strip})
"""


def test_a_kill_in_the_middle_leaves_the_finished_strips(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "item")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.partial"))
    assert StripStore(tmp_path / "item", [slice(0, 4), slice(4, 8)], 6, "one").missing() == [1]
