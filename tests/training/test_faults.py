"""A run whose machine fails it: full disks, folders that cannot be written, poisoned checkpoints, killed processes."""

import csv
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seg_scse import checkpoint
from seg_scse.cli import main
from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.data import dataset
from seg_scse.errors import Stopped
from seg_scse.training import building, loop, run
from seg_scse.training.loop import Trainer
from seg_scse.training.panel import EpochEnd

Refused = Callable[[list[str], int], str]
ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="mounts and /proc")


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@pytest.fixture(scope="module")
def config(small: list[str]) -> Config:
    return load_config(None, small)


def nothing(_: EpochEnd) -> Mapping[str, Any]:
    return {}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open() as stream:
        return list(csv.DictReader(stream))


def model(folder: Path) -> dict[str, bytes]:
    state, _ = checkpoint.load(folder / checkpoint.LAST)
    return {key: value.numpy().tobytes() for key, value in state["model"].items()}


# --- full and unwritable disks ---------------------------------------------------------------------------------------

_FULL = """
mount -t tmpfs -o size=24m none "$1" && cd "$1" || exit 99
shift
"$@" --out run &
train=$!
while kill -0 $train 2>/dev/null && [ ! -e run/checkpoints/last.ckpt ]; do sleep 0.05; done
dd if=/dev/zero of=ballast bs=4k 2>/dev/null
truncate -s -20k ballast
wait $train
echo "exit $?"
rm ballast
cp -r run "$KEPT"
"""


@LINUX
def test_a_disk_that_fills_in_a_run_ends_it_with_5_and_keeps_the_previous_checkpoint(
    small: list[str], file: Path, tmp_path: Path, cache: Path
) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted")
    disk = tmp_path / "disk"
    disk.mkdir()
    paths = {"KEPT": str(tmp_path / "kept"), "SEG_SCSE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    train = [sys.executable, str(ROOT / "train.py"), "--config", str(file), *small, "trainer.max_epochs=200"]
    command = [unshare, "-m", "sh", "-c", _FULL, "sh", str(disk), *train, "trainer.save_every_steps=1"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | paths, timeout=100, check=False)
    assert "exit 5\n" in result.stdout, result.stderr
    error = result.stderr[result.stderr.index("error: ") :]
    # Which file is the first to find no room is a matter of bytes; of all but the growing tables the size is said.
    assert re.search(r"run/\S+: the disk is full \(([\d,]+ bytes are needed, )?[\d,]+ bytes are free\)", error)
    assert re.search(r"Kept: \S+/last\.ckpt\. Make that possible, then: python train\.py --resume ", error)
    assert "Traceback" not in error
    state, _ = checkpoint.load(tmp_path / "kept" / checkpoint.LAST)
    assert state["progress"]["step"] > 0
    assert not list((tmp_path / "kept").rglob(".*.partial"))


@pytest.mark.parametrize("place", ["a file", "/proc/run", "/sys/run"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(
    small_run: Path,
    small: list[str],
    file: Path,
    tmp_path: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run" if place == "a file" else Path(place)
    monkeypatch.setattr(run, "prepare_data", None)  # it is not even looked at the data
    started = time.process_time()
    message = refused(["train", "--config", str(file), "--out", str(folder), *small], 5)
    assert time.process_time() - started < 1  # s of this process, once everything is imported
    assert "cannot be written" in message
    assert str(folder) in message


# --- going on --------------------------------------------------------------------------------------------------------


def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each validation score lower than the one before."""
    scores = iter([score / 100 for score in range(90, 0, -1) for _ in range(4)])
    monkeypatch.setattr(loop, "foreground_score", lambda *_: next(scores))


def test_a_run_killed_in_epoch_5_goes_on_from_epoch_4_though_the_first_was_the_best(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    falling(monkeypatch)
    step = Trainer._step

    def killed(self: Trainer, *arguments: Any) -> Any:
        if self.progress.step == 4 * self.steps_per_epoch + 1:
            raise Killed
        return step(self, *arguments)

    longer = override(config, ["trainer.max_epochs=6", "trainer.save_every_minutes=null"])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        with pytest.raises(Killed):
            run.start(longer, tmp_path / "a", nothing)
    best, last = (checkpoint.load(tmp_path / "a" / name)[0]["progress"] for name in (checkpoint.BEST, checkpoint.LAST))
    assert (best["epoch"], last["epoch"], last["best_epoch"]) == (1, 4, 1)
    capsys.readouterr()
    outcome = run.resume(tmp_path / "a", nothing)
    assert f"at step {last['step']}" in capsys.readouterr().out
    assert outcome.progress.epoch == 6
    assert checkpoint.load(tmp_path / "a" / checkpoint.BEST)[0]["progress"]["epoch"] == 1


def signal_in(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, calls: int) -> None:
    """Send SIGTERM before the given call of a function."""
    function, left = getattr(target, name), [calls]

    def signalled(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments, **options)

    monkeypatch.setattr(target, name, signalled)


@pytest.mark.parametrize("moment", ["training", "validation", "saving"])
def test_sigterm_at_any_moment_saves_and_exits_with_143_and_the_resumed_run_ends_the_same(
    small_run: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    targets = {
        "training": (Trainer, "_step", 2),
        "validation": (building, "count_split", 1),
        "saving": (checkpoint, "save", 2),
    }
    with monkeypatch.context() as patch:
        signal_in(patch, *targets[moment])
        with pytest.raises(Stopped, match="resumable") as stopped:
            run.start(config, tmp_path / "a", nothing)
    assert stopped.value.exit_code == 143
    run.resume(tmp_path / "a", nothing)
    assert model(tmp_path / "a") == model(small_run)
    for name in ("epochs.csv", "steps.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (small_run / name).read_bytes()


def test_sigterm_before_the_first_step_leaves_nothing_behind(
    small: list[str], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal_in(monkeypatch, run, "prepare_data", 1)
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", str(file), "--out", str(tmp_path / "a"), *small])
    assert end.value.code == 143
    assert capsys.readouterr().err == "terminated\n"
    assert not (tmp_path / "a").exists()


def test_a_fine_tuned_run_goes_on_without_its_source(
    small_run: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(small_run, tmp_path / "source")
    tuned = override(config, [f"finetune.source={source}", "finetune.statistics=source"])
    run.start(tuned, tmp_path / "whole", nothing)
    with monkeypatch.context() as patch:
        signal_in(patch, Trainer, "_step", 3)
        with pytest.raises(Stopped):
            run.start(tuned, tmp_path / "stopped", nothing)
    shutil.rmtree(source)
    run.resume(tmp_path / "stopped", nothing)
    assert model(tmp_path / "stopped") == model(tmp_path / "whole") != model(small_run)
    for name in ("epochs.csv", "steps.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("schedule", ["onecycle", "plateau"])  # cosine: in the runs above
def test_the_rates_of_a_stopped_and_resumed_run_are_those_of_the_whole_one(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    falling(monkeypatch)
    chosen = override(config, [f"optimizer.schedule={schedule}", "optimizer.patience=0", "trainer.max_epochs=4"])
    run.start(chosen, tmp_path / "whole", nothing)
    falling(monkeypatch)
    with monkeypatch.context() as patch:
        signal_in(patch, Trainer, "_step", 5)
        with pytest.raises(Stopped):
            run.start(chosen, tmp_path / "stopped", nothing)
    run.resume(tmp_path / "stopped", nothing)
    rates = [[row["lr"] for row in rows(tmp_path / name, "steps.csv")] for name in ("stopped", "whole")]
    assert rates[0] == rates[1]
    assert len(set(rates[1])) > 2


# --- processes, files and memory -------------------------------------------------------------------------------------


def test_a_killed_loader_process_ends_the_run_with_1_and_its_cause(
    small: list[str], file: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer._step

    def kill(self: Trainer, *arguments: Any) -> Any:
        if self.progress.step == 4:
            for process in multiprocessing.active_children():
                process.kill()
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", kill)
    monkeypatch.setattr(dataset, "_LOOK_SECONDS", 0.5)
    arguments = ["train", "--config", str(file), "--out", str(tmp_path / "a"), *small, "trainer.workers=1"]
    message = refused([*arguments, "trainer.repeats=4"], 1)
    assert "was killed (SIGKILL)" in message
    assert "trainer.workers=0" in message
    assert "defect" not in message


@LINUX
def test_open_files_and_memory_are_the_same_after_each_epoch(config: Config, tmp_path: Path) -> None:
    opened, memory = [], []

    def measure(_: EpochEnd) -> Mapping[str, Any]:
        opened.append(len(list(Path("/proc/self/fd").iterdir())))
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]))
        return {}

    longer = override(config, ["trainer.max_epochs=4", "trainer.repeats=2", "trainer.save_every_steps=2"])
    run.start(longer, tmp_path / "a", measure)
    assert len(set(opened)) == 1
    assert memory[-1] < 1.05 * memory[0]


def test_the_command_line_tells_where_a_stopped_run_goes_on(
    small: list[str], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal_in(monkeypatch, Trainer, "_step", 2)
    assert main(["train", "--config", str(file), "--out", str(tmp_path / "a"), *small]) == 143
    assert f"resumable: python train.py --resume {tmp_path / 'a'}" in capsys.readouterr().err
