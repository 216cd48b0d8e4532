"""A table with a row per image that a page can sort and filter: its first rows as HTML, all of them as compact JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seg_scse.report.headings import GROUPS, MEASURES
from seg_scse.report.per_image import PerImage
from seg_scse.report.precision import unit_of
from seg_scse.report.reading import FOREGROUND, Results, visible

FIRST_ROWS = 50
"""Rows that can be read without the script."""
MOST_CELLS = 600_000
"""Numbers that a page may hold; beyond it only those of the foreground are put into it."""

_LEFT_OUT = {"specificity", "accuracy", "volume_error"}  # they say little of one image, or follow from the others

Numbers = Sequence[float | None]


@dataclass(frozen=True)
class Number:
    """A column of numbers: heading, digits after the point, and what it tells."""

    label: str
    digits: int = 4
    tells: str = ""


@dataclass(frozen=True)
class View:
    """The numbers of one class: one sequence per column, one value per image, None = not available."""

    label: str
    values: tuple[Numbers, ...]


@dataclass(frozen=True)
class ImageTable:
    """Columns of text, the first naming the image, then columns of numbers; `views` change what the numbers are of.

    `sort` is the column of numbers that rows are sorted by at first, the smallest value first where `ascending`.
    `complete` is false where classes were left out to keep the page small.
    """

    texts: tuple[tuple[str, Sequence[str]], ...]
    columns: tuple[Number, ...]
    views: tuple[View, ...]
    sort: int
    ascending: bool = True
    complete: bool = True

    @property
    def rows(self) -> int:
        """Number of images."""
        return len(self.texts[0][1])

    def first(self) -> list[tuple[list[str], list[str]]]:
        """Texts and numbers, as text, of the first rows in the order of the table."""
        numbers, sign = self.views[0].values, 1 if self.ascending else -1
        known = [(sign * value, place) for place, value in enumerate(numbers[self.sort]) if value is not None]
        places = [place for _, place in sorted(known)]
        places += [place for place, value in enumerate(numbers[self.sort]) if value is None]
        return [
            (
                [values[place] for _, values in self.texts],
                [_cell(values[place], column) for values, column in zip(numbers, self.columns, strict=True)],
            )
            for place in places[:FIRST_ROWS]
        ]

    def data(self) -> dict[str, Any]:
        """All rows in plain JSON types, numbers rounded to the digits shown."""
        return {
            "texts": [{"label": label, "values": list(values)} for label, values in self.texts],
            "columns": [{"label": column.label, "digits": column.digits} for column in self.columns],
            "views": [
                {
                    "label": view.label,
                    "values": [_rounded(v, c.digits) for v, c in zip(view.values, self.columns, strict=True)],
                }
                for view in self.views
            ],
            "sort": len(self.texts) + self.sort,
            "sign": 1 if self.ascending else -1,
        }


def _rounded(values: Numbers, digits: int) -> list[float | None]:
    return [None if value is None else round(value, digits) for value in values]


def _cell(value: float | None, column: Number) -> str:
    return "n/a" if value is None else f"{value:.{column.digits}f}"


def image_table(results: Results, per_image: PerImage) -> ImageTable:
    """The scores of every image, of the foreground and of each class; the worst Dice first."""
    metrics = [
        metric
        for group in GROUPS.values()
        for metric in group
        if metric not in _LEFT_OUT and per_image.column(metric) is not None
    ]
    names = [FOREGROUND, *(results.classes[1:] if len(results.classes) > 2 else ()), results.classes[0]]
    complete = len(metrics) * len(names) * results.images <= MOST_CELLS
    unit, empty = unit_of(results), (None,) * results.images
    views = tuple(
        View(
            "foreground" if name == FOREGROUND else visible(name),
            tuple(per_image.column(metric, name) or empty for metric in metrics),
        )
        for name in (names if complete else names[:1])
    )
    texts = [("Image", tuple(map(visible, per_image.ids)))]
    if len(set(per_image.groups)) not in (0, results.images):
        texts.append(("Group", tuple(map(visible, per_image.groups))))
    texts.append(("Size (px)", tuple(f"{width} × {height}" for height, width in per_image.sizes)))
    columns = tuple(
        Number(MEASURES[m].heading(unit), 2 if MEASURES[m].length else 4, MEASURES[m].tells) for m in metrics
    )
    return ImageTable(tuple(texts), columns, views, sort=metrics.index("dice"), complete=complete)
