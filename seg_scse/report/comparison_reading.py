"""The content of `compare.json`, and of `differences.csv`: what a comparison found."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from seg_scse.report.cases import FileName
from seg_scse.report.reading import (
    FOREGROUND,
    Bootstrap,
    Checkpoint,
    Natural,
    Part,
    Protocol,
    Value,
    damaged,
    read_json,
    read_table,
)

COMPARISON, DIFFERENCES = "compare.json", "differences.csv"

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Run(Part):
    """One of the evaluations compared; the first is the baseline. Scores are by class name and of `foreground`."""

    label: str
    name: str
    folder: str
    checkpoint: Checkpoint | None
    members: Natural
    predictions: str | None
    protocol: Protocol
    per_image: dict[str, Value]
    pooled: dict[str, Value] | None


class Pooled(Part):
    """The difference of the scores from the counts summed over all images, with its interval."""

    a: Value
    b: Value
    difference: Value
    low: Value
    high: Value


class Row(Part):
    """The paired difference b - a of the foreground or of a class, over the images that all runs score.

    `wins` are images where b is better, whichever way better is; `effect` in [-1, 1] is the rank-biserial correlation,
    above 0 where b is better. `p` and `p_holm` are None without a test, for the `reason` given. `detectable` is the
    difference that such data would show in 4 of 5 cases. `left_out` images are scored by some of the runs, not by all.
    """

    name: str
    images: Natural
    units: Natural
    a: Value
    b: Value
    difference: Value
    low: Value
    high: Value
    p: Share | None
    p_holm: Share | None
    reason: str
    effect: Annotated[float, Field(ge=-1.0, le=1.0)] | None
    cohen_dz: Value
    wins: Natural
    ties: Natural
    losses: Natural
    left_out: Natural
    detectable: Value
    pooled: Pooled | None


class ChangedCase(Part):
    """An image whose foreground score changed much: `difference` is b - a; `scale` = drawn size / original size.

    `remade` tells whether the predictions, made again for the pictures, have the counts that were scored.
    """

    id: str
    kind: Literal["better", "worse"]
    a: Value
    b: Value
    difference: float
    image: FileName | None
    truth: FileName
    prediction_a: FileName
    prediction_b: FileName
    scale: Annotated[float, Field(gt=0.0)]
    remade: bool


class Pair(Part):
    """A run against the baseline: positions in `runs`, one row for the foreground and each class, and cases."""

    a: Natural
    b: Natural
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    cases: tuple[ChangedCase, ...]
    no_cases: str


class Setting(Part):
    """A key of the configuration that differs between the runs, with its value in each."""

    name: str
    values: tuple[str, ...]


class Comparison(Part):
    """The content of `compare.json`, format 1."""

    format: Literal[1]
    created: str
    split: str
    metric: str
    better: Literal["higher", "lower"]
    unit: str | None
    images: Natural
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    task: Literal["multiclass", "multilabel"]
    bootstrap: Bootstrap
    comparisons: Natural
    runs: Annotated[tuple[Run, ...], Field(min_length=2)]
    remarks: tuple[str, ...]
    settings: tuple[Setting, ...]
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    versions: dict[str, str]

    @property
    def per_image(self) -> str:
        """Name of the score that is compared image by image."""
        return f"{self.metric}_per_image"

    @property
    def alpha(self) -> float:
        """Largest probability of a false alarm over all tests together."""
        return 1 - self.bootstrap.level


class Difference(Part):
    """A row of `differences.csv`: the scores of one image and class, or of its foreground, in each run."""

    id: str
    group: str
    name: str
    scores: tuple[float | None, ...]


def check_comparison(content: dict[str, Any]) -> Comparison:
    """Check the content of `compare.json` as it was made.

    Raises:
        pydantic.ValidationError: it is not what a comparison writes.
    """
    return Comparison.model_validate(content)


def read_comparison(folder: Path) -> Comparison:
    """Read `compare.json`.

    Raises:
        DataError: it is absent or not what a comparison writes.
    """
    return read_json(folder / COMPARISON, TypeAdapter(Comparison))


def read_differences(folder: Path, runs: int) -> dict[str, list[Difference]]:
    """Read `differences.csv`: the scores of all images by class name, and of `foreground`.

    Args:
        folder: of the comparison.
        runs: number of runs compared.

    Raises:
        DataError: the file is absent or not what a comparison writes.
    """
    path = folder / DIFFERENCES
    columns = [f"score_{number}" for number in range(runs)]
    found: dict[str, list[Difference]] = {FOREGROUND: []}
    try:
        for row in read_table(path, {"id", "group", "class", *columns}):
            scores = tuple(float(row[name]) if row[name] else None for name in columns)
            found.setdefault(row["class"], []).append(
                Difference(id=row["id"], group=row["group"], name=row["class"], scores=scores)
            )
    except ValueError as error:
        raise damaged(path, f"{error}.") from error
    return found
