"""One page of pictures per image: what each gate of the network did there."""

import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.report import overlays
from seg_scse.report.explained import Arrays, Explanation, Page, Stage
from seg_scse.report.sheet import Sheet, drawable
from seg_scse.report.wording import count

GATE, FEATURE, RATIO, ACTIVATION = "viridis", "cividis", "PuOr_r", "inferno"
"""Colour maps that are read with red-green and blue-yellow colour blindness, and all but `RATIO` in grey too."""

HIGHEST_RATIO = 2.0
PANEL = 2.56
"""Side of a picture in inches: the 256 pixels of a usual tile, one to one."""
HEAD, ROW = 1.0 + PANEL + 0.85, PANEL + 1.25
COLUMNS = {"spatial": 0.25, "channel": 3.85, "before": 6.4, "after": 9.11, "ratio": 12.45, "activation": 15.8}
WIDTH = 19.2

Map = NDArray[np.floating[Any]]
Outline = NDArray[np.bool_]

CAPTIONS = {
    "spatial": "All channels are multiplied by s at each place: bright passes, dark is held back.",
    "channel": "Each channel is multiplied by its own c, everywhere alike.",
    "before": "Strength of all channels together (mean absolute value), both pictures in one colour scale.",
    "ratio": "Orange: strengthened by the gate; purple: weakened; white: unchanged.",
    "activation": "Seg-Grad-CAM: where the features before the gate speak for the class.",
}
"""What a column of pictures shows, written above the first of them."""


def draw_page(explanation: Explanation, page: Page, arrays: Arrays) -> Figure:
    """Draw an image, and a row of pictures for each gate.

    Args:
        explanation: what holds for all pages.
        page: the image and its window.
        arrays: `image` (H, W, C) uint8, `prediction` and optionally `truth` (H, W) uint8 of the window, optionally
            `overview` of the whole image; and for each site `before.SITE`, `after.SITE` and `activation.SITE` (h, w),
            optionally `spatial.SITE` (h, w) and `channel.SITE` (C,).
    """
    sheet = Sheet(WIDTH, HEAD + ROW * len(explanation.stages) + 0.1)
    _title(sheet, explanation, page)
    _image_row(sheet, explanation, page, arrays)
    for number, stage in enumerate(explanation.stages):
        _stage_row(sheet, HEAD + number * ROW, explanation, page, stage, arrays)
    return sheet.figure


def _title(sheet: Sheet, explanation: Explanation, page: Page) -> None:
    name = page.id if len(page.id) <= 130 else f"{page.id[:70]}…{page.id[-50:]}"
    kind = f", one of the {page.kind} images of the {explanation.split} split" if page.kind else ""
    sheet.text(COLUMNS["spatial"], 0.18, name, fontsize=13, weight="bold")
    sheet.text(
        COLUMNS["spatial"], 0.47, f"{explanation.name}, epoch {explanation.checkpoint.epoch}{kind}. {_place(page)}"
    )


def _place(page: Page) -> str:
    window = page.window
    if window.chosen == "whole":
        return f"The whole image, {window.height} × {window.width} px (height × width)."
    reason = "around the largest predicted object" if window.chosen == "component" else "in the centre"
    return (
        f"Only a tile of {window.height} × {window.width} px (height × width), {reason}; its upper left corner is at "
        f"row {window.y}, column {window.x} of {page.size[0]} × {page.size[1]} px."
    )


def _image_row(sheet: Sheet, explanation: Explanation, page: Page, arrays: Arrays) -> None:
    image, prediction, truth = _rgb(arrays["image"]), arrays["prediction"], arrays.get("truth")
    pictures = [("Image", image, None), ("Prediction", image, overlays.label_layer(prediction))]
    if truth is not None:
        pictures.insert(1, ("Truth", image, overlays.label_layer(truth)))
        pictures.append(("Errors", image, overlays.error_layer(truth, prediction)))
    x, y = COLUMNS["spatial"], 1.0
    for title, picture, layer in pictures:
        axes = _bare(sheet.axes(x, y, PANEL, PANEL, title), title)
        axes.imshow(picture)
        if layer is not None:
            axes.imshow(np.asarray(layer.convert("RGBA")), interpolation="nearest")
        x += PANEL + 0.15
    if "overview" in arrays:
        _overview(_bare(sheet.axes(x, y, PANEL, PANEL, "overview"), "Where the tile lies"), page, arrays["overview"])
        x += PANEL + 0.15
    _legend(sheet, x + 0.1, y, explanation, truth is not None)
    for column, caption in CAPTIONS.items():
        lines = textwrap.wrap(caption, 70 if column == "before" else 36)
        sheet.text(COLUMNS[column], 1.0 + PANEL + 0.15, *lines, **_CAPTION)


def _overview(axes: Axes, page: Page, small: NDArray[np.uint8]) -> None:
    height, width = page.size
    axes.imshow(_rgb(small), extent=(0, width, height, 0))
    frame = page.window
    axes.add_patch(
        Rectangle(
            (frame.x, frame.y), frame.width, frame.height, fill=False, edgecolor="#ffb000", linewidth=2, clip_on=False
        )
    )


def _legend(sheet: Sheet, x: float, y: float, explanation: Explanation, with_truth: bool) -> None:
    entries = [(overlays.class_colour(index), name) for index, name in enumerate(explanation.classes) if index][:8]
    if with_truth:
        entries += [(overlays.MISSED, "error: missed"), (overlays.FALSE, "error: false")]
        entries += [(overlays.CONFUSED, "error: wrong class")] * (len(explanation.classes) > 2)
    for number, (colour, name) in enumerate(entries):
        top = y + 0.2 * number
        sheet.axes(x, top + 0.02, 0.13, 0.13, f"legend {number}").set(
            xticks=[], yticks=[], facecolor=[part / 255 for part in colour]
        )
        sheet.text(x + 0.22, top, name[:24])
    outline = "true" if with_truth else "predicted"
    sheet.text(x, y + 0.2 * len(entries) + 0.1, "Thin outlines in the pictures", f"below: {outline} objects")


def _stage_row(sheet: Sheet, y: float, explanation: Explanation, page: Page, stage: Stage, arrays: Arrays) -> None:
    site, cells = stage.site, page.cells[stage.site]
    bottleneck = f", {count(stage.hidden, 'hidden unit')}" if stage.hidden else ""
    step = explanation.tile / cells[0]
    facts = (
        f"{stage.type}, {count(stage.channels, 'channel')}{bottleneck}, {cells[0]} × {cells[1]} cells of {step:g} px"
    )
    sheet.axes(0.25, y + 0.02, WIDTH - 0.5, 0.005, f"{site} rule").set(xticks=[], yticks=[])
    sheet.text(0.25, y + 0.12, site, fontsize=11, weight="bold")
    sheet.text(0.5 + 0.115 * len(site), y + 0.135, facts)
    flags = [f"{gate} gate {flag}" for gate, flag in explanation.flags(site)]
    if flags:
        noticed = f"Over the {explanation.split} split: {', '.join(flags)}"
        sheet.text(COLUMNS["ratio"], y + 0.135, noticed, color="#b03000")
    maps = {
        name: on_pixels(arrays[f"{name}.{site}"], cells, explanation.tile, page)
        for name in ("spatial", "before", "after", "activation")
        if f"{name}.{site}" in arrays
    }
    outline = _objects(arrays)
    top = y + 0.75
    _spatial_panel(sheet, top, stage, maps.get("spatial"), outline)
    _channel_panel(sheet, top, stage, arrays.get(f"channel.{site}"))
    _feature_panels(sheet, top, stage, maps["before"], maps["after"], outline)
    grey = arrays["image"].mean(2)
    _activation_panel(
        sheet, top, explanation.classes[page.label], page.predicted, stage, maps["activation"], grey, outline
    )


def _spatial_panel(sheet: Sheet, y: float, stage: Stage, values: Map | None, outline: Outline) -> None:
    axes = _bare(sheet.axes(COLUMNS["spatial"], y, PANEL, PANEL, f"{stage.site} spatial"), "Spatial gate s")
    if values is None:
        _absent(axes, "no separate\nspatial gate")
        return
    axes.set_title(f"Spatial gate s\n{_range_of(values)}", **_TITLE)
    _picture(axes, values, GATE, (0.0, stage.gain), "white", outline)
    _bar(sheet, COLUMNS["spatial"], y, GATE, (0.0, stage.gain), "s")


def _channel_panel(sheet: Sheet, y: float, stage: Stage, gates: Map | None) -> None:
    x, width = COLUMNS["channel"], 2.2
    strip = _bare(sheet.axes(x, y, width, 0.3, f"{stage.site} channel strip"), "Channel gate c, sorted")
    curve = sheet.axes(x, y + 0.36, width, PANEL - 0.36, f"{stage.site} channel")
    if gates is None:
        _absent(strip, "")
        _absent(curve, "no separate\nchannel gate")
        curve.set(xticks=[], yticks=[])
        return
    ordered = np.sort(gates)[::-1]
    strip.set_title(f"Channel gate c, sorted\n{_range_of(gates)}", **_TITLE)
    strip.imshow(ordered[None], cmap=GATE, vmin=0, vmax=stage.gain, aspect="auto", interpolation="nearest")
    ranks = np.arange(1, len(ordered) + 1)
    curve.bar(ranks, ordered, width=1.0, color=colormaps[GATE](ordered / stage.gain))
    curve.axhline(float(gates.mean()), color="black", linewidth=1, linestyle="--")
    curve.set(xlim=(0.5, len(ordered) + 0.5), ylim=(0, stage.gain))
    curve.set_xlabel(f"channels (dashes: mean of {len(ordered)})", fontsize=8, labelpad=1)
    curve.tick_params(labelsize=8)
    curve.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _feature_panels(sheet: Sheet, y: float, stage: Stage, before: Map, after: Map, outline: Outline) -> None:
    limits = (0.0, max(float(np.percentile(np.concatenate((before.ravel(), after.ravel())), 99.5)), 1e-12))
    for name, values in (("before", before), ("after", after)):
        axes = _bare(sheet.axes(COLUMNS[name], y, PANEL, PANEL, f"{stage.site} {name}"), "")
        axes.set_title(f"Features {name} the gate\nmean strength {values.mean():.3g}", **_TITLE)
        _picture(axes, values, FEATURE, limits, "white", outline)
    _bar(sheet, COLUMNS["after"], y, FEATURE, limits, "mean |feature|", "max")
    ratio = np.divide(after, before, out=np.full_like(before, np.nan), where=before > 1e-3 * limits[1])
    axes = _bare(sheet.axes(COLUMNS["ratio"], y, PANEL, PANEL, f"{stage.site} ratio"), "")
    mean = np.nanmedian(ratio) if np.isfinite(ratio).any() else np.nan
    axes.set_title(f"After / before\nmedian × {mean:.2f}", **_TITLE)
    _picture(axes, ratio, RATIO, (0.0, HIGHEST_RATIO), "black", outline)
    _bar(sheet, COLUMNS["ratio"], y, RATIO, (0.0, HIGHEST_RATIO), "factor", "max")


def _activation_panel(
    sheet: Sheet, y: float, name: str, predicted: bool, stage: Stage, values: Map, grey: Map, outline: Outline
) -> None:
    axes = _bare(sheet.axes(COLUMNS["activation"], y, PANEL, PANEL, f"{stage.site} activation"), "")
    where = "of its predicted pixels" if predicted else "of the whole tile: none predicted"
    note = where if values.any() else "nothing speaks for the class"
    axes.set_title(f"Class activation, {drawable(name[:20])}\n{note}", parse_math=False, **_TITLE)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    axes.imshow(values, cmap=ACTIVATION, vmin=0, vmax=1, alpha=0.65, interpolation="nearest")
    _outline(axes, outline, "white")
    _bar(sheet, COLUMNS["activation"], y, ACTIVATION, (0.0, 1.0), "share of the largest")


_TITLE: dict[str, Any] = {"fontsize": 9, "loc": "left", "pad": 4, "linespacing": 1.25}
_CAPTION: dict[str, Any] = {"color": "#555555", "linespacing": 1.3}


def on_pixels(values: Map, cells: tuple[int, int], side: int, page: Page) -> Map:
    """Spread the cells of a map over the pixels of the window that they stand for, without smoothing.

    Args:
        values: (h', w') the cells in the window: the upper left part of the tile's map.
        cells: (h, w) of the map of the whole tile.
        side: side of the tile in pixels.
        page: the page with the window.
    """
    rows = np.arange(page.window.height) * cells[0] // side
    columns = np.arange(page.window.width) * cells[1] // side
    return values[rows][:, columns]


def _objects(arrays: Arrays) -> Outline:
    labels = arrays.get("truth", arrays["prediction"])
    objects: Outline = (labels > 0) & (labels != IGNORE_INDEX)
    return objects


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _bare(axes: Axes, title: str) -> Axes:
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.set_title(title, **_TITLE)
    return axes


def _absent(axes: Axes, text: str) -> None:
    axes.set_facecolor("#eeeeee")
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=9, color="#555555")


def _range_of(values: Map) -> str:
    return f"mean {values.mean():.2f}, {values.min():.2f} to {values.max():.2f}"


def _picture(axes: Axes, values: Map, colours: str, limits: tuple[float, float], line: str, outline: Outline) -> None:
    axes.set_facecolor("#bbbbbb")  # where a value is not defined
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    _outline(axes, outline, line)


def _outline(axes: Axes, objects: Outline, colour: str) -> None:
    if objects.any() and not objects.all():
        axes.contour(objects, levels=[0.5], colors=colour, linewidths=0.6)


def _bar(
    sheet: Sheet, x: float, y: float, colours: str, limits: tuple[float, float], label: str, extend: str = "neither"
) -> None:
    """Draw a colour bar right of the panel at x."""
    axes = sheet.axes(x + PANEL + 0.08, y, 0.11, PANEL, f"bar {label}")
    mappable = ScalarMappable(Normalize(*limits), colours)
    bar = sheet.figure.colorbar(mappable, cax=axes, extend=extend)
    bar.set_label(label, fontsize=8, labelpad=2)
    bar.ax.tick_params(labelsize=8, pad=2)
