import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report.study_curves import (
    COLUMNS,
    POINTS,
    mean_line,
    plot_study_curves,
    thinned,
    variant_styles,
)


def write_table(folder, rows):
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)]
    (folder / "curves.csv").write_text("\n".join(lines) + "\n")


def batches(variant, seed, losses, score=lambda loss: 1 - loss, fold=""):
    return [(variant, seed, fold, "batch", 0, k, loss, score(loss), "", "") for k, loss in enumerate(losses)]


def epochs(variant, seed, values, fold=""):
    return [(variant, seed, fold, "epoch", k, 10 * (k + 1), v, "", v + 1, 1 - v) for k, v in enumerate(values)]


def drawn(figure):
    """Lines by axes: (colour, style, bold) and the points."""
    return {
        axes.get_label(): [
            (line.get_color(), line.get_linestyle(), line.get_linewidth() > 1, line.get_xydata().tolist())
            for line in axes.lines
        ]
        for axes in figure.axes
    }


def test_runs_are_thin_lines_and_their_mean_a_bold_one(tmp_path, drawn_figures):
    write_table(tmp_path, epochs("none", 0, [0.5, 0.25]) + epochs("none", 1, [0.75, 0.5]) + epochs("cse", 0, [0.5]))
    assert plot_study_curves(tmp_path, ["none", "cse"]) == tmp_path / "curves.png"
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 5
    lines = drawn(drawn_figures[0])
    assert list(lines) == ["epoch loss", "epoch val_loss", "epoch val_score"]
    black = [points for colour, _, bold, points in lines["epoch loss"] if colour == "#000000" and not bold]
    assert black == [[[1, 0.5], [2, 0.25]], [[1, 0.75], [2, 0.5]]]
    assert [points for colour, _, bold, points in lines["epoch loss"] if bold] == [
        [[1, 0.5]],
        [[1, 0.625], [2, 0.375]],
    ]
    assert [points for _, _, bold, points in lines["epoch val_score"] if bold][1] == [[1, 0.375], [2, 0.625]]
    (legend,) = drawn_figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["none", "cse"]


def test_batches_are_running_means_and_say_of_how_many(tmp_path, drawn_figures):
    write_table(tmp_path, batches("none", 0, [1.0, 0.0] * 40) + batches("cse", 0, [0.5] * 3))
    plot_study_curves(tmp_path, ["none", "cse"])
    loss, score = drawn_figures[0].axes
    assert loss.get_xlabel() == score.get_xlabel() == "batches, running mean of 2"
    (values,) = [points for colour, _, bold, points in drawn(drawn_figures[0])["batch loss"] if colour == "#000000"][:1]
    assert values[0] == [1, 1.0]
    assert {value for _, value in values[1:]} == {0.5}


def test_a_panel_without_values_is_not_drawn(tmp_path, drawn_figures):
    write_table(tmp_path, batches("none", 0, [1.0, 0.5], score=lambda _: ""))
    plot_study_curves(tmp_path, ["none"])
    assert list(drawn(drawn_figures[0])) == ["batch loss"]


def test_a_variant_without_a_run_changes_no_colour_and_is_not_in_the_legend(tmp_path, drawn_figures):
    write_table(tmp_path, epochs("cse", 0, [0.5, 0.25]))
    plot_study_curves(tmp_path, ["none", "frozen", "cse"])
    assert {colour for colour, *_ in drawn(drawn_figures[0])["epoch loss"]} == {
        variant_styles(["none", "frozen", "cse"])["cse"][0]
    }
    assert [text.get_text() for text in drawn_figures[0].legends[0].get_texts()] == ["cse"]


@pytest.mark.parametrize("rows", [[], ["none,0,,batch,0,0,,,,"]], ids=["no run", "no finite value"])
def test_a_study_without_values_has_no_figure(tmp_path, rows):
    write_table(tmp_path, [row.split(",") for row in rows])
    assert plot_study_curves(tmp_path, ["none"]) is None
    assert not (tmp_path / "curves.png").exists()


def test_every_fold_is_a_line(tmp_path, drawn_figures):
    write_table(tmp_path, epochs("none", 0, [0.5, 0.25], fold=0) + epochs("none", 0, [0.75, 0.5], fold=1))
    plot_study_curves(tmp_path, ["none"])
    assert len([1 for _, _, bold, _ in drawn(drawn_figures[0])["epoch loss"] if not bold]) == 2


def test_the_first_steps_do_not_stretch_the_axis(tmp_path, drawn_figures):
    write_table(tmp_path, epochs("none", 0, [100.0, 1.0, *[0.25, 0.5] * 10]))
    plot_study_curves(tmp_path, ["none"])
    low, high = drawn_figures[0].axes[0].get_ylim()
    assert 0.2 < low < 0.25
    assert 0.5 < high < 0.55


def test_long_lines_are_thinned_to_their_ends():
    x, y = thinned(np.arange(1.0, 100_001), np.arange(100_000.0), 2500)
    assert len(x) == POINTS
    assert (x[0], y[0]) == (1, 0)
    assert (x[-1], y[-1]) == (100_000, 100_000 - 1 - 2499 / 2)


def test_a_run_that_has_just_begun_does_not_shorten_the_mean():
    whole, short, begun = np.arange(1.0, 11), np.arange(1.0, 8), np.arange(1.0, 3)
    x, y = mean_line([(whole, whole), (short, short + 1), (begun, begun * 100)])
    assert x.tolist() == short.tolist()
    assert np.allclose(y, short + 0.5)


def test_nineteen_variants_can_be_told_apart():
    names = [f"v{number}" for number in range(19)]
    styles = variant_styles(names)
    assert list(styles) == names
    assert styles["v0"] == ("#000000", "-")
    assert len(set(styles.values())) == 19
    assert not any(colour == "#000000" for name, (colour, _) in styles.items() if name != "v0")


def test_a_usual_study_has_a_colour_for_each_variant():
    usual = ["none", "cse", "sse", "scse-add", "scse-max", "wider", "constant", "identity"]
    assert len({colour for colour, _ in variant_styles(usual).values()}) == len(usual)


def test_single_epochs_stand_side_by_side_with_the_dot_of_each_run(tmp_path, drawn_figures):
    names = ["none", *"abcdefgh"]
    write_table(tmp_path, [row for name in names for seed in (0, 1) for row in epochs(name, seed, [0.5 + seed / 4])])
    plot_study_curves(tmp_path, names)
    axes = drawn_figures[0].axes[0]
    means = [line for line in axes.lines if line.get_linewidth() > 1]
    assert len({line.get_xdata()[0] for line in means}) == len(names)
    assert all(abs(line.get_xdata()[0] - 1) < 0.5 for line in axes.lines)
    assert {line.get_marker() for line in axes.lines if line.get_linewidth() < 1} == {"."}
    assert {line.get_marker() for line in means} == {"o", "s"}  # the ninth has the colour of the second
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_a_damaged_table_is_named(tmp_path):
    write_table(tmp_path, [("none", 0, "", "batch", 0, "x", 1, 1, "", "")])
    with pytest.raises(DataError, match=r"curves\.csv: cannot be read \(could not convert"):
        plot_study_curves(tmp_path, ["none"])
    (tmp_path / "curves.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"curves\.csv: its header is not variant,seed,fold"):
        plot_study_curves(tmp_path, ["none"])
