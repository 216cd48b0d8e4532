"""The HTML report of one evaluation: a single file that loads nothing and runs no script."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml
from PIL import Image

from seg_scse.files import write_text
from seg_scse.report import overlays, wording
from seg_scse.report.curves import curves_png
from seg_scse.report.distribution import Distribution, distribute
from seg_scse.report.explanations import attention_section
from seg_scse.report.folds import fold_table
from seg_scse.report.reading import (
    AVERAGES,
    FOREGROUND,
    METRICS,
    Case,
    PerImage,
    Results,
    read_case_images,
    read_cases,
    read_per_image,
    read_results,
    visible,
)
from seg_scse.report.rendering import class_css, data_uri, environment

_KINDS = {"worst": "Worst", "median": "Median", "best": "Best"}


@dataclass(frozen=True)
class Drawing:
    """A case with its picture and layers as data URIs; `width`, `height` in pixels."""

    number: int
    case: Case
    width: int
    height: int
    image: str
    truth: str
    prediction: str
    errors: str


def write_report(evaluation_dir: Path) -> Path:
    """Write `report.html` of an evaluation from its result files.

    Args:
        evaluation_dir: folder with `results.json`, `per_image.csv` and `cases/`; where the folder above its parent has
            an `epochs.csv`, the learning curves are shown too, and where the network has gates, what an explanation of
            the same split found out about them. For a cross-validation, `folds.json` gives the table of its folds.

    Returns:
        The path of the report.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: the report cannot be written.
    """
    results = read_results(evaluation_dir / "results.json")
    per_image = read_per_image(evaluation_dir / "per_image.csv", results)
    drawings = list(_draw_cases(evaluation_dir / "cases", len(results.classes)))
    curves = curves_png(evaluation_dir.resolve().parents[1])
    html = (
        environment()
        .get_template("report.html")
        .render(
            results=results,
            metrics=METRICS,
            averages=AVERAGES,
            measured=wording.what_was_measured(results, per_image),
            citation=wording.citation(results),
            foreground_text=wording.foreground(results),
            distributions=_distributions(results, per_image),
            confusion=_confusion(results),
            drawings=[(_KINDS[kind], list(group)) for kind, group in groupby(drawings, lambda d: d.case.kind)],
            ignored=any(per_image.ignored),
            config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
            curves=None if curves is None else data_uri(curves),
            attention=None if results.folds else attention_section(evaluation_dir, results),
            folds=fold_table(evaluation_dir) if results.folds else None,
        )
    )
    path = evaluation_dir / "report.html"
    write_text(path, html)
    return path


def _distributions(results: Results, per_image: PerImage) -> list[tuple[str, str, Distribution]]:
    """(label, CSS colour, distribution) of each foreground class, their mean, and the background last."""
    rows = [
        (visible(name), class_css(index), distribute(per_image.dice[name]))
        for index, name in enumerate(results.classes)
    ]
    background, *classes = rows
    if len(classes) > 1:
        classes.append(("mean of the foreground", "var(--soft)", distribute(per_image.dice[FOREGROUND])))
    return [*classes, background]


def _confusion(results: Results) -> list[tuple[str, list[tuple[int, float | None]]]]:
    """(class, [(pixels, share of the row's pixels or None for an empty row), ...]) for each true class."""
    return [
        (visible(name), [(pixels, pixels / sum(row) if sum(row) else None) for pixels in row])
        for name, row in zip(results.classes, results.confusion, strict=True)
    ]


def _draw_cases(folder: Path, num_classes: int) -> Iterator[Drawing]:
    cases = read_cases(folder / "index.json")
    order = list(_KINDS)
    for number, case in enumerate(sorted(cases, key=lambda case: order.index(case.kind))):
        image, truth, prediction = read_case_images(folder, case, num_classes)
        height, width = truth.shape
        yield Drawing(
            number=number,
            case=case,
            width=width,
            height=height,
            image=data_uri(image),
            truth=_layer_uri(overlays.label_layer(truth)),
            prediction=_layer_uri(overlays.label_layer(prediction)),
            errors=_layer_uri(overlays.error_layer(truth, prediction)),
        )


def _layer_uri(layer: Image.Image) -> str:
    buffer = io.BytesIO()
    layer.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue())
