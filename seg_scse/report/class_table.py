"""The table of scores per class, in groups of columns that are shown one at a time."""

from dataclasses import dataclass

from seg_scse.report.headings import AVERAGING, MEASURES, groups_of
from seg_scse.report.precision import short_interval, unit_of
from seg_scse.report.reading import FOREGROUND, Results, visible
from seg_scse.report.rendering import class_css


@dataclass(frozen=True)
class Cell:
    """A score and its interval, as text."""

    value: str
    interval: str | None


@dataclass(frozen=True)
class Row:
    """A class, or the foreground, which has no colour and no counts."""

    label: str
    colour: str | None
    cells: tuple[Cell, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ScoreGroup:
    """Columns that are shown side by side: (averaging, headings with what they tell) and names of the counts."""

    name: str
    columns: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    counts: tuple[str, ...]
    rows: tuple[Row, ...]
    foot: Row


_COUNTS = {"Overlap": ("scored", "empty")}
_FOREGROUND_ONLY = {"Boundary", "Objects"}  # the background has neither
_OTHER_COUNTS = ("scored", "missed", "false")


def score_groups(results: Results) -> list[ScoreGroup]:
    """Return the groups of scores that the evaluation holds."""
    return [_group(results, name, metrics) for name, metrics in groups_of(results.scores).items()]


def _group(results: Results, name: str, metrics: tuple[str, ...]) -> ScoreGroup:
    unit = unit_of(results)
    keys, columns = [], []
    for averaging, label in AVERAGING.items():
        present = [metric for metric in metrics if f"{metric}_{averaging}" in results.scores]
        keys += [(metric, f"{metric}_{averaging}") for metric in present]
        if present:
            headings = tuple((MEASURES[metric].heading(unit), MEASURES[metric].tells) for metric in present)
            columns.append((label, headings))
    counts = _COUNTS.get(name, _OTHER_COUNTS)
    rows = tuple(
        Row(
            visible(label),
            class_css(index),
            _cells(results, keys, label),
            tuple(getattr(results.cases[label], count) for count in counts),
        )
        for index, label in enumerate(results.classes)
        if index or name not in _FOREGROUND_ONLY
    )
    foot = Row("Foreground", None, _cells(results, keys, FOREGROUND), ())
    return ScoreGroup(name, tuple(columns), counts, rows, foot)


def _cells(results: Results, keys: list[tuple[str, str]], name: str) -> tuple[Cell, ...]:
    return tuple(
        Cell(
            MEASURES[metric].text(results.score(key, name)),
            short_interval(results.interval(key, name), MEASURES[metric]),
        )
        for metric, key in keys
    )


AVERAGE_NAMES = {
    "macro": "Macro: mean of the classes",
    "micro": "Micro: pixels of the classes counted together",
    "weighted": "Weighted: mean of the classes by their true pixels",
}


def average_rows(results: Results) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Headings and rows (name, cells) of the averages over classes, with and without the background; may be empty."""
    keys = list(results.averages)
    headings = [
        f"{MEASURES[key.rsplit('_per_image')[0].removesuffix('_pooled')].label} {_averaging(key)}" for key in keys
    ]
    rows = []
    for kind, label in AVERAGE_NAMES.items():
        for scope, words in (("foreground", f"without {visible(results.classes[0])}"), ("all", "all classes")):
            cells = [MEASURES["dice"].text(results.averages[key].get(f"{kind}_{scope}")) for key in keys]
            rows.append((f"{label}, {words}", cells))
    return headings, rows if keys else []


def _averaging(key: str) -> str:
    return "pooled" if key.endswith("_pooled") else "per image"
