"""The HTML page of a comparison: verdicts, differences with intervals, scatter, the images that changed most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_scse.report import comparison_tables as tables
from seg_scse.report import comparison_wording as words
from seg_scse.report.comparison_figures import ChangedDrawing, draw_changes
from seg_scse.report.comparison_reading import Comparison, Difference, Pair, Row
from seg_scse.report.headings import MEASURES
from seg_scse.report.image_table import ImageTable, Number, View
from seg_scse.report.reading import FOREGROUND, visible
from seg_scse.report.rendering import class_css, environment
from seg_scse.report.scatter import Histogram, Scatter, Span, histogram, scatter, spans
from seg_scse.report.wording import when

MOST_TITLES = 6000
"""Points of a page that say which image they are; beyond it they are points only, so that the page stays small."""

Scores = Mapping[str, Sequence[Difference]]


@dataclass(frozen=True)
class Panel:
    """Drawings of one class of a pair: A against B, and the distribution of the differences."""

    label: str
    colour: str | None
    row: Row
    scatter: Scatter
    histogram: Histogram
    reach: str


@dataclass(frozen=True)
class Section:
    """Everything on one run against the baseline."""

    number: int
    a: str
    b: str
    finding: str
    sentences: list[str]
    rows: list[tuple[str, list[str], str]]
    pooled: list[tuple[str, list[str]]]
    reach: str
    spans: list[tuple[str, Span, str]]
    panels: list[Panel]
    cases: list[tuple[str, list[ChangedDrawing]]]
    no_cases: str


def page(folder: Path, comparison: Comparison, scores: Scores) -> str:
    """Render the page.

    Args:
        folder: with `cases/`.
        comparison: content of `compare.json`.
        scores: content of `differences.csv`.

    Raises:
        DataError: a picture is missing or damaged.
    """
    names = [visible(run.label) for run in comparison.runs]
    return (
        environment()
        .get_template("compare.html")
        .render(
            comparison=comparison,
            measure=MEASURES[comparison.metric],
            names=names,
            cautions=tables.cautions(comparison),
            sections=[_section(folder, comparison, pair, scores) for pair in comparison.pairs],
            means=[_means(comparison, number) for number in range(len(names))],
            images=_image_table(comparison, scores),
            facts=words.how_it_was_compared(comparison),
            origins=[(name, tables.origin(comparison, number)) for number, name in enumerate(names)],
            unit=words.unit_of(comparison),
            level=words.level_text(comparison),
            compared=when(comparison.created),
        )
    )


def _means(comparison: Comparison, number: int) -> str:
    """The run's mean over the images compared; it is in every pair the run is in."""
    row = comparison.pairs[max(number - 1, 0)].rows[0]
    return MEASURES[comparison.metric].text(row.b if number else row.a)


def _section(folder: Path, comparison: Comparison, pair: Pair, scores: Scores) -> Section:
    reach, placed = spans([(row.difference, row.low, row.high) for row in pair.rows])
    labels = [visible(row.name) for row in pair.rows]
    found = [tables.pooled_cells(comparison, row) for row in pair.rows]
    kinds = [words.finding(comparison, row) for row in pair.rows]
    return Section(
        number=pair.b,
        a=visible(comparison.runs[pair.a].label),
        b=visible(comparison.runs[pair.b].label),
        finding=kinds[0],
        sentences=tables.pair_sentences(comparison, pair),
        rows=[
            (label, tables.cells(comparison, row), visible(row.reason))
            for label, row in zip(labels, pair.rows, strict=True)
        ],
        pooled=[(label, cells) for label, cells in zip(labels, found, strict=True) if cells is not None],
        reach=_reach(comparison, reach),
        spans=list(zip(labels, placed, kinds, strict=True)),
        panels=[_panel(comparison, pair, row, scores) for row in pair.rows],
        cases=draw_changes(folder / "cases", comparison, pair),
        no_cases=pair.no_cases,
    )


def _reach(comparison: Comparison, reach: float) -> str:
    """The end of an axis of differences, as text without a sign."""
    return f"{reach if comparison.unit else 100 * reach:g}"


def _panel(comparison: Comparison, pair: Pair, row: Row, scores: Scores) -> Panel:
    rows = scores.get(row.name, ())
    a, b = ([one.scores[number] for one in rows] for number in (pair.a, pair.b))
    differences = [None if x is None or y is None else y - x for x, y in zip(a, b, strict=True)]
    lower = comparison.better == "lower"
    titled = len(rows) * len(comparison.pairs) * len(comparison.pairs[0].rows) <= MOST_TITLES
    titles = [_title(comparison, one, pair) if titled else "" for one in rows]
    drawn = histogram(differences, (row.difference, row.low, row.high), lower=lower)
    return Panel(
        label=visible(row.name),
        colour=None if row.name == FOREGROUND else class_css(comparison.classes.index(row.name)),
        row=row,
        scatter=scatter(
            a, b, titles, is_share=comparison.metric != "volume_error" and not comparison.unit, lower=lower
        ),
        histogram=drawn,
        reach=_reach(comparison, drawn.reach),
    )


def _title(comparison: Comparison, one: Difference, pair: Pair) -> str:
    measure = MEASURES[comparison.metric]
    texts = [f"{visible(comparison.runs[k].label)} {measure.text(one.scores[k])}" for k in (pair.a, pair.b)]
    return f"{visible(one.id)}: {', '.join(texts)}"


def _image_table(comparison: Comparison, scores: Scores) -> ImageTable:
    """Scores of every image in every run, and the differences to the baseline; the largest loss first."""
    first = scores[FOREGROUND]
    texts = [("Image", tuple(visible(one.id) for one in first))]
    if comparison.bootstrap.groups:
        texts.append(("Group", tuple(visible(one.group) for one in first)))
    names = [visible(run.label) for run in comparison.runs]
    digits = 2 if MEASURES[comparison.metric].length else 4
    others = range(1, len(names))
    columns = [
        *(Number(f"{name} minus {names[0]}", digits, "difference of the scores") for name in names[1:]),
        *(Number(name, digits, comparison.per_image) for name in names),
    ]
    views = []
    for name, rows in scores.items():
        changes = [tuple(_minus(one.scores[k], one.scores[0]) for one in rows) for k in others]
        values = [tuple(one.scores[k] for one in rows) for k in range(len(names))]
        views.append(View(visible(name), (*changes, *values)))
    ascending = comparison.better == "higher"
    return ImageTable(tuple(texts), tuple(columns), tuple(views), sort=0, ascending=ascending)


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a
