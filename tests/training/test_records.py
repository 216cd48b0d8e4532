import errno
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from seg_scse.errors import WriteError
from seg_scse.training.meter import Timing
from seg_scse.training.records import CsvLog, Records

TIMING = Timing(3.5, 2.5, 1.0, 12.25, 1_000_000, 60.0)
LOSSES = (0.1, 0.2, 0.7, 1 / 3, 1e-9)


class Remembering:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object, int | None]] = []

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append(("scalars", dict(values), step))

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.calls.append(("image", name, step))

    def flush(self) -> None:
        self.calls.append(("flush", None, None))

    def close(self) -> None:
        self.calls.append(("close", None, None))


def steps(path: Path) -> list[int]:
    return [int(row["step"]) for row in CsvLog.rows(path)]


def train(folder: Path, first: int, last: int, epoch: int = 0) -> Records:
    records = Records(folder, ("ce",), epoch, first)
    for step in range(first, last):
        records.add_step({"step": step, "epoch": epoch, "lr": 0.1, "loss": LOSSES[step], "loss_ce": LOSSES[step]})
    return records


def test_resumed_log_drops_rows_after_the_checkpoint_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    log = CsvLog(path, ("step", "loss"), "step", 0)
    for step in range(5):
        log.add({"step": step, "loss": 0.1 * step})
    log.close()
    with path.open("a") as stream:
        stream.write("5,0.")
    assert steps(path) == [0, 1, 2, 3, 4]
    CsvLog(path, ("step", "loss"), "step", 3).close()
    assert steps(path) == [0, 1, 2]


def test_floats_read_back_to_the_same_bits_and_none_is_empty(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", ("step", "x", "y"), "step", 0)
    log.add({"step": 0, "x": 0.1 + 0.2, "y": None})
    log.close()
    (row,) = CsvLog.rows(tmp_path / "a.csv")
    assert float(row["x"]) == 0.1 + 0.2
    assert row["y"] == ""


@pytest.mark.parametrize("stopped", [1, 2, 4])
def test_a_run_that_was_killed_and_resumed_leaves_the_bytes_of_one_that_was_not(tmp_path: Path, stopped: int) -> None:
    """The kill comes `stopped` steps into an epoch, before its end, after all five were written."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    once = train(whole, 0, 5)
    first = train(cut, 0, 5)
    first.flush()
    first.add_epoch({"epoch": 0, "step": 5, "lr": 0.1}, TIMING)  # and the checkpoint that would hold it is not saved
    second = train(cut, stopped, 5)
    row = {"epoch": 0, "step": 5, "lr": 0.1, "val_loss": 0.5}
    later = Timing(9.0, 8.0, 1.0, 1.0, None, None)
    assert second.add_epoch(row, later) == once.add_epoch(row, TIMING) == sum(LOSSES) / 5
    for records in (once, first, second):
        records.close()
    for name in ("steps.csv", "epochs.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_mean_loss_of_an_epoch_resumed_in_the_middle_covers_all_its_steps_and_no_others(tmp_path: Path) -> None:
    first = Records(tmp_path, ("ce",), 0, 0)
    for step, loss in enumerate((1.0, 2.0, 9.0)):
        first.add_step({"step": step, "epoch": 0, "loss": loss})
    first.close()
    second = Records(tmp_path, ("ce",), 0, 2)
    second.add_step({"step": 2, "epoch": 0, "loss": 3.0})
    assert second.add_epoch({"epoch": 0, "step": 3}, TIMING) == 2.0
    second.add_step({"step": 3, "epoch": 1, "loss": 5.0})
    second.close()
    third = Records(tmp_path, ("ce",), 1, 4)
    third.add_step({"step": 4, "epoch": 1, "loss": 7.0})
    assert third.add_epoch({"epoch": 1, "step": 5}, TIMING) == 6.0
    third.close()


def test_what_a_clock_says_is_in_timing_csv_alone(tmp_path: Path) -> None:
    records = train(tmp_path, 0, 2)
    records.add_epoch({"epoch": 0, "step": 2, "lr": 0.1}, TIMING)
    records.close()
    columns = {name: (tmp_path / name).read_text().splitlines()[0] for name in ("steps.csv", "epochs.csv")}
    assert columns["steps.csv"] == "step,epoch,lr,loss,loss_ce,grad_norm"
    assert columns["epochs.csv"] == (
        "epoch,step,lr,train_loss,val_loss,dice_per_image,dice_pooled,iou_per_image,iou_pooled"
    )
    assert (tmp_path / "timing.csv").read_text() == (
        "epoch,step,seconds,train_seconds,val_seconds,samples_per_second,peak_memory\n0,2,3.5,2.5,1.0,12.25,1000000\n"
    )


def test_timing_of_an_epoch_that_is_done_again_is_there_once(tmp_path: Path) -> None:
    first = train(tmp_path, 0, 2)
    first.add_epoch({"epoch": 0, "step": 2}, TIMING)
    first.close()
    records = train(tmp_path, 1, 2)
    records.add_epoch({"epoch": 0, "step": 2}, TIMING)
    records.close()
    assert [row["epoch"] for row in CsvLog.rows(tmp_path / "timing.csv")] == ["0"]


def test_a_log_of_an_earlier_version_goes_on_without_its_seconds(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("step,epoch,lr,loss,loss_ce,grad_norm,seconds\n0,0,0.1,0.5,0.5,1.0,7.0\n")
    records = Records(tmp_path, ("ce",), 0, 1)
    records.close()
    (row,) = CsvLog.rows(tmp_path / "steps.csv")
    assert row == {"step": "0", "epoch": "0", "lr": "0.1", "loss": "0.5", "loss_ce": "0.5", "grad_norm": "1.0"}


def test_rows_wait_in_memory_until_they_are_flushed(tmp_path: Path) -> None:
    records = train(tmp_path, 0, 3)
    assert steps(tmp_path / "steps.csv") == []
    records.flush()
    assert steps(tmp_path / "steps.csv") == [0, 1, 2]
    records.close()


def test_rows_that_wait_are_written_when_a_run_ends_by_an_error(tmp_path: Path) -> None:
    train(tmp_path, 0, 3).close()
    assert steps(tmp_path / "steps.csv") == [0, 1, 2]


def test_loggers_get_every_tenth_step_of_an_epoch_before_the_epoch(tmp_path: Path) -> None:
    logger = Remembering()
    records = Records(tmp_path, ("ce",), 0, 0, [logger])
    for step in range(22):
        records.add_step({"step": step, "epoch": 0, "lr": 0.1, "loss": 0.5, "loss_ce": 0.5})
    assert logger.calls == [], "they are handed on together"
    records.add_epoch({"epoch": 0, "step": 22}, TIMING)
    records.close()
    assert [step for name, _, step in logger.calls if name == "scalars"] == [0, 10, 20, 22]
    assert len(CsvLog.rows(tmp_path / "steps.csv")) == 22


def test_a_durable_flush_reaches_the_disk_and_the_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("seg_scse.training.records.os.fsync", synced.append)
    logger = Remembering()
    records = Records(tmp_path, ("ce",), 0, 0, [logger])
    synced.clear()
    records.flush()
    assert (synced, logger.calls) == ([], [])
    records.flush(durable=True)
    assert len(synced) == 3
    assert logger.calls == [("flush", None, None)]
    records.close()


def test_loggers_get_the_values_of_the_files_in_two_groups(tmp_path: Path) -> None:
    logger = Remembering()
    records = Records(tmp_path, ("ce",), 0, 0, [logger])
    records.add_step({"step": 0, "epoch": 0, "lr": 0.1, "loss": 0.5, "loss_ce": 0.5, "grad_norm": None})
    records.add_epoch({"epoch": 0, "step": 1, "lr": 0.1, "dice_pooled": 0.75, "iou_pooled": None}, TIMING)
    records.add_images({"panel": np.zeros((2, 2, 3), np.uint8)}, 1)
    records.close()
    step, epoch, flush, image, close = logger.calls
    assert step == ("scalars", {"step/lr": 0.1, "step/loss": 0.5, "step/loss_ce": 0.5}, 0)
    assert epoch[2] == 1
    assert epoch[1] == {
        **{"epoch/lr": 0.1, "epoch/dice_pooled": 0.75, "epoch/train_loss": 0.5, "epoch/seconds": 3.5},
        **{"epoch/train_seconds": 2.5, "epoch/val_seconds": 1.0, "epoch/samples_per_second": 12.25},
        **{"epoch/peak_memory": 1e6},
    }
    assert (flush[0], image, close[0]) == ("flush", ("image", "panel", 1), "close")


class Full(io.StringIO):
    """A file on a disk that has no room left."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "steps.csv", ("step",), "step", 0)
    log.close()
    log._stream = Full()
    with pytest.raises(WriteError, match=r"steps\.csv: the disk is full \([\d,]+ bytes are free\)\. Free some room"):
        log.flush()


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"steps\.csv: cannot be written"):
        Records(tmp_path / "file", ("ce",), 0, 0)
