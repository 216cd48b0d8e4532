"""What the gates of every variant of a study do on one image: a row of pictures per variant, in shared colours."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, TypeAdapter

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.report import overlays
from seg_scse.report.reading import STUDY_GATES, Part, read_json
from seg_scse.report.sheet import DPI, Sheet
from seg_scse.report.study_gate_parts import GateFigure, GateRow, GateStage, Labels, Map

MOST_BYTES = 150_000
"""A picture is drawn smaller until it takes at most so many, so that a report with all of them can be mailed."""
SHOWN = 2
"""Stages whose spatial gates are shown: the last ones of the network, next to its output."""

_PANEL, _GAP = 1.7, 0.2
_LABEL = 1.95
_HEAD, _ROW = 0.85 + _PANEL + 0.3, _PANEL + 0.5
_X = [0.2 + _LABEL + number * (_PANEL + _GAP) for number in range(5)]
_CHANNELS = 2.5
_WIDTH = _X[4] + 0.25 + _CHANNELS + 0.2
_STEPS = 20  # as many colours as a reader can tell apart; and even areas make small files
_HIGHEST_RATIO = 2.0
_SMALLEST_DPI = 40
_GREY = "#555555"

Shape = tuple[int, ...]


def draw_gates(figure: GateFigure, most: int = MOST_BYTES) -> bytes:
    """Draw the rows of a figure as a PNG of at most `most` bytes, or the smallest that can still be read.

    Args:
        figure: at least one row, each with at least one stage.
        most: bytes of the file.
    """
    sheet = Sheet(_WIDTH, _HEAD + _ROW * len(figure.rows))
    _head(sheet, figure)
    for number, row in enumerate(figure.rows):
        _row(sheet, _HEAD + number * _ROW, figure, row)
    dpi = float(DPI)
    while len(data := _png(sheet.figure, dpi)) > most and dpi > _SMALLEST_DPI:
        dpi = max(_SMALLEST_DPI, min(0.95, most / len(data)) * dpi)
    return data


def _png(figure: Figure, dpi: float) -> bytes:
    """Draw with 256 colours, which takes a third of the bytes; those that stand for numbers are among them."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=dpi)
    picture = Image.open(full).convert("RGB")
    fixed = _fixed_colours()
    others = picture.quantize(256 - len(fixed), Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in fixed for part in colour] + others[: 3 * (256 - len(fixed))])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _fixed_colours() -> list[overlays.Colour]:
    """The colours of both scales and of errors, and greys for letters."""
    scales = [colours(range(colours.N), bytes=True)[:, :3].tolist() for colours in (_gates(), _ratios())]
    greys = [(level, level, level) for level in range(0, 256, 17)]
    return [*(tuple(colour) for scale in scales for colour in scale), overlays.MISSED, overlays.FALSE, *greys]


def _head(sheet: Sheet, figure: GateFigure) -> None:
    name = figure.id if len(figure.id) <= 80 else f"{figure.id[:60]}…{figure.id[-15:]}"
    sheet.text(0.2, 0.12, name, fontsize=12, weight="bold")
    sheet.text(0.2, 0.38, figure.place)
    for x, title in zip(_X, ("Image", "Truth"), strict=False):
        axes = _bare(sheet.axes(x, 0.85, _PANEL, _PANEL, title), title)
        axes.imshow(figure.image)
        if title == "Truth":
            layer = overlays.bit_layer if figure.task == "multilabel" else overlays.label_layer
            axes.imshow(np.asarray(layer(figure.truth).convert("RGBA")), interpolation="nearest")
    _explain(sheet, _X[2] + 0.1, figure.gain)


def _explain(sheet: Sheet, x: float, gain: float) -> None:
    """Say how to read the rows, with the two colour scales that all of them share."""
    lines = [
        "Spatial gate s: all channels are multiplied by it at each place.",
        "After / before: mean strength of the features behind the gate over",
        "that before it; orange: strengthened, purple: weakened.",
        "Channel gates c on this image, by stage in the order of the network:",
        "dot: mean, thick line: middle half, thin line: all channels.",
        "Thin outlines: true objects. One scale for all variants.",
    ]
    sheet.text(x, 0.68, *lines, linespacing=1.35)
    bars = (("gate s", _gates(), (0.0, gain)), ("after / before", _ratios(), (0.0, _HIGHEST_RATIO)))
    for number, (label, colours, limits) in enumerate(bars):
        axes = sheet.axes(x + number * 2.3, 1.95, 1.9, 0.12, f"scale {label}")
        bar = sheet.figure.colorbar(ScalarMappable(Normalize(*limits), colours), cax=axes, orientation="horizontal")
        bar.set_label(label, fontsize=8, labelpad=1)
        bar.ax.tick_params(labelsize=8, pad=2)
    for number, (colour, label) in enumerate([(overlays.MISSED, "missed"), (overlays.FALSE, "false")]):
        sheet.axes(x + 4.75, 1.9 + 0.22 * number, 0.13, 0.13, f"legend {label}").set(
            xticks=[], yticks=[], facecolor=[part / 255 for part in colour]
        )
        sheet.text(x + 4.95, 1.88 + 0.22 * number, f"error: {label}")


def _row(sheet: Sheet, y: float, figure: GateFigure, row: GateRow) -> None:
    sheet.axes(0.2, y - 0.02, _WIDTH - 0.4, 0.005, f"{row.variant} rule").set(xticks=[], yticks=[])
    names = textwrap.wrap(row.variant, 17)
    sheet.text(0.2, y + 0.25, *names, fontsize=11, weight="bold")
    lines = [part for line in row.lines for part in textwrap.wrap(line, 28)]
    sheet.text(0.2, y + 0.3 + 0.2 * len(names), *lines[:8], fontsize=8.5, linespacing=1.3)
    top = y + 0.25
    errors = _bare(sheet.axes(_X[0], top, _PANEL, _PANEL, f"{row.variant} errors"), "Prediction and errors")
    errors.imshow(_errors(figure, row.prediction), interpolation="nearest")
    _outline(errors, figure, "#444444")
    shown = row.stages[-SHOWN:]
    for x, stage in zip(_X[1 + SHOWN - len(shown) :], shown, strict=False):
        _spatial(sheet.axes(x, top, _PANEL, _PANEL, f"{row.variant} {stage.site} s"), figure, stage, row.tile)
    last = row.stages[-1]
    _ratio(sheet.axes(_X[1 + SHOWN], top, _PANEL, _PANEL, f"{row.variant} ratio"), figure, last, row.tile)
    x = _X[1 + SHOWN] + _PANEL + 0.45
    _channels(sheet.axes(x, top, _WIDTH - x - 0.2, _PANEL - 0.1, f"{row.variant} c"), row.stages, figure.gain)


def _errors(figure: GateFigure, prediction: Labels) -> NDArray[np.uint8]:
    """Draw what was predicted light grey on white, and the errors in their colours."""
    ground = np.full((*prediction.shape, 3), 255, np.uint8)
    ground[prediction > 0] = 205
    paper = Image.fromarray(ground)
    layer = overlays.error_layer(figure.truth, prediction, figure.task).convert("RGBA")
    paper.paste(layer, mask=layer)
    return np.asarray(paper)


def _spatial(axes: Axes, figure: GateFigure, stage: GateStage, tile: int) -> None:
    if stage.spatial is None:
        separate = "no spatial gate" if stage.channel is not None else "no separate gates:\nsee after / before"
        _absent(_bare(axes, stage.site), separate)
        return
    _bare(axes, f"s of {stage.site}: {stage.spatial.min():.2f} to {stage.spatial.max():.2f}")
    _picture(axes, stage.spatial, (_gates(), figure.gain), _extent(stage, tile), figure.truth.shape)
    _outline(axes, figure, "white")


def _ratio(axes: Axes, figure: GateFigure, stage: GateStage, tile: int) -> None:
    least = 1e-3 * max(float(stage.before.max()), 1e-12)
    ratio = np.divide(stage.after, stage.before, out=np.full_like(stage.before, np.nan), where=stage.before > least)
    median = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else float("nan")
    _bare(axes, f"After / before, {stage.site}: × {median:.2f}")
    _picture(axes, ratio, (_ratios(), _HIGHEST_RATIO), _extent(stage, tile), figure.truth.shape)
    _outline(axes, figure, "black")


def _channels(axes: Axes, stages: Sequence[GateStage], gain: float) -> None:
    places = [(place, stage) for place, stage in enumerate(stages) if stage.channel is not None]
    if not places:
        _absent(_bare(axes, "Channel gates c"), "no separate channel gate")
        return
    for place, stage in places:
        assert stage.channel is not None
        low, first, third, high = np.percentile(stage.channel, [0, 25, 75, 100])
        axes.plot([place, place], [low, high], color="#0072b2", linewidth=0.8)
        axes.plot([place, place], [first, third], color="#0072b2", linewidth=4, solid_capstyle="butt", alpha=0.55)
        axes.plot([place], [float(stage.channel.mean())], "o", color="black", markersize=3.5)
    axes.set_title("Channel gates c", **_TITLE)
    axes.set(xlim=(-0.6, len(stages) - 0.4), ylim=(0, gain), xticks=range(len(stages)))
    axes.set_xticklabels([_short(stage.site) for stage in stages], parse_math=False)
    axes.tick_params(labelsize=7.5 if len(stages) < 12 else 5.5, pad=2)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _short(site: str) -> str:
    """`d5` for `decoder.5`, so that ten of them fit under an axis."""
    kind, _, number = site.rpartition(".")
    return f"{kind[:1]}{number}"[:4]


_TITLE: dict[str, Any] = {"fontsize": 8, "loc": "left", "pad": 3}


def _gates() -> Colormap:
    return colormaps["viridis"].resampled(_STEPS)


def _ratios() -> Colormap:
    return colormaps["PuOr_r"].resampled(_STEPS + 1)  # an odd number: white stands for unchanged


def _bare(axes: Axes, title: str) -> Axes:
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.set_title(title, parse_math=False, **_TITLE)
    return axes


def _absent(axes: Axes, text: str) -> None:
    axes.set(facecolor="#eeeeee", xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=8, color=_GREY)


def _extent(stage: GateStage, tile: int) -> tuple[float, float, float, float]:
    """Where the cells of a stage lie, in pixels: each as large as the pixels that it stands for."""
    height, width = (seen * tile / all_ for seen, all_ in zip(stage.before.shape, stage.cells, strict=True))
    return (-0.5, width - 0.5, height - 0.5, -0.5)


def _picture(
    axes: Axes, values: Map, scale: tuple[Colormap, float], extent: tuple[float, float, float, float], size: Shape
) -> None:
    """Draw cells in a colour scale from 0; what lies beyond the border of the image is cut."""
    axes.set_facecolor("#bbbbbb")  # where a value is not defined
    axes.imshow(values, cmap=scale[0], vmin=0, vmax=scale[1], interpolation="nearest", extent=extent)
    axes.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))


def _outline(axes: Axes, figure: GateFigure, colour: str) -> None:
    objects = (figure.truth > 0) & (figure.truth != IGNORE_INDEX)
    if objects.any() and not objects.all():
        axes.contour(objects, levels=[0.5], colors=colour, linewidths=0.5)


class _Entry(Part):
    file: Annotated[str, Field(pattern=r"^image-\d+\.png$")]
    id: str
    caption: str


class _Index(Part):
    images: tuple[_Entry, ...]


@dataclass(frozen=True)
class GatePicture:
    """A drawn figure: its file, the image that it shows, and what is to be known about it."""

    path: Path
    id: str
    caption: str


def read_gate_pictures(folder: Path) -> list[GatePicture]:
    """Read which figures of a study are drawn; none where it has no `gates/index.json`.

    Args:
        folder: of the study.

    Raises:
        DataError: the index is damaged.
    """
    path = folder / STUDY_GATES / "index.json"
    if not path.exists():
        return []
    index = read_json(path, TypeAdapter(_Index))
    return [GatePicture(path.parent / one.file, one.id, one.caption) for one in index.images]
