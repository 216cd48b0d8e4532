"""Every raster that exists is complete: on a full disk, and after a kill."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster import Place
from seg_scse.errors import WriteError
from seg_scse.files import remove_leftovers
from seg_scse.prediction.writing.rasters import write_label_map, write_probabilities

UTM = Place("EPSG:32750", (10.0, 0.0, 500_000.0, 0.0, -10.0, 9_000_000.0), (10.0, 10.0), "m")
SHAPE = (1100, 700)
LABELS = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
PROBABILITIES = np.random.default_rng(0).random((1, *SHAPE), np.float32)


def label_map(path: Path) -> None:
    write_label_map(path, [LABELS[:600], LABELS[600:]], SHAPE, UTM, classes=("background", "a", "b"))


def probabilities(path: Path) -> None:
    write_probabilities(path, [PROBABILITIES], SHAPE, UTM, names=("a",))


WRITERS = {"label.tif": (label_map, LABELS), "label.png": (label_map, LABELS), "p.tif": (probabilities, PROBABILITIES)}


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process may become larger, as on a disk without more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_wherever_the_room_ends_a_file_is_complete_or_absent(tmp_path, name):
    write, expected = WRITERS[name]
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    for share in (0.001, 0.2, 0.5, 0.8, 0.95, 0.999):
        with room(int(share * len(whole))), pytest.raises(WriteError, match=f"{name}: .*(too large|may have here)"):
            write(tmp_path / name)
        assert not list(tmp_path.iterdir())
    with room(2 * len(whole)):
        write(tmp_path / name)
    with decoding, rasterio.open(tmp_path / name) as dataset:
        np.testing.assert_array_equal(dataset.read().reshape(expected.shape), expected)


@pytest.mark.parametrize("name", WRITERS)
def test_a_failure_keeps_the_file_of_before(tmp_path, name):
    write, _ = WRITERS[name]
    (tmp_path / name).write_bytes(b"before")
    with room(30_000), pytest.raises(WriteError):
        write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"before"


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match=r"label\.tif: the disk is full \([0-9,]+ bytes are free\)"):
        label_map(tmp_path / "label.tif")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "labels").write_text("")
    with pytest.raises(WriteError, match=r"labels/a\.tif: cannot be written"):
        label_map(tmp_path / "labels" / "a.tif")


def test_a_failing_strip_leaves_no_file(tmp_path):
    def strips():
        yield LABELS[:600]
        raise KeyboardInterrupt

    for name in ("a.tif", "a.png"):
        with pytest.raises(KeyboardInterrupt):
            write_label_map(tmp_path / name, strips(), SHAPE, UTM, classes=("background", "a", "b"))
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from seg_scse.prediction.writing.rasters import write_label_map

def strips():
    yield np.zeros((600, 700), np.uint8)
    os.kill(os.getpid(), signal.SIGKILL)

write_label_map(Path(sys.argv[1]), strips(), (1100, 700), None, classes=("background", "a"))
"""


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_kill_in_the_middle_leaves_no_partial_file(tmp_path, suffix):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / f"a{suffix}")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir()]
    assert left
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
