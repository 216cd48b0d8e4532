"""Predictions that fail, are stopped, go on, or are shared: what is finished stays, and comes out the same."""

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seg_scse import files
from seg_scse.errors import DataError
from seg_scse.inference.predictor import Predictor
from seg_scse.prediction.locking import held
from seg_scse.prediction.writing.strip_store import StripStore

from .predicting import ALL, copied, draw_scene, launch, predict, record, results, said, table

Refused = Callable[[list[str], int], str]


@contextmanager
def full_disk_at(part: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the disk be full for files with this part in their names."""
    flush = files._flush

    def full(path: Path) -> None:
        if part in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush", full)
        yield


def test_bad_files_are_listed_at_the_end_and_tried_again(
    run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, out = copied(discs, tmp_path / "in"), tmp_path / "out"
    whole = (inputs / "s01.png").read_bytes()
    (inputs / "s01.png").write_bytes(whole[: len(whole) // 2])
    assert predict(run, inputs, out, "--json") == 3
    seen = capsys.readouterr()
    assert "error: 1 of 3 items failed:\n  - s01: " in seen.err
    result = json.loads(seen.out)
    assert (result["done"], list(result["failed"]), result["left"], result["exit_code"]) == (2, ["s01"], 0, 3)
    assert sorted(results(out)) == ["labels/s00.png", "labels/s02.png"]
    assert [row["status"] for row in table(out)] == ["done", "failed", "done"]
    assert "s01.png" in table(out)[1]["error"]
    (inputs / "s01.png").write_bytes(whole)
    assert predict(run, inputs, out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2
    assert [row["status"] for row in table(out)] == ["done"] * 3


@pytest.mark.parametrize("error", [MemoryError("no room"), ZeroDivisionError("wires crossed")])
def test_an_image_that_fails_in_the_middle_does_not_stop_the_rest(
    run: Path,
    discs: Path,
    tmp_path: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs, original, calls = copied(discs, tmp_path / "in"), Predictor.strips, []

    def failing(self: Predictor, *given: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return original(self, *given, **named)

    monkeypatch.setattr(Predictor, "strips", failing)
    assert predict(run, inputs, tmp_path / "out") == 3
    words = "out of memory" if isinstance(error, MemoryError) else "internal error: ZeroDivisionError: wires crossed"
    assert f"s01.png: {words}" in capsys.readouterr().err
    assert len(results(tmp_path / "out")) == 2


def test_a_full_disk_ends_the_work_with_counts_and_complete_files(
    run: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    inputs, out = copied(discs, tmp_path / "in", 6), tmp_path / "out"
    with full_disk_at("s03", monkeypatch):
        message = refused(said(run, inputs, out), 5)
    assert "s03.png: the disk is full" in message
    assert "of 6 items finished" in message
    assert "every file that exists is complete. The same command goes on from there." in message
    done = results(out)
    assert "labels/s00.png" in done
    assert "labels/s03.png" not in done
    assert not list(out.rglob(".*.partial"))
    assert predict(run, inputs, out) == 0
    assert len(results(out)) == 6
    assert done.items() <= results(out).items()


@pytest.mark.slow
def test_a_killed_prediction_goes_on_in_the_middle_of_a_scene(
    run: Path, scenes: Path, whole: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    killed = launch(said(run, scenes, out, *ALL)[1:], FAULT="kill:4")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "labels/a/scene.tif" not in results(out)
    (strips,) = (out / ".strips").glob("*/*/")
    kept = {path.name: path.stat().st_mtime_ns for path in strips.iterdir() if path.suffix == ".npz"}
    assert 2 <= len(kept) <= 5
    (strips / ".000007.npz.0badcafe.partial").touch()
    again, write = [], StripStore.write

    def watched(self: StripStore, index: int, arrays: dict) -> None:
        again.append(f"{index:06}.npz")
        write(self, index, arrays)

    monkeypatch.setattr(StripStore, "write", watched)
    assert predict(run, scenes, out, *ALL) == 0
    assert results(out) == results(whole)
    assert not set(again) & set(kept), "no strip twice"
    assert len(again) + len(kept) == 9
    assert not list(out.rglob(".*.partial"))


@pytest.mark.parametrize(
    ("signum", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "inter")]
)
def test_a_signal_ends_the_work_and_says_how_it_goes_on(
    run: Path,
    scenes: Path,
    whole: Path,
    tmp_path: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signum: int,
    code: int,
    word: str,
) -> None:
    out, write = tmp_path / "out", StripStore.write

    def ended(self: StripStore, index: int, arrays: dict) -> None:
        if index == 3:
            os.kill(os.getpid(), signum)
        write(self, index, arrays)

    before = signal.getsignal(signum)
    with monkeypatch.context() as patch:
        patch.setattr(StripStore, "write", ended)
        assert predict(run, scenes, out, *ALL) == code
    message = capsys.readouterr().err
    assert message.startswith(word)
    assert "of 3 items finished" in message
    assert "The same command goes on from here." in message
    assert signal.getsignal(signum) == before
    assert predict(run, scenes, out, *ALL) == 0
    assert results(out) == results(whole)


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one_and_predict_everything_once(
    run: Path, scenes: Path, whole: Path, tmp_path: Path
) -> None:
    both = launch(said(run, scenes, tmp_path / "out", *ALL)[1:], processes=2)
    assert both.returncode == 0, both.stderr
    assert "predicted 3 of 3 items" in both.stdout
    assert results(tmp_path / "out") == results(whole)
    strips = record(tmp_path / "out", "a/scene")["strips"]
    assert strips == ["1/2: 0-3", "2/2: 4-8"]
    assert {record(tmp_path / "out", f"small{number}")["process"] for number in (1, 2)} == {"1/2", "2/2"}


def test_calls_that_share_the_work_give_the_bytes_of_one(
    run: Path, scenes: Path, whole: Path, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(run, scenes, out, *ALL, "--shard", "2/2") == 0
    assert "predicted 1 of 3 items" in (printed := capsys.readouterr().out)
    assert "2 wait for other calls" in printed
    assert [row["id"] for row in table(out)] == ["small2"]
    assert predict(run, scenes, out, *ALL, "--shard", "1/2") == 0
    assert results(out) == results(whole)
    assert len(table(out)) == 3
    assert record(out, "a/scene")["strips"] == ["1/2: 0-3", "2/2: 4-8"]


def test_one_folder_is_predicted_into_by_one_call(run: Path, discs: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "out"
    with held(out / ".items", (1, 1), lambda: None):
        message = refused(said(run, discs / "images", out), 2)
        assert f"{out}: process {os.getpid()}, one of 1 is predicting into this folder. Wait for it" in message
    with held(out / ".items", (1, 2), lambda: None):
        assert "--shard 1/2 is at work already" in refused(said(run, discs / "images", out, "--shard", "1/2"), 2)
        assert "--shard 2/3, but process" in refused(said(run, discs / "images", out, "--shard", "2/3"), 2)
        assert predict(run, discs / "images", out, "--shard", "2/2") == 0


def test_a_scene_whose_strips_are_there_is_only_put_together(
    run: Path, scenes: Path, whole: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    out = tmp_path / "out"
    with full_disk_at(".scene.", monkeypatch):
        assert "the disk is full" in refused(said(run, scenes, out, *ALL), 5)
    assert "labels/a/scene.tif" not in results(out)
    monkeypatch.setattr(StripStore, "write", None)
    assert predict(run, scenes, out, *ALL) == 0
    assert results(out) == results(whole)


def test_a_scene_that_fails_in_one_process_is_reported_once(
    run: Path, scenes: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    strips = Predictor.strips

    def failing(self: Predictor, image: object, *given: object, **named: object) -> object:
        if image.shape[0] > 100:
            raise DataError("scene.tif: cut short")
        return strips(self, image, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "strips", failing)
        assert predict(run, scenes, tmp_path / "out", "--shard", "1/2") == 3
    (failed,) = (row for row in table(tmp_path / "out") if row["status"] == "failed")
    assert (failed["id"], failed["error"]) == ("a/scene", "scene.tif: cut short")
    assert predict(run, scenes, tmp_path / "out", "--shard", "2/2") == 0
    assert predict(run, scenes, tmp_path / "out", "--shard", "1/2") == 0
    assert [row["status"] for row in table(tmp_path / "out")] == ["done"] * 3


def test_strips_of_a_scene_that_changed_since_are_not_used(
    run: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, write = draw_scene(tmp_path / "in" / "scene.tif", 0), StripStore.write

    def ended(self: StripStore, index: int, arrays: dict) -> None:
        if index == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, index, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(StripStore, "write", ended)
        assert predict(run, scene, tmp_path / "out", *ALL) == 143
    assert list((tmp_path / "out" / ".strips").rglob("*.npz"))
    draw_scene(scene, 7)
    assert predict(run, scene, tmp_path / "out", *ALL) == 0
    assert predict(run, scene, tmp_path / "fresh", *ALL) == 0
    assert results(tmp_path / "out") == results(tmp_path / "fresh")
    assert not list((tmp_path / "out" / ".strips").iterdir())
