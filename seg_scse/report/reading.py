"""Read the result files of one evaluation and refuse what is missing, damaged or inconsistent."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from seg_scse.errors import DataError, numbered

FOREGROUND = "foreground"
"""Key of the mean over the foreground classes, beside the class names."""

METRICS = ("dice", "iou", "precision", "recall")
AVERAGES = ("per_image", "pooled")

T = TypeVar("T")
Natural = Annotated[int, Field(ge=0)]
Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None
Value = Annotated[float, Field(allow_inf_nan=False)] | None
Interval = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]]


class Part(BaseModel):
    """Base of what result files hold: frozen; keys that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True)


class Checkpoint(Part):
    """The weights that were scored."""

    file: str
    epoch: Natural
    step: Natural
    sha256: str


class Member(Checkpoint):
    """One network of an ensemble or of a cross-validation; `run` is the name of its run folder."""

    run: str


class Surface(Part):
    """How boundaries were scored: `tolerance` of nsd in `unit`; `spacing`: height and width of a pixel, or whence."""

    tolerance: float
    unit: str
    spacing: tuple[float, float] | str | None = None


class Protocol(Part):
    """How predictions were made and scored; None: unknown, or not the same for all networks."""

    resolution: str
    empty: Literal["exclude", "one", "zero"]
    threshold: float | None
    threshold_from: str | None = "configuration"
    tta: Literal["none", "flips", "d4"] | None = "none"
    scales: tuple[float, ...] | None = (1.0,)
    tile: Natural | None = None
    overlap: float | None = None
    blend: Literal["linear", "gaussian"] | None = None
    tile_margin: Natural | None = None
    ignore_index: Natural
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    gates: Literal["own", "mean"] = "own"
    surface: Surface | None = None
    objects: bool = False
    centerline: bool = False


class Cases(Part):
    """Numbers of images: a class in truth or prediction (scored), in neither (empty), in one alone (missed, false)."""

    scored: Natural
    empty: Natural
    missed: Natural = 0
    false: Natural = 0


class Bootstrap(Part):
    """How intervals were computed: `n` independent units, each an image or a group of images."""

    method: Literal["bca", "percentile"]
    level: Annotated[float, Field(gt=0.0, lt=1.0)]
    resamples: Natural
    seed: int
    unit: Literal["image", "group"]
    n: Natural
    groups: bool = False


class Cost(Part):
    """What the network costs: FLOPs of one tile (a multiply-add is two), memory in bytes, time in seconds."""

    parameters: Natural | None = None
    flops_per_tile: float | None = None
    tile: Natural | None = None
    peak_memory_bytes: Natural | None = None
    peak_memory_of: str | None = None
    megapixels_per_second: float | None = None
    images_per_second: float | None = None
    seconds: float | None = None


class Data(Part):
    """The data set: digest of its files, whether the network was trained with them, and samples per split."""

    digest: str | None = None
    same_as_training: bool | None = None
    samples: dict[str, Natural] = {}
    name: str | None = None


class Results(Part):
    """The content of `results.json`, format 2.

    Keys of `scores`, `averages` and `intervals` carry the averaging: `dice_per_image`, `hd95_per_image`, `pq_pooled`.
    Scores of classes and of `foreground`; None = not available.
    """

    format: Literal[2]
    name: str
    split: str
    created: str
    images: Natural
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    task: Literal["multiclass", "multilabel"] = "multiclass"
    checkpoint: Checkpoint | None = None
    members: tuple[Member, ...] = ()
    predictions: str | None = None
    protocol: Protocol
    scores: dict[str, dict[str, Value]]
    averages: dict[str, dict[str, Value]] = {}
    bootstrap: Bootstrap | None = None
    intervals: dict[str, dict[str, Interval | None]] = {}
    cases: dict[str, Cases]
    confusion: tuple[tuple[Natural, ...], ...] | None = None
    cost: Cost | None = None
    data: Data
    config: dict[str, Any] = {}
    versions: dict[str, str]
    device: str
    folds: Annotated[int, Field(ge=2)] | None = None  # a cross-validation: every image by the fold that tests it

    @model_validator(mode="after")
    def _covers_every_class(self) -> Self:
        for key in {*self.scores, *(f"{metric}_{average}" for metric in METRICS for average in AVERAGES)}:
            values = self.scores.get(key, {})
            if absent := {*self.classes, FOREGROUND} - set(values):
                raise ValueError(f"scores.{key} lacks {sorted(absent)}")
            if key.startswith(METRICS) and not all(value is None or 0 <= value <= 1 for value in values.values()):
                raise ValueError(f"scores.{key} holds a value that is not in [0, 1]")
        if absent := set(self.classes) - set(self.cases):
            raise ValueError(f"cases lacks {sorted(absent)}")
        if self.confusion is not None and {len(self.confusion), *map(len, self.confusion)} != {len(self.classes)}:
            raise ValueError(f"confusion must be {len(self.classes)} x {len(self.classes)}, one row per class")
        return self

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of all classes but the background."""
        return self.classes[1:]

    @property
    def units(self) -> int:
        """Number of independent units: images, or groups of them where the data set names groups."""
        return self.images if self.bootstrap is None else self.bootstrap.n

    @property
    def has_intervals(self) -> bool:
        """Whether any score has an interval; a single image gives none."""
        return any(ends is not None for row in self.intervals.values() for ends in row.values())

    def score(self, key: str, name: str = FOREGROUND) -> float | None:
        """Return a score, `<metric>_<averaging>`, of a class; None where it is not available or was not measured."""
        return self.scores.get(key, {}).get(name)

    def interval(self, key: str, name: str = FOREGROUND) -> Interval | None:
        """Return the interval of a score; None where there is none."""
        return self.intervals.get(key, {}).get(name)


EPOCHS = "epochs.csv"
EXPLANATION = "explain.json"
STUDY = "interventions.json"
STUDY_GATES = "gates"
"""Folder of a study with the pictures of its gates."""

_TRAIN = "`python train.py` writes this file: restore it."
_COMPARE_AGAIN = "`seg-scse compare` writes this file: run it again."
_STUDY_AGAIN = "`seg-scse ablate` writes this file: run it again on the study."
_DRAW_AGAIN = "`seg-scse ablate` draws what is in this folder: remove the folder, and run it again on the study."
_CURES = {
    EPOCHS: "`python train.py` writes this file: restore it, or move it away to go without learning curves.",
    **dict.fromkeys(("run.json", "steps.csv", "timing.csv"), _TRAIN),
    EXPLANATION: "`seg-scse explain RUN` writes this file: run it again, or move it away to go without this section.",
    STUDY: "`seg-scse explain RUN --intervene` writes this file: run it again.",
    "compare.json": _COMPARE_AGAIN,
    "differences.csv": _COMPARE_AGAIN,
    **dict.fromkeys(("study.json", "curves.csv", "curves.png"), _STUDY_AGAIN),
    ".npz": "`seg-scse explain RUN` writes this file: run it again.",
}


def damaged(path: Path, problem: str) -> DataError:
    """Return the error of an unusable result file, with the command that writes it."""
    cure = _CURES.get(path.name) or _CURES.get(path.suffix, "`python evaluate.py RUN` writes this file: run it again.")
    if path.parent.name == STUDY_GATES:  # its index has the name of that of drawn cases
        cure = _DRAW_AGAIN
    return DataError(f"{path}: {problem}\n{cure}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise damaged(path, "file not found.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, f"cannot be read ({error}).") from error


def read_json(path: Path, adapter: TypeAdapter[T]) -> T:
    """Read and check a JSON file.

    Raises:
        DataError: the file is absent or not what it should be; one message names it and every problem.
    """
    try:
        return adapter.validate_python(json.loads(_read_text(path)))
    except json.JSONDecodeError as error:
        raise damaged(path, f"is not JSON ({error}).") from error
    except ValidationError as error:
        raise damaged(path, f"does not hold what it should:\n{_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    return numbered([f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()])


def read_results(path: Path) -> Results:
    """Read `results.json`.

    Raises:
        DataError: the file is absent, is not JSON, of an earlier format, or a field is missing, out of range or
            inconsistent.
    """
    found = read_json(path, TypeAdapter(dict[str, Any]))
    if found.get("format") == 1:
        raise damaged(path, "is of format 1, which has no intervals; this version reads format 2: evaluate again.")
    return read_json(path, TypeAdapter(Results))


def read_table(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """Read a CSV file whose header has at least `columns`; cells stay text.

    Raises:
        DataError: the file is absent, is no CSV, lacks a column or has a row of another length.
    """
    try:
        header, *rows = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise damaged(path, f"is not a CSV file with a header ({error}).") from error
    if absent := sorted(columns - set(header)):
        raise damaged(path, f"lacks the columns {absent}.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise damaged(path, f"row {number} has {len(row)} cells, the header has {len(header)}.")
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, list[float | None]]:
    """Read columns of numbers from a CSV file; None where a cell is empty.

    Raises:
        DataError: the file is no such table, or a cell is no number.
    """
    rows = read_table(path, set(names))
    try:
        return {name: [float(row[name]) if row[name] else None for row in rows] for name in names}
    except ValueError as error:
        raise damaged(path, f"{error}.") from error


def visible(text: str) -> str:
    """Show control, direction and undecodable characters as escapes, so that a name cannot disturb page or terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )
