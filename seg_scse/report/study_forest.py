"""The forest plot of a study as a picture, for slides and papers."""

from matplotlib.axes import Axes

from seg_scse.report.comparison_wording import BETTER, WORSE
from seg_scse.report.reading import visible
from seg_scse.report.sheet import Sheet, png_of
from seg_scse.report.study_figures import Entry, axis, forest_groups, numbers
from seg_scse.report.study_reading import Study
from seg_scse.report.study_tables import shortened
from seg_scse.report.study_wording import level_text
from seg_scse.report.wording import count

_COLOURS = {BETTER: "#0072b2", WORSE: "#d55e00"}  # those of the page
_OTHER = "#5a636e"
_BAND, _GRID = "#e9ecef", "#d9dee3"
_WIDTH, _LEFT, _PLOT = 9.6, 2.75, 4.3  # inches: the figure, the names, the plot
_HEAD, _ROW, _TOP, _FOOT = 0.3, 0.34, 0.62, 0.78


def forest_png(study: Study) -> bytes:
    """Draw the differences with their intervals, the difference of each seed, and the baseline's spread over seeds."""
    groups = forest_groups(study)
    height = sum(_HEAD + _ROW * len(entries) for _, entries in groups)
    sheet = Sheet(_WIDTH, _TOP + height + _FOOT)
    _title(sheet, study)
    axes = sheet.axes(_LEFT, _TOP, _PLOT, height, "differences")
    _frame(axes, study, height)
    y = 0.0
    for heading, entries in groups:
        sheet.text(0.15, _TOP + y + 0.1, shortened(heading, 44), weight="bold")
        y += _HEAD
        for entry in entries:
            middle = y + _ROW / 2
            sheet.text(0.3, _TOP + middle - 0.065, shortened(entry.name, 32))
            sheet.text(_LEFT + _PLOT + 0.15, _TOP + middle - 0.065, numbers(study, entry.row))
            _draw(axes, entry, middle)
            y += _ROW
    _foot(sheet, study, _TOP + height)
    return png_of(sheet.figure)


def _title(sheet: Sheet, study: Study) -> None:
    made = study.declaration
    sheet.text(0.15, 0.12, shortened(study.name, 90), fontsize=12, weight="bold")
    sheet.text(
        0.15,
        0.38,
        f"Difference of {study.per_image}, {visible(made.split)} split, {count(study.data.images, 'image')}, "
        f"{count(len(made.seeds), 'seed')}; mean and {level_text(study)} interval",
        color=_OTHER,
    )


def _frame(axes: Axes, study: Study, height: float) -> None:
    reach, ticks, sd = axis(study)
    axes.set(xlim=(-1.04 * reach, 1.04 * reach), ylim=(height, 0), yticks=[])
    if sd:
        axes.axvspan(-sd, sd, color=_BAND, linewidth=0)
    axes.set_xticks([value for value, _ in ticks], [label for _, label in ticks], fontsize=9)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw(axes: Axes, entry: Entry, y: float) -> None:
    colour, row = _COLOURS.get(entry.finding, _OTHER), entry.row
    seeds = [one.difference for one in row.by_seed if one.difference is not None]
    axes.plot(seeds, [y + 0.1] * len(seeds), "o", ms=3.2, color=colour, alpha=0.55, markeredgewidth=0)
    if row.low is not None and row.high is not None:
        axes.plot((row.low, row.high), (y, y), color=colour, linewidth=2, solid_capstyle="butt")
    if row.difference is not None:
        axes.plot([row.difference], [y], "o", ms=6.5, color=colour)


def _foot(sheet: Sheet, study: Study, y: float) -> None:
    unit = study.unit(study.metric)
    lower = ", lower is better" if unit else ""
    label = f"{unit or 'points (hundredths of the score)'}{lower}"
    sheet.text(_LEFT + _PLOT / 2, y + 0.27, label, ha="center")
    band = "" if not study.baseline.metrics[study.metric].sd else "; band: one SD of the baseline over its seeds"
    sheet.text(
        _LEFT - 2.6, y + 0.5, f"Small dots: single seeds{band}. Blue: better, orange: worse, grey: not distinguishable",
        color=_OTHER, fontsize=8,
    )  # fmt: skip
