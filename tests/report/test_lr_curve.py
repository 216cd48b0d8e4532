import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from seg_scse.report.lr_curve import curve_png, write_finding
from seg_scse.training.lr_finder import Finding, Point

LOSSES = [1.0, 0.9, 0.7, 0.4, 0.5, 40.0]


def finding(valley: float | None = 1e-4, tenth: float | None = 1e-5) -> Finding:
    points = tuple(Point(k, 10.0 ** (k - 7), loss, loss / 2 + 0.25) for k, loss in enumerate(LOSSES))
    return Finding(20, points, "the loss was 4 times its lowest value at 0.01", valley, tenth)


def test_the_table_has_every_step(tmp_path: Path) -> None:
    table, picture = write_finding(finding(), tmp_path / "new")
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [int(row["step"]) for row in rows] == list(range(6))
    assert [float(row["lr"]) for row in rows] == [10.0 ** (k - 7) for k in range(6)]
    assert [float(row["loss"]) for row in rows] == LOSSES
    assert [float(row["smoothed_loss"]) for row in rows] == [loss / 2 + 0.25 for loss in LOSSES]
    assert np.asarray(Image.open(picture).convert("L")).std() > 5
    assert sorted(path.name for path in tmp_path.joinpath("new").iterdir()) == ["lr_finder.csv", "lr_finder.png"]


def test_the_picture_shows_both_suggestions_and_not_the_whole_rise(drawn_figures: list[Figure]) -> None:
    curve_png(finding())
    [axes] = drawn_figures[0].axes
    labels = {line.get_label(): line for line in axes.lines}
    assert list(labels) == ["each step", "smoothed", "valley: 0.0001", "lowest loss / 10: 1e-05"]
    assert list(labels["valley: 0.0001"].get_xdata()) == [1e-4, 1e-4]
    assert axes.get_xscale() == "log"
    low, high = axes.get_ylim()
    assert low < min(LOSSES)
    assert 1.0 < high < 4.0


def test_without_a_suggestion_the_curve_alone_is_drawn(drawn_figures: list[Figure]) -> None:
    curve_png(finding(None, None))
    assert [line.get_label() for line in drawn_figures[0].axes[0].lines] == ["each step", "smoothed"]


def test_a_constant_loss_can_be_drawn() -> None:
    points = tuple(Point(k, 10.0 ** (k - 7), 0.5, 0.5) for k in range(3))
    assert curve_png(Finding(20, points, "all 20 steps were done", None, None)).startswith(b"\x89PNG")
