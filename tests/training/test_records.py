from pathlib import Path

from seg_scse.training.records import CsvLog, Records


def rows(path: Path) -> list[int]:
    return [int(row["step"]) for row in CsvLog.rows(path)]


def test_resumed_log_drops_rows_after_the_checkpoint_and_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    log = CsvLog(path, ("step", "loss"), "step", 0)
    for step in range(5):
        log.add({"step": step, "loss": 0.1 * step})
    log.close()
    with path.open("a") as stream:
        stream.write("5,0.")
    assert rows(path) == [0, 1, 2, 3, 4]
    CsvLog(path, ("step", "loss"), "step", 3).close()
    assert rows(path) == [0, 1, 2]


def test_floats_read_back_to_the_same_bits_and_none_is_empty(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "a.csv", ("step", "x", "y"), "step", 0)
    log.add({"step": 0, "x": 0.1 + 0.2, "y": None})
    log.close()
    (row,) = CsvLog.rows(tmp_path / "a.csv")
    assert float(row["x"]) == 0.1 + 0.2
    assert row["y"] == ""


def test_mean_loss_of_an_epoch_resumed_in_the_middle_covers_all_its_steps(tmp_path: Path) -> None:
    first = Records(tmp_path, ("ce",), epoch=0, step=0, tensorboard=False)
    for step, loss in enumerate((1.0, 2.0, 9.0)):
        first.add_step({"step": step, "epoch": 0, "loss": loss})
    first.close()
    second = Records(tmp_path, ("ce",), epoch=0, step=2, tensorboard=False)
    second.add_step({"step": 2, "epoch": 0, "loss": 3.0})
    assert second.add_epoch({"epoch": 0, "step": 3}) == 2.0
    second.add_step({"step": 3, "epoch": 1, "loss": 5.0})
    assert second.add_epoch({"epoch": 1, "step": 4}) == 5.0
    second.close()


def test_tensorboard_events_are_written(tmp_path: Path) -> None:
    records = Records(tmp_path, ("ce",), epoch=0, step=0, tensorboard=True)
    records.add_step({"step": 0, "epoch": 0, "loss": 1.0})
    records.close()
    assert [path.stat().st_size > 0 for path in (tmp_path / "tensorboard").iterdir()] == [True]
