"""The control that is not trained: the treatment's networks with each gate replaced by its mean."""

from seg_scse.evaluation.gate_means import FROZEN
from seg_scse.study.cells import Cell
from seg_scse.study.declaration import Declaration


def frozen_part(split: str) -> str:
    """Return the name of the evaluation of networks with frozen gates."""
    return split + FROZEN


def frozen_commands(declaration: Declaration, cell: Cell, trained: bool = False) -> list[list[str]]:
    """Return the command that scores a run with its gates frozen, where the study wants that and it is not done.

    Args:
        declaration: of the study.
        cell: the run.
        trained: whether it is being trained now, so that scores that are there are of other weights.
    """
    wanted = any(not one.trained and one.of == cell.variant for one in declaration.variants)
    is_there = (cell.evaluation(frozen_part(declaration.split)) / "results.json").exists()
    if not wanted or (is_there and not trained):
        return []
    return [["evaluate", str(cell.folder), "--split", declaration.split, "--frozen-gates"]]


def is_finished(declaration: Declaration, cell: Cell) -> bool:
    """Tell whether a run is done, and what is made of it afterwards too."""
    return cell.state()["status"] == "done" and not frozen_commands(declaration, cell)
