"""The table and the picture of a search for a learning rate."""

import csv
import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seg_scse.files import write_bytes, write_text
from seg_scse.training.lr_finder import Finding

TABLE, PICTURE = "lr_finder.csv", "lr_finder.png"
COLUMNS = ("step", "lr", "loss", "smoothed_loss")

_DPI = 120


def write_finding(finding: Finding, folder: Path) -> list[Path]:
    """Write `lr_finder.csv`, a row for each step, and `lr_finder.png`, the loss by the learning rate.

    Args:
        finding: what the search saw.
        folder: made where it is missing; files of an earlier search are replaced.

    Returns:
        the two files.

    Raises:
        WriteError: the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((point.step, point.lr, point.loss, point.smoothed) for point in finding.points)
    write_text(folder / TABLE, text.getvalue())
    write_bytes(folder / PICTURE, curve_png(finding))
    return [folder / TABLE, folder / PICTURE]


def curve_png(finding: Finding) -> bytes:
    """Draw the loss of each step, the smoothed loss and the suggested rates over a logarithmic axis."""
    figure = Figure(figsize=(7, 4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    rates = [point.lr for point in finding.points]
    smoothed = [point.smoothed for point in finding.points]
    axes.plot(rates, [point.loss for point in finding.points], ".", ms=3, color="#999999", label="each step")
    axes.plot(rates, smoothed, color="#0072B2", label="smoothed")
    for rate, label, style in ((finding.valley, "valley", "--"), (finding.tenth, "lowest loss / 10", ":")):
        if rate is not None:
            axes.axvline(rate, linestyle=style, color="#D55E00", label=f"{label}: {rate:.2g}")
    _decorate(axes)
    # the rise at the end would flatten all the rest
    lowest, highest = min(point.loss for point in finding.points), min(max(smoothed), 2 * smoothed[0])
    margin = 0.1 * (highest - lowest) or 1.0
    axes.set_ylim(lowest - margin, highest + margin)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _decorate(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
