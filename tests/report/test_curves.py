import io

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report import plot_curves

FIRST = "1,10,1e-3,0.9,0.8,0.5,0.55,0.4,0.45,3.5"
UNVALIDATED = "2,20,9e-4,0.7,,,,,,3.5"
THIRD = "3,30,8e-4,0.6,0.5,0.7,0.75,0.6,0.65,3.5"


def test_no_epoch_yet_gives_no_file(tmp_path, make_epochs):
    assert plot_curves(tmp_path) is None
    make_epochs(tmp_path, [])
    assert plot_curves(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("rows", [[FIRST], [UNVALIDATED], [FIRST, UNVALIDATED, THIRD]])
def test_curves_are_a_png_that_is_not_blank(tmp_path, make_epochs, rows):
    make_epochs(tmp_path, rows)
    path = plot_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    image = Image.open(io.BytesIO(path.read_bytes()))
    assert image.format == "PNG"
    assert np.asarray(image.convert("L")).std() > 5
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".partial")] == []


def test_every_series_is_drawn_and_empty_cells_are_skipped(tmp_path, make_epochs, drawn_figures):
    make_epochs(tmp_path, [FIRST, UNVALIDATED, THIRD])
    plot_curves(tmp_path)
    loss, score, rate = drawn_figures[0].axes
    series = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in loss.lines}
    # The file counts epochs from 0, a checkpoint those that are completed: the curves agree with the checkpoint.
    assert series == {"training": ([2, 3, 4], [0.9, 0.7, 0.6]), "validation": ([2, 4], [0.8, 0.5])}
    assert loss.get_xlabel() == "epochs completed"
    assert [list(line.get_ydata()) for line in score.lines] == [[0.5, 0.7], [0.55, 0.75], [0.4, 0.6], [0.45, 0.65]]
    assert list(rate.lines[0].get_ydata()) == [1e-3, 9e-4, 8e-4]


@pytest.mark.parametrize("rows", [[FIRST], [FIRST, UNVALIDATED], [FIRST, UNVALIDATED, THIRD]])
def test_epochs_are_whole_ticks(tmp_path, make_epochs, drawn_figures, rows):
    make_epochs(tmp_path, rows)
    plot_curves(tmp_path)
    for axes in drawn_figures[0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(float(tick).is_integer() for tick in ticks)


def test_a_single_epoch_is_visible(tmp_path, make_epochs, drawn_figures):
    make_epochs(tmp_path, [FIRST])
    plot_curves(tmp_path)
    assert {line.get_marker() for axes in drawn_figures[0].axes for line in axes.lines} == {"o"}


def test_no_figure_stays_behind(tmp_path, make_epochs):
    make_epochs(tmp_path, [FIRST])
    plot_curves(tmp_path)
    assert Gcf.figs == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("epoch,step\n1,2\n", r"lacks the columns \['dice_per_image'"),
        ("", "is not a CSV file with a header"),
    ],
)
def test_damaged_table_is_named_with_the_cure(tmp_path, content, problem):
    (tmp_path / "epochs.csv").write_text(content)
    with pytest.raises(DataError, match=rf"epochs\.csv: {problem}(?s:.*)`python train\.py` writes this file"):
        plot_curves(tmp_path)


def test_cell_that_is_no_number_is_named(tmp_path, make_epochs):
    make_epochs(tmp_path, [FIRST.replace("0.9", "high")])
    with pytest.raises(DataError, match=r"epochs\.csv: could not convert string to float: 'high'"):
        plot_curves(tmp_path)
