"""Learning curves from `epochs.csv`, and what is drawn at the end of an epoch.

Figures are drawn with `Figure` alone, without pyplot: no display and no global state, so that a training
process can call this after each epoch.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_scse.files import write_bytes
from seg_scse.report.panel import draw_panel
from seg_scse.report.reading import EPOCHS, read_columns

if TYPE_CHECKING:
    from seg_scse.training.panel import EpochEnd

LOSSES = {"train_loss": "training", "val_loss": "validation"}
SCORES = {
    "dice_per_image": "Dice per image",
    "dice_pooled": "Dice pooled",
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
}
_STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))  # readable without colour
_DPI = 120


def plot_epoch(end: "EpochEnd") -> Mapping[str, NDArray[np.uint8]]:
    """Draw `curves.png` again, and the panel of an epoch that was validated.

    Args:
        end: the epoch, whose row is in `epochs.csv`.

    Returns:
        `panel`, uint8 (H, W, 3), for loggers, where there is one: they draw curves themselves.

    Raises:
        DataError: `epochs.csv` is damaged.
        WriteError: the folder cannot be written.
    """
    plot_curves(end.folder)
    picture = draw_panel(end)
    return {} if picture is None else {"panel": picture}


def plot_curves(run_dir: Path) -> Path | None:
    """Draw `curves.png` of a run: losses, foreground scores on the validation split, learning rate.

    Args:
        run_dir: run folder with `epochs.csv`.

    Returns:
        The path of the PNG, or None where no epoch has been written yet.

    Raises:
        DataError: `epochs.csv` lacks a column or holds a cell that is no number.
        WriteError: the folder cannot be written.
    """
    png = curves_png(run_dir)
    if png is None:
        return None
    path = run_dir / "curves.png"
    write_bytes(path, png)
    return path


def curves_png(run_dir: Path) -> bytes | None:
    """Draw the curves of `plot_curves` in memory; None where no epoch has been written yet.

    Raises:
        DataError: `epochs.csv` lacks a column or holds a cell that is no number.
    """
    path = run_dir / EPOCHS
    if not path.exists():
        return None
    columns = read_columns(path, ("epoch", "lr", *LOSSES, *SCORES))
    if not columns["epoch"]:
        return None
    # The file numbers its epochs from 0; checkpoints and reports count those that are completed.
    columns["epoch"] = [None if epoch is None else epoch + 1 for epoch in columns["epoch"]]
    figure = Figure(figsize=(12, 3.4), dpi=_DPI)
    loss, score, rate = figure.subplots(1, 3)
    figure.subplots_adjust(
        left=0.045, right=0.99, bottom=0.15, top=0.9, wspace=0.22
    )  # constrained layout takes twice the time
    _draw(loss, columns, LOSSES, "Loss")
    _draw(score, columns, SCORES, "Validation score, foreground")
    _draw(rate, columns, {"lr": "learning rate"}, "Learning rate")
    score.set_ylim(0, 1)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter("{x:g}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(axes: Axes, columns: dict[str, list[float | None]], labels: dict[str, str], title: str) -> None:
    """One panel; empty cells are skipped, so that validations several epochs apart stay connected."""
    for (name, label), (colour, style) in zip(labels.items(), _STYLES, strict=False):
        points = [(x, y) for x, y in zip(columns["epoch"], columns[name], strict=True) if None not in (x, y)]
        marker = "o" if len(points) < 20 else None  # a line of one point would be invisible
        axes.plot(
            *zip(*points, strict=True) if points else ([], []), style, color=colour, marker=marker, ms=3, label=label
        )
    epochs = [epoch for epoch in columns["epoch"] if epoch is not None]
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("epochs completed")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(labels) > 1:
        axes.legend(frameon=False, fontsize=8)
