"""The scores of a model card as text, each with its interval and its definition."""

from dataclasses import dataclass

from seg_scse.report import precision
from seg_scse.report.headings import AVERAGING, MEASURES, groups_of
from seg_scse.report.measured import boundaries, decision
from seg_scse.report.reading import FOREGROUND, Results
from seg_scse.report.wording import POLICIES, foreground

_OF_CLASSES = ("dice_per_image", "dice_pooled", "iou_per_image", "hd95_per_image", "nsd_per_image", "object_f1_pooled")
"""What is told of each class where there are several; the report of the evaluation has all."""


@dataclass(frozen=True)
class Scores:
    """Tables and sentences of an evaluation.

    Attributes:
        stands: what `foreground` is.
        policy: what an image without a class scores.
        foreground: rows of score, averaging, value and interval.
        headings: columns of the table of the classes.
        classes: its rows, a name and a value with its interval for each column; none where there is one class.
        definitions: name and formula of each score.
        protocol: how predictions, boundaries and intervals were made, in sentences.
    """

    stands: str
    policy: str
    foreground: list[tuple[str, ...]]
    headings: list[str]
    classes: list[list[str]]
    definitions: list[tuple[str, str]]
    protocol: list[str]


def scores(results: Results) -> Scores:
    """Put an evaluation into words."""
    keys = measured(results)
    metrics = dict.fromkeys(metric for metric, *_ in keys)
    columns = [(metric, averaging, key) for metric, averaging, key in keys if key in _OF_CLASSES]
    return Scores(
        stands=foreground(results),
        policy=POLICIES[results.protocol.empty],
        foreground=[
            (_heading(metric, results), AVERAGING[averaging].lower(), *_texts(results, metric, key, FOREGROUND))
            for metric, averaging, key in keys
        ],
        headings=[f"{_heading(metric, results)}, {AVERAGING[averaging].lower()}" for metric, averaging, _ in columns],
        classes=[_row(results, name, columns) for name in results.foreground if len(results.foreground) > 1],
        definitions=[(_heading(metric, results), MEASURES[metric].tells) for metric in metrics],
        protocol=_protocol(results),
    )


def measured(results: Results) -> list[tuple[str, str, str]]:
    """(metric, averaging, key of `results.scores`) of every score that was measured, in the order of the tables."""
    metrics = [metric for group in groups_of(results.scores).values() for metric in group]
    keys = [(metric, averaging, f"{metric}_{averaging}") for metric in metrics for averaging in AVERAGING]
    return [found for found in keys if found[2] in results.scores]


def _heading(metric: str, results: Results) -> str:
    return MEASURES[metric].heading(precision.unit_of(results))


def _texts(results: Results, metric: str, key: str, name: str) -> tuple[str, str]:
    measure, interval = MEASURES[metric], results.interval(key, name)
    span = "" if interval is None else f"{measure.text(interval[0])} to {measure.text(interval[1])}"
    return measure.text(results.score(key, name)), span


def _row(results: Results, name: str, columns: list[tuple[str, str, str]]) -> list[str]:
    cells = [_texts(results, metric, key, name) for metric, _, key in columns]
    return [name, *(f"{value} ({span})" if span else value for value, span in cells)]


def _protocol(results: Results) -> list[str]:
    said = (precision.how_intervals_were_made(results), decision(results), boundaries(results))
    return [sentence for sentence in said if sentence]
