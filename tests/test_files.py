import errno
import os
import resource
import sys
from pathlib import Path

import pytest
import torch

from seg_scse import checkpoint, files
from seg_scse.data.array_files import replacing
from seg_scse.errors import WriteError


def test_failed_write_keeps_the_previous_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_file_is_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    with files.atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("x")


def test_writers_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with files.atomic_path(path) as first, files.atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last that was finished
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("flushed", [True, False])
def test_a_file_is_flushed_with_its_folder_where_a_power_cut_must_not_damage_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushed: bool
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    with files.replacing_path(tmp_path / "a.txt", flushed) as temporary:
        temporary.write_text("x")
    assert synced == ([str(temporary), str(tmp_path)] if flushed else [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_of_the_cache_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"old")

    def fail() -> None:
        with replacing(tmp_path / "a.npy") as stream:
            stream.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a.npy").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "a.npy"):
        pass


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the quota is used up")]
)
@pytest.mark.parametrize("place", ["write", "flush", "rename"])
def test_a_full_disk_is_explained_with_both_sizes_and_keeps_the_previous_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, place: str
) -> None:
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    def attempt(self: files.HashingStream, function: object, *arguments: bytes) -> None:
        self.error = OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        targets = {"write": (files.HashingStream, "_attempt"), "flush": (os, "fsync"), "rename": (Path, "replace")}
        patch.setattr(*targets[place], attempt if place == "write" else full)
        with pytest.raises(WriteError, match=rf"a\.bin: {words} \(3 bytes are needed, [\d,]+ bytes are free\)"):
            files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_file_larger_than_allowed_is_explained(tmp_path: Path) -> None:
    path, state = tmp_path / "a.ckpt", {"model": {"weight": torch.zeros(50_000)}}
    checkpoint.save(path, {"note": "old"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"a\.ckpt: 20\d,\d{3} bytes are more than a file may have here") as caught:
            checkpoint.save(path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "ulimit -f" in str(caught.value)
    assert checkpoint.epoch_of(path) is None
    assert b"old" in path.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.ckpt", "a.ckpt.sha256"]


def test_temporary_files_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.ckpt.00ff00ff.partial", ".a.gpkg.00ff00ff.partial.gpkg", "a.ckpt", ".hidden", "a.partial"):
        (tmp_path / name).write_text("")
    files.remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".hidden", "a.ckpt", "a.partial"]
    files.remove_leftovers(tmp_path / "none")


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        files.require_writable(tmp_path / "file" / "run")
