"""Read the result files of one evaluation and refuse what is missing, damaged or inconsistent."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.errors import DataError, numbered

FOREGROUND = "foreground"
"""Key of the mean over the foreground classes, beside the class names."""

METRICS = ("dice", "iou", "precision", "recall")
AVERAGES = ("per_image", "pooled")

T = TypeVar("T")
Labels = NDArray[np.uint8]
Natural = Annotated[int, Field(ge=0)]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]  # inside the folder: the page embeds no other file
Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None


class Part(BaseModel):
    """Base of what result files hold: frozen; keys that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True)


class Checkpoint(Part):
    """The weights that were scored."""

    file: str
    epoch: Natural
    step: Natural
    sha256: str


class Protocol(Part):
    """How predictions were made and scored."""

    resolution: str
    empty: Literal["exclude", "one", "zero"]
    threshold: float | None
    tile: Natural
    overlap: float
    ignore_index: Natural
    precision: Literal["fp32", "bf16", "fp16"]


class Cases(Part):
    """Number of images where a class is in truth or prediction (scored) and in neither (empty)."""

    scored: Natural
    empty: Natural


class Data(Part):
    """The data set: digest of its files, whether the network was trained with them, and samples per split."""

    digest: str
    same_as_training: bool
    samples: dict[str, Natural]


class Results(Part):
    """The content of `results.json`, format 1. Scores are shares in [0, 1]; None = not available."""

    format: Literal[1]
    name: str
    split: str
    created: str
    images: Natural
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    checkpoint: Checkpoint
    protocol: Protocol
    scores: dict[str, dict[str, Score]]
    cases: dict[str, Cases]
    confusion: tuple[tuple[Natural, ...], ...]
    data: Data
    config: dict[str, Any]
    versions: dict[str, str]
    device: str
    folds: Annotated[int, Field(ge=2)] | None = None  # a cross-validation: every image by the fold that tests it

    @model_validator(mode="after")
    def _covers_every_class(self) -> Self:
        for key in (f"{metric}_{average}" for metric in METRICS for average in AVERAGES):
            absent = {*self.classes, FOREGROUND} - set(self.scores.get(key, {}))
            if absent:
                raise ValueError(f"scores.{key} lacks {sorted(absent)}")
        if absent := set(self.classes) - set(self.cases):
            raise ValueError(f"cases lacks {sorted(absent)}")
        if {len(self.confusion), *map(len, self.confusion)} != {len(self.classes)}:
            raise ValueError(f"confusion must be {len(self.classes)} x {len(self.classes)}, one row per class")
        return self

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of all classes but the background."""
        return self.classes[1:]


class Case(Part):
    """One drawn image: an entry of `cases/index.json`. `scale` = drawn size / original size."""

    id: str
    kind: Literal["worst", "median", "best"]
    score: Score
    image: FileName
    truth: FileName
    prediction: FileName
    scale: Annotated[float, Field(gt=0.0)]


class PerImage(Part):
    """Columns of `per_image.csv`: Dice per class name (None = not scored) in the order of `ids`."""

    ids: tuple[str, ...]
    ignored: tuple[int, ...]
    dice: dict[str, tuple[float | None, ...]]


EPOCHS = "epochs.csv"
EXPLANATION = "explain.json"
STUDY = "interventions.json"

_CURES = {
    EPOCHS: "`python train.py` writes this file: restore it, or move it away to go without learning curves.",
    EXPLANATION: "`seg-scse explain RUN` writes this file: run it again, or move it away to go without this section.",
    STUDY: "`seg-scse explain RUN --intervene` writes this file: run it again.",
    ".npz": "`seg-scse explain RUN` writes this file: run it again.",
}


def damaged(path: Path, problem: str) -> DataError:
    """Return the error of an unusable result file, with the command that writes it."""
    cure = _CURES.get(path.name) or _CURES.get(path.suffix, "`python evaluate.py RUN` writes this file: run it again.")
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
        DataError: the file is absent, is not JSON, or a field is missing, out of range or inconsistent.
    """
    return read_json(path, TypeAdapter(Results))


def read_cases(path: Path) -> list[Case]:
    """Read `cases/index.json`.

    Raises:
        DataError: the file is absent or malformed.
    """
    return read_json(path, TypeAdapter(list[Case]))


def read_per_image(path: Path, results: Results) -> PerImage:
    """Read `per_image.csv` of the evaluation that `results` describes.

    Raises:
        DataError: the file is absent, a column is missing, a cell is no score, or the rows are not the images scored.
    """
    rows = read_table(path, {"id", "ignored", *(f"dice_{name}" for name in (*results.classes, FOREGROUND))})
    if len(rows) != results.images:
        raise damaged(path, f"has {len(rows)} rows, but results.json counts {results.images} images.")
    try:
        return PerImage(
            ids=tuple(row["id"] for row in rows),
            ignored=tuple(int(row["ignored"]) for row in rows),
            dice={name: tuple(_score(row[f"dice_{name}"]) for row in rows) for name in (*results.classes, FOREGROUND)},
        )
    except ValueError as error:
        raise damaged(path, f"{error}.") from error


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


def _score(cell: str) -> float | None:
    if cell == "":
        return None
    value = float(cell)
    if not 0.0 <= value <= 1.0:  # also refuses nan
        raise ValueError(f"{cell!r} is not a score in [0, 1]")
    return value


def read_case_images(folder: Path, case: Case, num_classes: int) -> tuple[bytes, Labels, Labels]:
    """Read the three PNG files of a case.

    Returns:
        The PNG bytes of the image as they are; truth and prediction, uint8 `H W` class indices (255 = ignore).

    Raises:
        DataError: a file is absent, is no image or no index map of the classes, or the sizes differ.
    """
    image_bytes, image = _read_png(folder / case.image)
    truth, prediction = (_read_labels(folder / name, image.size, num_classes) for name in (case.truth, case.prediction))
    return image_bytes, truth, prediction


def _read_labels(path: Path, size: tuple[int, int], num_classes: int) -> Labels:
    _, image = _read_png(path)
    if image.mode not in ("L", "P") or image.size != size:
        found = f"{image.mode}, {image.width} x {image.height}"
        raise damaged(path, f"is {found}; an 8-bit index map of {size[0]} x {size[1]} is needed.")
    labels = np.asarray(image, dtype=np.uint8)
    if unknown := sorted(set(np.unique(labels).tolist()) - {*range(num_classes), IGNORE_INDEX}):
        raise damaged(path, f"holds the values {unknown}, which are no index of the {num_classes} classes.")
    return labels


def _read_png(path: Path) -> tuple[bytes, Image.Image]:
    """Bytes and decoded image of a PNG file."""
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.load()
    except FileNotFoundError:
        raise damaged(path, "file not found.") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise damaged(path, f"is not a readable PNG ({error}).") from error
    return data, image


def visible(text: str) -> str:
    """Show control, direction and undecodable characters as escapes, so that a name cannot disturb page or terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )
