"""Where a run is that goes on now, by the logs that it writes."""

import json
from dataclasses import dataclass

from seg_scse.study.cells import Cell
from seg_scse.training.folder import FACTS
from seg_scse.training.records import STEPS, CsvLog

MINUTE = 60.0
"""Seconds between two lines on the runs that go on."""


@dataclass(frozen=True)
class Step:
    """Where a run is.

    Attributes:
        text: in words.
        share: of its training steps that are done, 0 to 1.
    """

    text: str
    share: float


def at_step(cell: Cell) -> Step:
    """Return where a run is; its log lags a few steps behind.

    Args:
        cell: a run that goes on.
    """
    try:
        total = int(json.loads((cell.folder / FACTS).read_text(encoding="utf-8"))["steps"])
        last = CsvLog.rows(cell.folder / STEPS)[-1]
        done, loss = int(last["step"]) + 1, float(last["loss"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # nothing written yet
        return Step(f"{cell.label} is made ready", 0.0)
    if done >= total:
        return Step(f"{cell.label} is being scored", 1.0)
    return Step(f"{cell.label} at step {done} of {total}, loss {loss:.3f}", done / total)
