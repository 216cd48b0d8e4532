"""The images that changed most, as pictures: image, truth, both predictions, and where the second is right or wrong."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.report.cases import Case, Labels, read_case_images
from seg_scse.report.comparison_reading import ChangedCase, Comparison, Pair
from seg_scse.report.comparison_wording import difference, unit_of
from seg_scse.report.figures import LAYERS, draw_case, layer_uri
from seg_scse.report.headings import MEASURES
from seg_scse.report.overlays import error_layer
from seg_scse.report.reading import visible

_KINDS = {"better": "Better", "worse": "Worse"}


@dataclass(frozen=True)
class ChangedDrawing:
    """A case as layers: (name of the view, what it shows, data URI), the image first; `note` stands below it."""

    number: str
    case: ChangedCase
    width: int
    height: int
    layers: tuple[tuple[str, str, str], ...]
    title: str
    note: str


def draw_changes(folder: Path, comparison: Comparison, pair: Pair) -> list[tuple[str, list[ChangedDrawing]]]:
    """Draw the cases of a pair, those that became better and those that became worse.

    Args:
        folder: with the PNG files.
        comparison: content of `compare.json`.
        pair: one of its pairs.

    Raises:
        DataError: a file is missing or damaged.
    """
    total = sum(len(one.cases) for one in comparison.pairs)
    drawings = [_draw(folder, comparison, pair, place, 1 / total) for place in range(len(pair.cases))]
    return [(_KINDS[kind], list(group)) for kind, group in groupby(drawings, lambda drawing: drawing.case.kind)]


def _draw(folder: Path, comparison: Comparison, pair: Pair, place: int, share: float) -> ChangedDrawing:
    case, classes, task = pair.cases[place], comparison.classes, comparison.task
    first, second = (_as_case(case, name) for name in (case.prediction_a, case.prediction_b))
    a, b = (draw_case(folder, one, place, classes, task, share / 2) for one in (first, second))
    _, truth, before = read_case_images(folder, first, len(classes), task)
    _, _, after = read_case_images(folder, second, len(classes), task)
    names = [visible(comparison.runs[number].label) for number in (pair.a, pair.b)]
    change = layer_uri(change_layer(truth, before, after), int(share * LAYERS / 4))
    return ChangedDrawing(
        number=f"{pair.b}-{place}",
        case=case,
        width=a.width,
        height=a.height,
        layers=(
            ("image", "Image", a.image),
            ("truth", "Truth", a.truth),
            ("prediction", names[0], a.prediction),
            ("second", names[1], b.prediction),
            ("errors", "Change", change),
        ),
        title=f"{difference(comparison, case.difference)} {unit_of(comparison)}",
        note=f"{names[0]} {_score(comparison, case.a)}, {names[1]} {_score(comparison, case.b)}",
    )


def _as_case(case: ChangedCase, prediction: str) -> Case:
    """The case with one of its predictions, as those of an evaluation are read."""
    return Case(
        id=case.id,
        kind="median",
        score=None,
        image=case.image,
        truth=case.truth,
        prediction=prediction,
        scale=case.scale,
    )


def _score(comparison: Comparison, value: float | None) -> str:
    return MEASURES[comparison.metric].text(value)


def change_layer(truth: Labels, before: Labels, after: Labels) -> Image.Image:
    """Draw where two predictions differ in being right, and nothing else.

    Args:
        truth: uint8 `H W` class indices or bits; 255 (ignore) is grey.
        before: the same for the baseline.
        after: the same for the other run.

    Returns:
        A palette image with transparency, in the colours of errors: `MISSED` where only the baseline is right (newly
        wrong), `FALSE` where only the other run is (newly right).
    """
    was_right = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, before == truth).astype(np.uint8)
    return error_layer(was_right, (after == truth).astype(np.uint8))
