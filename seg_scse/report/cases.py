"""Read the drawn cases of an evaluation: image, truth and prediction as PNG files beside `index.json`."""

import io
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, TypeAdapter

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.report.reading import Part, Score, damaged, read_json

Labels = NDArray[np.uint8]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]  # inside the folder: the page embeds no other file


class Case(Part):
    """One drawn image: an entry of `cases/index.json`. `scale` = drawn size / original size; `image` may be unknown."""

    id: str
    kind: Literal["worst", "median", "best"]
    score: Score
    image: FileName | None
    truth: FileName
    prediction: FileName
    scale: Annotated[float, Field(gt=0.0)]


def read_cases(path: Path) -> list[Case]:
    """Read `cases/index.json`.

    Raises:
        DataError: the file is absent or malformed.
    """
    return read_json(path, TypeAdapter(list[Case]))


def read_case_images(
    folder: Path, case: Case, num_classes: int, task: str = "multiclass"
) -> tuple[bytes | None, Labels, Labels]:
    """Read the PNG files of a case.

    Returns:
        The PNG bytes of the image as they are, None where there is none; truth and prediction, uint8 `H W` class
        indices or, multilabel, bits of the classes after the first (255 = ignore).

    Raises:
        DataError: a file is absent, is no image or no mask of the classes, or the sizes differ.
    """
    image_bytes, size = None, None
    if case.image is not None:
        image_bytes, image = _read_png(folder / case.image)
        size = image.size
    values = num_classes if task == "multiclass" else 1 << (num_classes - 1)
    truth = _read_labels(folder / case.truth, size, num_classes, values)
    height, width = truth.shape
    return image_bytes, truth, _read_labels(folder / case.prediction, (width, height), num_classes, values)


def _read_labels(path: Path, size: tuple[int, int] | None, num_classes: int, values: int) -> Labels:
    _, image = _read_png(path)
    width, height = size or image.size
    if image.mode not in ("L", "P") or image.size != (width, height):
        found = f"{image.mode}, {image.width} x {image.height}"
        raise damaged(path, f"is {found}; an 8-bit index map of {width} x {height} is needed.")
    labels = np.asarray(image, dtype=np.uint8)
    if unknown := sorted(set(np.unique(labels).tolist()) - {*range(values), IGNORE_INDEX}):
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
