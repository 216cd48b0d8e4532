"""Geometry of line charts for a page's inline SVG; the colours are those of the page's style."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 42, 350, 10, 196
"""The plot lies in this box of a drawing of 360 by 236; x to the right, y downwards."""

Axis = tuple[float, float]
Points = Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True)
class Line:
    """A curve: label, SVG path in drawing coordinates, and dots where single points count."""

    label: str
    path: str
    dots: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Bar:
    """A filled rectangle in drawing coordinates; `title` is what it stands for."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """Lines in a box with ticks; `ticks` are (place in drawing coordinates, label); `marker` a vertical line at x.

    `summary` says in words what the drawing shows, for readers who cannot see it.
    """

    title: str
    x_label: str
    y_label: str
    summary: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marker: float | None = None
    diagonal: bool = False
    bars: tuple[Bar, ...] = ()


def line(label: str, points: Points, x_axis: Axis = (0.0, 1.0), y_axis: Axis = (0.0, 1.0), dots: bool = False) -> Line:
    """Draw a curve through points of data; it is interrupted where a coordinate is None.

    Args:
        label: for the legend.
        points: (x, y) in data coordinates.
        x_axis: data at the left and the right side of the box.
        y_axis: data at its bottom and its top.
        dots: whether every point is marked.
    """
    parts, places, pen = [], [], "M"
    for x, y in points:
        if x is None or y is None:
            pen = "M"
            continue
        place = (across(x, x_axis), upwards(y, y_axis))
        parts.append(f"{pen}{place[0]:g} {place[1]:g}")
        places.append(place)
        pen = "L"
    return Line(label, "".join(parts), tuple(places) if dots else ())


def across(x: float, axis: Axis = (0.0, 1.0)) -> float:
    """Drawing coordinate of a value on the horizontal axis."""
    return round(LEFT + (RIGHT - LEFT) * (x - axis[0]) / (axis[1] - axis[0]), 1)


def upwards(y: float, axis: Axis = (0.0, 1.0)) -> float:
    """Drawing coordinate of a value on the vertical axis."""
    return round(BOTTOM - (BOTTOM - TOP) * (y - axis[0]) / (axis[1] - axis[0]), 1)


def share_ticks() -> tuple[tuple[tuple[float, str], ...], tuple[tuple[float, str], ...]]:
    """Ticks of two axes from 0 to 1, in steps of 0.2."""
    values = [k / 5 for k in range(6)]
    return tuple((across(v), f"{v:g}") for v in values), tuple((upwards(v), f"{v:g}") for v in values)
