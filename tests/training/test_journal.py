import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_scse import checkpoint
from seg_scse.config import load_config
from seg_scse.errors import DivergedError
from seg_scse.training.journal import SYNC_EVERY, Journal, StepResult
from seg_scse.training.meter import Timing
from seg_scse.training.records import CsvLog, Records

TIMING = Timing(41.0, 30.0, 11.0, 12.34, 1_240_000_000, 1920.0)
SCORES = {"dice_per_image": 0.8712, "dice_pooled": 0.9, "iou_per_image": 0.8, "iou_pooled": None}


Make = Callable[..., Journal]


class OnGpu:
    """Values that are not read until they are copied: they count how often that is."""

    is_cuda = True

    def __init__(self, values: Tensor) -> None:
        self.values = values


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Make]:
    """Opens journals of four steps an epoch, in one folder, and closes them."""
    opened: list[Records] = []

    def open_one(*overrides: str, precision: str = "fp32", write: bool = True) -> Journal:
        config = load_config(None, ["loss.terms={ce: 1.0, dice: 1.0}", "trainer.max_epochs=50", *overrides])
        opened.extend([Records(tmp_path, tuple(config.loss.terms), 0, 0)] if write else [])
        return Journal(tmp_path, config, 4, precision, "image {}".format, opened[-1] if write else None)

    yield open_one
    for records in opened:
        records.close()


def result(step: int, norm: float = 1.0, total: float = 0.5, epoch: int = 0) -> StepResult:
    return StepResult(step, epoch, 1e-3, [3, 7], torch.tensor([norm, total, 0.2, 0.3]))


def rows(folder: Path) -> list[dict[str, str]]:
    return CsvLog.rows(folder / "steps.csv")


def test_a_step_becomes_a_row_with_every_part_of_the_loss(tmp_path: Path, journal: Make) -> None:
    one = journal()
    one.step(result(6, norm=2.0, epoch=1))
    one.flush()
    (row,) = rows(tmp_path)
    assert (row["step"], row["epoch"], row["lr"]) == ("6", "1", "0.001")
    found = [float(row[name]) for name in ("loss", "loss_ce", "loss_dice", "grad_norm")]
    assert found == pytest.approx([0.5, 0.2, 0.3, 2.0])
    assert one.last_loss == 0.5


def test_rows_reach_the_file_every_twenty_steps_and_before_a_checkpoint(tmp_path: Path, journal: Make) -> None:
    one = journal()
    seen = []
    for step in range(SYNC_EVERY + 3):
        one.step(result(step))
        seen.append(len(rows(tmp_path)))
    assert seen == [0] * (SYNC_EVERY - 1) + [SYNC_EVERY] * 4
    one.flush()
    assert len(rows(tmp_path)) == SYNC_EVERY + 3


def test_a_gpu_is_read_every_twenty_steps_in_one_copy(
    tmp_path: Path, journal: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []

    def stack(values: list[OnGpu]) -> Tensor:
        copies.append(len(values))
        return torch.tensor([value.values.tolist() for value in values])

    monkeypatch.setattr("seg_scse.training.journal.torch.stack", stack)
    one = journal()
    for step in range(SYNC_EVERY + 5):
        plain = result(step, total=float(step))
        one.step(StepResult(step, 0, plain.lr, plain.indices, OnGpu(plain.values)))
        assert one.last_loss == SYNC_EVERY - 1 if step >= SYNC_EVERY - 1 else math.isnan(one.last_loss)
    one.flush()
    assert copies == [SYNC_EVERY, 5]
    assert [float(row["loss"]) for row in rows(tmp_path)] == list(range(SYNC_EVERY + 5))


@pytest.mark.parametrize(("norm", "total"), [(math.nan, 0.5), (1.0, math.inf)], ids=["gradient", "loss"])
def test_a_value_that_is_not_finite_ends_the_run_with_step_files_and_parts(
    tmp_path: Path, journal: Make, norm: float, total: float
) -> None:
    one = journal()
    one.step(result(8))
    with pytest.raises(DivergedError) as caught:
        one.step(result(9, norm, total))
    message = str(caught.value)
    assert message.startswith(f"step 9: the loss or its gradient is not finite (loss {total:g}: ce 0.2, dice 0.3; ")
    assert f"gradient norm {norm:g}; lr 0.001, fp32) on samples image 3, image 7." in message
    assert message.endswith("or use trainer.precision=fp32. No checkpoint was written yet.")
    one.flush()
    assert [row["step"] for row in rows(tmp_path)] == ["8"]  # what was finite before is kept


def test_the_checkpoint_that_is_kept_is_named(tmp_path: Path, journal: Make) -> None:
    (tmp_path / checkpoint.LAST).parent.mkdir()
    (tmp_path / checkpoint.LAST).touch()
    with pytest.raises(DivergedError, match=r"Kept: .*last\.ckpt\.$"):
        journal().step(result(0, total=math.nan))


def test_an_infinite_gradient_is_normal_in_fp16_but_no_infinite_loss(tmp_path: Path, journal: Make) -> None:
    one = journal(precision="fp16")
    one.step(result(0, norm=math.inf))
    with pytest.raises(DivergedError):
        one.step(result(1, norm=math.inf, total=math.nan))


def test_the_line_of_an_epoch_says_scores_speed_memory_and_time_left(
    tmp_path: Path, journal: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    one = journal()
    one.step(result(1199))
    one.epoch({"epoch": 2, "step": 1200, "lr": 1e-3, "val_loss": 0.25, **SCORES}, True, TIMING)
    one.step(result(1599))
    one.epoch({"epoch": 3, "step": 1600, "lr": 1e-3, "val_loss": 0.25, **SCORES}, False, TIMING)
    one.step(result(1999))
    one.epoch({"epoch": 4, "step": 2000, "lr": 1e-3}, None, TIMING)
    assert capsys.readouterr().out.splitlines() == [
        "epoch  3/50  step   1200  train_loss 0.5000  val_loss 0.2500  dice_per_image 0.8712  (best)  "
        "41 s, 12.3 img/s, 1.2 GB, 32 min left",
        "epoch  4/50  step   1600  train_loss 0.5000  val_loss 0.2500  dice_per_image 0.8712          "
        "41 s, 12.3 img/s, 1.2 GB, 32 min left",
        "epoch  5/50  step   2000  train_loss 0.5000  41 s, 12.3 img/s, 1.2 GB, 32 min left",
    ]


def test_a_run_that_ends_by_its_steps_counts_the_epochs_they_make(
    tmp_path: Path, journal: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    one = journal("trainer.max_steps=9", "trainer.monitor=iou_pooled")
    one.step(result(3))
    one.epoch({"epoch": 0, "step": 4, "lr": 1e-3, "val_loss": 0.25, **SCORES}, True, TIMING)
    line = capsys.readouterr().out
    assert line.startswith("epoch 1/3  step      4  ")
    assert "iou_pooled n/a  (best)" in line


def test_a_process_that_does_not_write_says_nothing_but_finds_what_is_not_finite(
    tmp_path: Path, journal: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    one = journal(write=False)
    one.step(result(0))
    one.epoch({"epoch": 0, "step": 1, "lr": 1e-3}, None, TIMING)
    one.images({"panel": np.zeros((1, 1, 3), np.uint8)}, 1)
    with pytest.raises(DivergedError):
        one.step(result(1, total=math.nan))
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
