"""The channel profiles of the gates: what each channel's gate is in different groups of tiles."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seg_scse.report import overlays
from seg_scse.report.explained import Arrays, Explanation, Stage
from seg_scse.report.sheet import Sheet, drawable, png_of

STYLES = ("-", "--", "-.", ":")
PER_ROW = 3
PLOT = (3.3, 1.9)
STEP = (3.95, 2.85)


def draw_profiles(explanation: Explanation, arrays: Arrays) -> bytes | None:
    """Draw mean and standard deviation of each stage's channel gates in each group of tiles.

    Channels are ordered by their mean over all tiles, so that curves can be told apart.

    Args:
        explanation: with a study.
        arrays: for each site with channel gates `SITE.gates` (n, C), `SITE.mean` and `SITE.std` (G, C).

    Returns:
        A PNG; None where nothing was studied or no stage has channel gates.
    """
    stages = [stage for stage in explanation.stages if f"{stage.site}.gates" in arrays]
    if explanation.study is None or not stages:
        return None
    rows = -(-len(stages) // PER_ROW)
    sheet = Sheet(PER_ROW * STEP[0] + 0.25, rows * STEP[1] + 0.45)
    for number, stage in enumerate(stages):
        row, column = divmod(number, PER_ROW)
        axes = sheet.axes(0.6 + column * STEP[0], 0.8 + row * STEP[1], *PLOT, f"{stage.site} profile")
        _draw(axes, explanation, stage, arrays)
    handles, labels = sheet.figure.axes[0].get_legend_handles_labels()
    sheet.figure.legend(handles, labels, loc="upper left", ncols=6, frameon=False, fontsize=9)
    sheet.text(
        0.18, 0.36, "Line: mean of each channel's gate in the group. Band: one standard deviation.", color="#555555"
    )
    return png_of(sheet.figure)


def _draw(axes: Axes, explanation: Explanation, stage: Stage, arrays: Arrays) -> None:
    assert explanation.study is not None
    found = explanation.study.stages[stage.site]
    order = np.argsort(-arrays[f"{stage.site}.gates"].mean(0), kind="stable")
    ranks = np.arange(1, len(order) + 1)
    for number, group in enumerate(explanation.study.groups):
        mean, std = (arrays[f"{stage.site}.{name}"][number][order] for name in ("mean", "std"))
        colour = [part / 255 for part in group_colour(explanation, group.name, number)]
        label = drawable(f"{group.name} (n = {group.images})").replace("$", r"\$")
        axes.plot(ranks, mean, STYLES[number % len(STYLES)], color=colour, linewidth=1.4, label=label)
        axes.fill_between(ranks, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)
    eta = "n/a" if found.eta_squared is None else f"{found.eta_squared:.2f}"
    axes.set_title(f"{stage.site}: {stage.channels} channels, η² = {eta}", loc="left", fontsize=10)
    axes.set(xlim=(0.5, len(order) + 0.5), ylim=(0, stage.gain))
    axes.set_xlabel("channels, by their mean gate", fontsize=9)
    axes.set_ylabel("gate c", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def group_colour(explanation: Explanation, name: str, number: int) -> overlays.Colour:
    """Colour of a group: that of the class it is named after, else one of the same palette."""
    if name in explanation.classes:
        return overlays.class_colour(explanation.classes.index(name))
    if len(explanation.classes) > 2:
        return overlays.BACKGROUND
    return overlays.PALETTE[(3, 1, 0)[number % 3]]
