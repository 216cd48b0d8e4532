"""The learning curves of a study: all variants in one figure, from `curves.csv`."""

import csv
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_scse.files import write_bytes
from seg_scse.report.reading import damaged
from seg_scse.report.sheet import Sheet, drawable, png_of

FILE, PICTURE = "curves.csv", "curves.png"
COLUMNS = ("variant", "seed", "fold", "level", "epoch", "step", "loss", "score", "val_loss", "val_score")

POINTS = 300
"""Points of a line that are drawn, however long the run is."""

WINDOWS = 40
"""A running mean is over the longest run's batches divided by this."""

SKIPPED = 0.2
"""Share of a run at its beginning that does not stretch the axis."""

LineStyle = Literal["-", "--", ":"]

_BASELINE = "#000000"
# Okabe and Ito, with grey for their yellow, which is lost on white: with black as many as a usual study has networks.
_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
_STYLES: tuple[LineStyle, ...] = ("-", "--", ":")
_MARKERS: dict[LineStyle, str] = {"-": "o", "--": "s", ":": "^"}
"""Of lines that are too short to show their style."""
_APART = 0.08  # epochs between variants that have one point each
_HOW_TO_READ = "Thin: single runs. Bold: their mean. Values of the first fifth may lie beyond the axis."
_WIDTH, _LEFT, _TOP, _GAP, _PANEL, _FOOT = 12.0, 0.55, 0.2, 0.8, 2.9, 0.2  # inches

Values = NDArray[np.float64]
Line = tuple[Values, Values]
Style = tuple[str, LineStyle]


@dataclass(frozen=True)
class Panel:
    """One drawing: which column over what, of which rows."""

    level: str
    column: str
    title: str
    x_label: str


PANELS = (
    Panel("batch", "loss", "Training loss of batches", "batches"),
    Panel("batch", "score", "Soft Dice of training batches", "batches"),
    Panel("epoch", "loss", "Training loss", "epochs completed"),
    Panel("epoch", "val_loss", "Validation loss", "epochs completed"),
    Panel("epoch", "val_score", "Validation score", "epochs completed"),
)


Run = list["tuple[array[float], array[float]]"]
"""The finite points of a run: places and values of each of `PANELS`."""

Runs = dict[tuple[str, str, str], Run]
"""Runs by variant, seed and fold."""


def variant_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return colour and line style by variant; the first one, the baseline, is black.

    The colours can be told apart with any colour vision; from the ninth variant on they come again, dashed, then
    dotted.
    """
    styles: dict[str, Style] = {names[0]: (_BASELINE, "-")} if names else {}
    for number, name in enumerate(names[1:]):
        turn = number // len(_COLOURS) % len(_STYLES)
        styles[name] = _COLOURS[number % len(_COLOURS)], _STYLES[turn]
    return styles


def plot_study_curves(folder: Path, names: Sequence[str]) -> Path | None:
    """Draw `curves.png` of a study from its `curves.csv`.

    Of each run a thin line, of each variant a bold one, their mean. Those of batches are running means. Lines are
    thinned to `POINTS` points.

    Args:
        folder: of the study.
        names: its variants in the order of their colours, the baseline first.

    Returns:
        the path of the PNG; None where there is nothing to draw.

    Raises:
        DataError: the table is damaged.
        WriteError: the folder cannot be written.
    """
    runs = _read(folder / FILE)
    if not any(xs for run in runs.values() for xs, _ in run):
        return None
    path = folder / PICTURE
    write_bytes(path, _draw(runs, names))
    return path


def _read(path: Path) -> Runs:
    """Read the table row by row, because that of a long study has millions."""
    runs: Runs = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            if tuple(next(rows, ())) != COLUMNS:
                raise damaged(path, f"its header is not {','.join(COLUMNS)}.")
            for row in rows:
                run = runs.get((row[0], row[1], row[2]))
                if run is None:
                    run = runs[row[0], row[1], row[2]] = [(array("d"), array("d")) for _ in PANELS]
                _add(run, row)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise damaged(path, f"cannot be read ({error}).") from error
    return runs


_PLACES = {
    level: [(number, COLUMNS.index(panel.column)) for number, panel in enumerate(PANELS) if panel.level == level]
    for level in ("batch", "epoch")
}
_EPOCH, _STEP = COLUMNS.index("epoch"), COLUMNS.index("step")


def _add(run: Run, row: Sequence[str]) -> None:
    level = row[3]
    x = float(row[_STEP if level == "batch" else _EPOCH]) + 1  # the table counts from 0, the axes what is done
    for number, place in _PLACES[level]:
        if row[place]:
            xs, ys = run[number]
            xs.append(x)
            ys.append(float(row[place]))


def _draw(runs: Runs, names: Sequence[str]) -> bytes:
    begun = {variant for variant, _, _ in runs}
    styles = {name: style for name, style in variant_styles(names).items() if name in begun}
    longest = max((len(run[0][0]) for run in runs.values()), default=0)
    window = max(1, longest // WINDOWS)
    rows = [_drawn(runs, level) for level in ("batch", "epoch")]
    rows = [panels for panels in rows if panels]
    per_line = max(1, int((_WIDTH - _LEFT) / (0.6 + 0.075 * max(map(len, styles), default=1))))
    legend = 0.22 * math.ceil(len(styles) / per_line) + 0.25
    sheet = Sheet(_WIDTH, _TOP + legend + len(rows) * (_PANEL + _GAP) + _FOOT)
    for number, panels in enumerate(rows):
        top = _TOP + legend + number * (_PANEL + _GAP)
        width = (_WIDTH - 0.15) / len(panels) - _LEFT
        for column, panel in enumerate(panels):
            axes = sheet.axes(_LEFT + column * (width + _LEFT), top, width, _PANEL, f"{panel.level} {panel.column}")
            _draw_panel(axes, panel, _lines(runs, panel, window if panel.level == "batch" else 1), styles, window)
    sheet.text(_LEFT, _TOP + legend + len(rows) * (_PANEL + _GAP) - 0.08, _HOW_TO_READ, fontsize=9)
    handles = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2.2, label=drawable(name))
        for name, (colour, style) in styles.items()
    ]
    sheet.figure.legend(handles=handles, loc="upper center", ncols=min(per_line, len(handles)), frameon=False)
    return png_of(sheet.figure)


def _drawn(runs: Runs, level: str) -> list[Panel]:
    return [p for p in PANELS if p.level == level and any(run[PANELS.index(p)][0] for run in runs.values())]


def _lines(runs: Runs, panel: Panel, window: int) -> dict[str, list[Line]]:
    """Return the thinned lines of a panel by variant."""
    found: dict[str, list[Line]] = {}
    for (variant, _, _), run in runs.items():
        xs, ys = (np.frombuffer(values) if values else np.empty(0) for values in run[PANELS.index(panel)])
        if len(xs):
            found.setdefault(variant, []).append(thinned(xs, ys, window))
    return found


def thinned(x: Values, y: Values, window: int, points: int = POINTS) -> Line:
    """Return at most `points` points of a running mean over the last `window` values, fewer at the beginning.

    Args:
        x: (N,) places.
        y: (N,) values, finite.
        window: values in a mean, 1 or more.
        points: most points of the result; the first and the last value are among them.
    """
    sums = np.concatenate([[0.0], np.cumsum(y)])
    ends = np.unique(np.linspace(1, len(y), min(points, len(y))).round().astype(np.int64))
    begins = np.maximum(0, ends - window)
    return x[ends - 1], (sums[ends] - sums[begins]) / (ends - begins)


def mean_line(lines: Sequence[Line]) -> Line:
    """Return the mean of lines as far as all of them go.

    Those that have not come half as far as the longest are left out: a run that has just begun would leave no line.
    """
    farthest = max(x[-1] for x, _ in lines)
    kept = [(x, y) for x, y in lines if 2 * x[-1] >= farthest]
    end = min(x[-1] for x, _ in kept)
    grid = kept[0][0]
    grid = grid[grid <= end]
    return grid, np.mean([np.interp(grid, x, y) for x, y in kept], axis=0)


def _draw_panel(
    axes: Axes, panel: Panel, lines: Mapping[str, Sequence[Line]], styles: Mapping[str, Style], window: int
) -> None:
    ordered = [name for name in styles if name in lines]
    shifts = _shifts(ordered, lines)
    for name in ordered:
        for x, y in lines[name]:
            dot = "." if len(x) == 1 else None
            axes.plot(x + shifts[name], y, color=styles[name][0], linewidth=0.6, alpha=0.35, zorder=2, marker=dot)
    for name in reversed(ordered):  # the baseline on top
        x, y = mean_line(lines[name])
        colour, style = styles[name]
        marker = _MARKERS[style] if len(x) < 3 else None
        axes.plot(x + shifts[name], y, style, color=colour, linewidth=1.8, zorder=3, marker=marker, ms=4)
    if any(shifts.values()):
        axes.margins(x=0.3)
    axes.set_ylim(*_limits([line for name in ordered for line in lines[name]]))
    smoothed = f", running mean of {window}" if panel.level == "batch" and window > 1 else ""
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_xlabel(panel.x_label + smoothed, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _shifts(names: Sequence[str], lines: Mapping[str, Sequence[Line]]) -> dict[str, float]:
    """Return how far to the right each variant is drawn: side by side where all of them have one point alone."""
    apart = _APART if all(len(x) == 1 for name in names for x, _ in lines[name]) else 0.0
    return {name: apart * (place - (len(names) - 1) / 2) for place, name in enumerate(names)}


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the ends of the vertical axis: of all values but those at the very beginning."""
    far = max(x[-1] for x, _ in lines)
    values = np.concatenate([y[x >= min(SKIPPED * far, x[-1])] for x, y in lines])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin
