"""Geometry of a comparison's drawings, for inline SVG: scatter of A against B, histogram of differences, intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

SIZE = 300
"""Side of a scatter's square in drawing coordinates; x to the right, y downwards."""
WIDTH, HEIGHT = 1000, 100
"""Size of a histogram, and width of a row of intervals, in drawing coordinates."""
BINS = 41
"""Bins of a histogram: an odd number, so that one lies around 0."""

_STEPS = (1.0, 2.0, 2.5, 5.0)  # of ticks, times a power of ten
_ENDS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # of axes
_TICKS = 5

Side = Literal["better", "worse", "equal"]


@dataclass(frozen=True)
class Point:
    """An image: place in drawing coordinates, whether b is better there, and its title."""

    x: float
    y: float
    side: Side
    title: str


@dataclass(frozen=True)
class Scatter:
    """One run against another on axes of one scale; `ticks` are (share of the side, label)."""

    points: tuple[Point, ...]
    ticks: tuple[tuple[float, str], ...]
    better_above: bool


@dataclass(frozen=True)
class Histogram:
    """Numbers of images by their difference, on an axis from -reach to reach.

    `bars` are (x, y, width, height, side); `mean`, `low` and `high` are x of the mean and its interval, or None.
    """

    bars: tuple[tuple[float, float, float, float, Side], ...]
    reach: float
    highest: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Span:
    """A difference with its interval on an axis: x in drawing coordinates; None where not available."""

    mean: float | None
    low: float | None
    high: float | None


def scatter(
    a: Sequence[float | None], b: Sequence[float | None], titles: Sequence[str], *, is_share: bool, lower: bool
) -> Scatter:
    """Place images by their scores in two runs; those without one of the two are left out.

    Args:
        a: scores across.
        b: scores upwards.
        titles: what each point says.
        is_share: the axes end at 1; else at the largest score.
        lower: whether lower is better.
    """
    pairs = [(x, y, title) for x, y, title in zip(a, b, titles, strict=True) if x is not None and y is not None]
    values = [value for x, y, _ in pairs for value in (x, y)]
    low, high = _axis(values, is_share)
    span = high - low

    def place(value: float) -> float:
        return round(SIZE * (value - low) / span, 1)

    points = tuple(Point(place(x), round(SIZE - place(y), 1), side(y - x, lower), title) for x, y, title in pairs)
    ticks = tuple(((value - low) / span, f"{value:g}") for value in _ticks(low, high))
    return Scatter(points, ticks, better_above=not lower)


def side(difference: float, lower: bool) -> Side:
    """Which way a difference b - a points."""
    gain = -difference if lower else difference
    return "better" if gain > 0 else "worse" if gain < 0 else "equal"


def histogram(
    differences: Sequence[float | None], row: tuple[float | None, float | None, float | None], *, lower: bool
) -> Histogram:
    """Count images by their difference.

    Args:
        differences: b - a of each image; None where there is none.
        row: mean difference and the ends of its interval.
        lower: whether lower is better.
    """
    values = np.array([value for value in differences if value is not None], dtype=np.float64)
    known = [abs(end) for end in row if end is not None]
    reach = _rounded_up(max([*np.abs(values).tolist(), *known], default=0.0))
    frequency, edges = np.histogram(values, bins=BINS, range=(-reach, reach))
    highest = int(frequency.max()) if values.size else 0
    bars = []
    for number, (start, end) in zip(frequency.tolist(), pairwise(edges.tolist()), strict=True):
        if number:
            x, height = _across(start, reach), round(HEIGHT * number / highest, 1)
            width = round(WIDTH / BINS, 1)
            centre = 0.0 if start < 0 < end else start + end
            bars.append((x, round(HEIGHT - height, 1), width, height, side(centre, lower)))
    places = [None if value is None else _across(value, reach) for value in row]
    return Histogram(tuple(bars), reach, highest, *places)


def spans(rows: Sequence[tuple[float | None, float | None, float | None]]) -> tuple[float, tuple[Span, ...]]:
    """Place differences with their intervals on one axis from -reach to reach.

    Args:
        rows: mean, low, high of each row; None where not available.

    Returns:
        reach, and the rows.
    """
    reach = _rounded_up(max((abs(value) for row in rows for value in row if value is not None), default=0.0))
    return reach, tuple(Span(*(None if value is None else _across(value, reach) for value in row)) for row in rows)


def _across(value: float, reach: float) -> float:
    return round(WIDTH * (value + reach) / (2 * reach), 1)


def _axis(values: Sequence[float], is_share: bool) -> tuple[float, float]:
    """Ends of both axes: from a tenth below the smallest score to 1, or from 0 to beyond the largest."""
    if not is_share:
        return 0.0, _rounded_up(max(values, default=1.0))
    low = math.floor(10 * min(values, default=0.0)) / 10
    return (min(low, 0.9), 1.0)


def _rounded_up(value: float, steps: Sequence[float] = _ENDS) -> float:
    """The next of the steps times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in steps if value <= step * power), 10 * power)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    step = _rounded_up((high - low) / _TICKS, _STEPS)
    first = math.ceil(round(low / step, 6))
    last = math.floor(round(high / step, 6))
    return [round(number * step, 10) for number in range(first, last + 1)]
