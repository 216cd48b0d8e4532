"""The HTML report of one evaluation: a single file that loads nothing."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from seg_scse.files import write_text
from seg_scse.report import measured, precision, wording
from seg_scse.report.cases import read_cases
from seg_scse.report.citation import citation
from seg_scse.report.class_table import average_rows, score_groups
from seg_scse.report.cost import cost_facts
from seg_scse.report.curves import curves_png
from seg_scse.report.distribution import Distribution, distribute
from seg_scse.report.explanations import attention_section
from seg_scse.report.figures import Drawing, draw_case
from seg_scse.report.folds import fold_table
from seg_scse.report.image_table import image_table
from seg_scse.report.per_image import PerImage, read_per_image
from seg_scse.report.probabilities import read_probabilities
from seg_scse.report.reading import FOREGROUND, Results, read_results, visible
from seg_scse.report.reliability import calibrations
from seg_scse.report.rendering import class_css, data_uri, environment
from seg_scse.report.training_facts import facts_of_results

_KINDS = {"worst": "Worst", "median": "Median", "best": "Best"}


def write_report(evaluation_dir: Path) -> Path:
    """Write `report.html` of an evaluation from its result files.

    Args:
        evaluation_dir: folder with `results.json`, `per_image.csv` and `cases/`; `probabilities.json` adds threshold
            and calibration curves. Where the folder above its parent has an `epochs.csv`, the learning curves are shown
            too, and where the network has gates, what an explanation of the same split found out about them. For a
            cross-validation, `folds.json` gives the table of its folds.

    Returns:
        The path of the report.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: the report cannot be written.
    """
    results = read_results(evaluation_dir / "results.json")
    per_image = read_per_image(evaluation_dir / "per_image.csv", results)
    html = (
        environment()
        .get_template("report.html")
        .render(results=results, **_scores(results, per_image), **_pictures(evaluation_dir, results))
    )
    path = evaluation_dir / "report.html"
    write_text(path, html)
    return path


def _scores(results: Results, per_image: PerImage) -> dict[str, Any]:
    """What the page says in words and tables."""
    return {
        "headlines": precision.headlines(results),
        "split": measured.split_name(results),
        "created": wording.when(results.created),
        "level": precision.level(results),
        "allows": precision.what_the_size_allows(results),
        "cautions": measured.cautions(results),
        "measured": measured.what_was_measured(results, per_image),
        "origin": measured.origin(results),
        "citation": citation(results),
        "foreground_text": wording.foreground(results),
        "groups": score_groups(results),
        "averages": average_rows(results),
        "distributions": _distributions(results, per_image),
        "confusion": _confusion(results),
        "table": image_table(results, per_image),
        "ignored": any(per_image.ignored),
        "cost": cost_facts(results.cost),
        "config": yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True) if results.config else None,
    }


def _pictures(evaluation_dir: Path, results: Results) -> dict[str, Any]:
    """What the page shows beyond the scores: pictures, curves, training and gates."""
    drawings = list(_draw_cases(evaluation_dir / "cases", results))
    probabilities = read_probabilities(evaluation_dir)
    run = evaluation_dir.resolve().parents[1]
    curves = curves_png(run)
    return {
        "compressed": any(drawing.image.startswith("data:image/jpeg") for drawing in drawings),
        "drawings": [(_KINDS[kind], list(group)) for kind, group in groupby(drawings, lambda d: d.case.kind)],
        "calibrations": calibrations(results, probabilities) if probabilities else [],
        "curves": None if curves is None else data_uri(curves),
        "training": facts_of_results(results, run),
        "attention": None if results.folds else attention_section(evaluation_dir, results),
        "folds": fold_table(evaluation_dir) if results.folds else None,
    }


def _distributions(results: Results, per_image: PerImage) -> list[tuple[str, str, Distribution]]:
    """(label, CSS colour, distribution) of each foreground class, their mean, and the background last."""

    def row(label: str, colour: str, name: str) -> tuple[str, str, Distribution]:
        mean, interval = results.score("dice_per_image", name), results.interval("dice_per_image", name)
        return label, colour, distribute(per_image.dice[name], mean, interval)

    background, *classes = [row(visible(name), class_css(i), name) for i, name in enumerate(results.classes)]
    if len(classes) > 1:
        classes.append(row("mean of the foreground", "var(--soft)", FOREGROUND))
    return [*classes, background]


def _confusion(results: Results) -> list[tuple[str, list[tuple[int, float | None]]]]:
    """(class, [(pixels, share of the row's pixels or None for an empty row), ...]) for each true class."""
    return [
        (visible(name), [(pixels, pixels / sum(row) if sum(row) else None) for pixels in row])
        for name, row in zip(results.classes, results.confusion or (), strict=False)
    ]


def _draw_cases(folder: Path, results: Results) -> Iterator[Drawing]:
    order = list(_KINDS)
    cases = sorted(read_cases(folder / "index.json"), key=lambda case: order.index(case.kind))
    for number, case in enumerate(cases):
        yield draw_case(folder, case, number, results.classes, results.task, 1 / len(cases))
