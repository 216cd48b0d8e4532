"""What a cross-validation says beyond its images: the scores of each fold, their mean and their spread."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from seg_scse.report.reading import FOREGROUND, Natural, Part, Value, read_json, visible
from seg_scse.report.wording import score

FOLDS = "folds.json"

_WIDTH = 100

COLUMNS = {
    "dice_per_image": "Dice per image",
    "dice_pooled": "Dice pooled",
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
}
"""Scores of the foreground that are shown for each fold, with their headings."""

Spread = Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None


class Fold(Part):
    """The scores of one fold on its own test images."""

    run: str
    images: Natural
    epoch: Natural
    sha256: str
    scores: dict[str, dict[str, Value]]


class CrossValidation(Part):
    """The content of `folds.json`: every fold, mean and sample standard deviation over the folds."""

    folds: Annotated[tuple[Fold, ...], Field(min_length=2)]
    mean: dict[str, dict[str, Value]]
    sd: dict[str, dict[str, Spread]]


@dataclass(frozen=True)
class FoldTable:
    """Rows of the page's table: name, images, epoch and one cell per column; then means and deviations."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, int, int, tuple[float | None, ...]], ...]
    mean: tuple[float | None, ...]
    sd: tuple[float | None, ...]


def read_folds(evaluation_dir: Path) -> CrossValidation | None:
    """Read `folds.json` of an evaluation; None where it is not that of a cross-validation.

    Raises:
        DataError: the file is malformed.
    """
    path = evaluation_dir / FOLDS
    return read_json(path, TypeAdapter(CrossValidation)) if path.exists() else None


def fold_table(evaluation_dir: Path) -> FoldTable | None:
    """Return the table of the folds; None where the evaluation is not that of a cross-validation.

    Raises:
        DataError: the file is malformed.
    """
    found = read_folds(evaluation_dir)
    if found is None:
        return None
    return FoldTable(
        tuple(COLUMNS.values()),
        tuple((visible(fold.run), fold.images, fold.epoch, _cells(fold.scores)) for fold in found.folds),
        _cells(found.mean),
        _cells(found.sd),
    )


def _cells(scores: dict[str, dict[str, float | None]]) -> tuple[float | None, ...]:
    return tuple(scores.get(key, {}).get(FOREGROUND) for key in COLUMNS)


def folds_line(evaluation_dir: Path) -> str:
    """Say mean and standard deviation over the folds in a few lines for the terminal.

    Raises:
        DataError: the file is missing or malformed.
    """
    found = read_json(evaluation_dir / FOLDS, TypeAdapter(CrossValidation))
    spread = zip(COLUMNS.values(), _cells(found.mean), _cells(found.sd), strict=True)
    values = ", ".join(f"{heading} {score(mean)} ({score(sd)})" for heading, mean, sd in spread)
    text = f"Mean over {len(found.folds)} folds (standard deviation), foreground: {values}."
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)
