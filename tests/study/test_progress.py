"""Where a run is that goes on now: the words come from the files that it writes itself."""

from pathlib import Path

import pytest

from seg_scse.study.cells import Cell
from seg_scse.study.progress import Step, at_step


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return Cell("cse", 1, None, tmp_path)


def write(cell: Cell, last: int) -> None:
    (cell.folder / "run.json").write_text('{"steps": 40}')
    rows = [f"{step},0,0.5{step % 10}\n" for step in range(last + 1)]
    (cell.folder / "steps.csv").write_text("step,epoch,loss\n" + "".join(rows) + "3,0")


def test_a_run_that_trains_is_at_the_last_whole_row_of_its_log(cell: Cell) -> None:
    write(cell, 9)
    assert at_step(cell) == Step("cse seed 1 at step 10 of 40, loss 0.590", 0.25)


def test_a_run_that_has_trained_is_being_scored(cell: Cell) -> None:
    write(cell, 39)
    assert at_step(cell) == Step("cse seed 1 is being scored", 1.0)


@pytest.mark.parametrize("text", ["", "step,epoch,loss\n", "step,epoch,loss\n3,0", "damaged\n\n"])
def test_a_run_that_has_written_nothing_yet_is_made_ready(cell: Cell, text: str) -> None:
    assert at_step(cell).text == "cse seed 1 is made ready"
    (cell.folder / "run.json").write_text('{"steps": 40}')
    (cell.folder / "steps.csv").write_text(text)
    assert at_step(cell) == Step("cse seed 1 is made ready", 0.0)
