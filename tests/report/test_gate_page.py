from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seg_scse.report import overlays
from seg_scse.report.explained import Explanation, read_arrays, read_explanation
from seg_scse.report.gate_page import draw_page, on_pixels
from seg_scse.report.sheet import drawable, png_of


def drawn(folder: Path) -> tuple[Explanation, dict[str, np.ndarray], Figure]:
    explanation = read_explanation(folder)
    arrays = read_arrays(folder / explanation.pages[0].arrays)
    return explanation, arrays, draw_page(explanation, explanation.pages[0], arrays)


def named(figure: Figure, label: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_label() == label]
    return axes


def texts(figure: Figure) -> str:
    parts = [text.get_text() for text in figure.texts]
    parts += [text.get_text() for axes in figure.axes for text in axes.texts]
    parts += [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join(parts)


def test_features_before_and_after_share_one_colour_scale(make_explanation):
    _, arrays, figure = drawn(make_explanation())
    before, after = (named(figure, f"decoder.1 {name}").images[0] for name in ("before", "after"))
    assert before.get_clim() == after.get_clim()
    both = np.concatenate([arrays["before.decoder.1"].ravel(), arrays["after.decoder.1"].ravel()])
    assert np.percentile(both, 98) < before.get_clim()[1] <= both.max()
    assert before.get_cmap().name == after.get_cmap().name == "cividis"


def test_gates_are_drawn_in_their_fixed_range(make_explanation):
    folder = make_explanation(
        stages=[
            {"site": "decoder.1", "type": "scse", "channels": 8, "hidden": 4, "gain": 1.0},
            {"site": "decoder.2", "type": "scse", "channels": 16, "hidden": 8, "gain": 2.0},
        ]
    )
    _, _, figure = drawn(folder)
    for site, gain in (("decoder.1", 1.0), ("decoder.2", 2.0)):
        assert named(figure, f"{site} spatial").images[0].get_clim() == (0.0, gain)
        assert named(figure, f"{site} channel strip").images[0].get_clim() == (0.0, gain)
        assert named(figure, f"{site} channel").get_ylim() == (0.0, gain)
        assert named(figure, f"{site} ratio").images[0].get_clim() == (0.0, 2.0)


def test_channel_gates_are_sorted_and_described(make_explanation):
    _, arrays, figure = drawn(make_explanation())
    gates = arrays["channel.decoder.2"]
    assert named(figure, "decoder.2 channel strip").images[0].get_array()[0].tolist() == sorted(gates, reverse=True)
    title = named(figure, "decoder.2 channel strip").get_title(loc="left")
    assert f"mean {gates.mean():.2f}, {gates.min():.2f} to {gates.max():.2f}" in title
    assert "mean of 16" in named(figure, "decoder.2 channel").get_xlabel()


def test_ratio_is_after_over_before(make_explanation):
    _, _, figure = drawn(make_explanation())
    ratio = named(figure, "decoder.1 ratio").images[0].get_array().data
    assert np.nanmedian(ratio) == pytest.approx(3.0)
    assert "median × 3.00" in named(figure, "decoder.1 ratio").get_title(loc="left")


def test_header_of_a_stage_names_it(make_explanation):
    text = texts(drawn(make_explanation())[2])
    assert "decoder.2" in text
    assert "scse, 16 channels, 8 hidden units, 8 × 8 cells of 4 px" in text


def test_flags_of_the_study_are_on_the_page(make_explanation):
    text = texts(drawn(make_explanation(flags=("constant",)))[2])
    assert "Over the test split: channel gate constant, spatial gate constant" in text


def test_block_without_separable_gates_shows_before_and_after_only(make_explanation):
    _, _, figure = drawn(make_explanation(gates=((), ("channel",), ("spatial",))))
    assert not named(figure, "decoder.1 spatial").images
    assert not named(figure, "decoder.1 channel strip").images
    assert not named(figure, "decoder.2 spatial").images
    assert not named(figure, "decoder.3 channel strip").images
    assert named(figure, "decoder.3 spatial").images
    assert named(figure, "decoder.1 ratio").images
    text = texts(figure)
    assert "no separate\nspatial gate" in text
    assert "no separate\nchannel gate" in text


def test_page_says_that_it_shows_a_tile_and_where_it_lies(make_explanation):
    window = {"y": 5, "x": 17, "height": 32, "width": 30, "chosen": "component"}
    _, _, figure = drawn(make_explanation(window=window))
    text = texts(figure)
    assert "Only a tile of 32 × 30 px (height × width), around the largest predicted object" in text
    assert "row 5, column 17 of 40 × 64 px" in text
    (frame,) = named(figure, "overview").patches
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (17, 5, 30, 32)


def test_page_of_a_whole_image_has_no_overview(make_explanation):
    _, _, figure = drawn(make_explanation())
    assert "The whole image, 32 × 32 px" in texts(figure)
    assert "overview" not in [axes.get_label() for axes in figure.axes]


def test_image_without_truth_is_outlined_by_its_prediction(make_explanation):
    _, _, figure = drawn(make_explanation(truth=False))
    labels = [axes.get_label() for axes in figure.axes]
    assert "Truth" not in labels
    assert "Errors" not in labels
    assert "below: predicted objects" in texts(figure)
    assert "missed" not in texts(figure)


def test_truth_prediction_and_errors_have_the_colours_of_the_report(make_explanation):
    _, arrays, figure = drawn(make_explanation())
    layer = named(figure, "Truth").images[1].get_array()
    assert np.array_equal(layer, np.asarray(overlays.label_layer(arrays["truth"]).convert("RGBA")))
    errors = named(figure, "Errors").images[1].get_array()
    assert np.array_equal(
        errors, np.asarray(overlays.error_layer(arrays["truth"], arrays["prediction"]).convert("RGBA"))
    )


def test_no_part_of_a_page_overlaps_another_or_leaves_it(make_explanation):
    window = {"y": 5, "x": 17, "height": 32, "width": 32, "chosen": "component"}
    folder = make_explanation(window=window, classes=("background", "a class with a rather long name"))
    _, _, figure = drawn(folder)
    png_of(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(axes.get_label(), axes.get_tightbbox(renderer)) for axes in figure.axes]
    boxes += [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    for name, box in boxes:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        assert box.y1 <= figure.bbox.y1, name
    for index, (name, box) in enumerate(boxes):
        for other, second in boxes[index + 1 :]:
            width = min(box.x1, second.x1) - max(box.x0, second.x0)
            height = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(width, height) < 1, (name, other)


def test_cells_are_spread_over_their_pixels(make_explanation):
    folder = make_explanation(window={"y": 0, "x": 0, "height": 6, "width": 5, "chosen": "whole"})
    page = read_explanation(folder).pages[0]
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert on_pixels(values, (2, 2), 8, page).tolist() == [[1, 1, 1, 1, 2]] * 4 + [[3, 3, 3, 3, 4]] * 2


def test_names_are_drawn_as_they_are_and_never_as_formulas(make_explanation):
    name = "a$x^{$\\frac _ 細胞 \n\x1b \udce9"
    folder = make_explanation(ids=(name,), classes=("background", "$\\bad{$ 細"))
    figure = drawn(folder)[2]
    png_of(figure)
    assert "a$x^{$\\frac _ \\u7d30\\u80de \\n\\x1b \\udce9" in texts(figure)


def test_drawable_keeps_what_the_font_has():
    assert drawable("Zelle ä × η² naïve") == "Zelle ä × η² naïve"
