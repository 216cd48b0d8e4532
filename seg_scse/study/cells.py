"""The runs of a study: one for each trained variant, seed and fold, each a normal run folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import checkpoint
from seg_scse.files import write_text
from seg_scse.study.declaration import Declaration

RUNS = "runs"


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        variant: name of the trained variant.
        seed: of the run.
        fold: of a cross-validation, from 0; None without.
        folder: the run folder.
    """

    variant: str
    seed: int
    fold: int | None
    folder: Path

    @property
    def label(self) -> str:
        """Name in messages, such as `scse-add seed 1` or `none seed 0 fold 2`."""
        return f"{self.variant} seed {self.seed}" + ("" if self.fold is None else f" fold {self.fold}")

    def beside(self, suffix: str) -> Path:
        """Return a file of the study about this run: its configuration (.yaml), log, state (.json) or lock."""
        return self.folder.with_name(f"{self.folder.name}{suffix}")

    def evaluation(self, split: str) -> Path:
        """Return the folder of its scores."""
        return self.folder / "evaluation" / split

    def state(self) -> dict[str, Any]:
        """Return `status` (done, failed, stopped or missing), `error`, `exit_code` and `seconds` of the run.

        The state is what the process that made the run wrote last. A run that is being made now is missing. A run that
        is done and has an error has its scores: what failed is what was to be made of it afterwards.
        """
        try:
            values = json.loads(self.beside(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            values = {}
        if values.get("status") == "done" and not (self.folder / checkpoint.BEST).exists():
            values = {}  # somebody removed the run
        return {"status": "missing", "error": "", "exit_code": None, "seconds": 0.0, **values}

    def note(self, **values: object) -> None:
        """Write the state.

        Raises:
            WriteError: it cannot be written.
        """
        write_text(self.beside(".json"), json.dumps(values, indent=2) + "\n")


def cells(folder: Path, declaration: Declaration) -> list[Cell]:
    """List the runs of a study, seed by seed, so that an unfinished study has its seeds in pairs.

    Args:
        folder: of the study.
        declaration: of the study.
    """
    folds: list[int | None] = [None] if declaration.folds is None else list(range(declaration.folds))
    trained = [variant.name for variant in declaration.variants if variant.trained]
    return [
        Cell(name, seed, fold, _place(folder / RUNS / name, seed, fold))
        for seed in declaration.seeds
        for fold in folds
        for name in trained
    ]


def _place(parent: Path, seed: int, fold: int | None) -> Path:
    return parent / (f"seed{seed}" if fold is None else f"seed{seed}-fold{fold}")
