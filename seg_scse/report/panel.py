"""The panel of an epoch as a picture: image, truth, prediction and what differs, one row per image."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.files import write_bytes
from seg_scse.report import overlays
from seg_scse.report.sheet import drawable

if TYPE_CHECKING:
    from seg_scse.training.panel import EpochEnd, PanelImage

FOLDER = "panel"
KEPT = 20
"""Latest pictures that stay; of the earlier ones, at most as many."""

_COLUMNS = ("image", "truth", "prediction", "differences")
_LEGEND = (
    ("correct", (255, 255, 255)),
    ("missed", overlays.MISSED),
    ("false", overlays.FALSE),
    ("confused", overlays.CONFUSED),
)
_SMALLEST = 192  # pixels of a tile's longer side, to which small images are enlarged
_GAP, _LINE, _FONT = 6, 20, 12
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_DIM = 0.4  # of the grey image under the differences, which are all brighter
_CORRECT_ALPHA = 140


def draw_panel(end: "EpochEnd") -> NDArray[np.uint8] | None:
    """Write `panel/epoch-0003.png`, and remove earlier pictures that are not kept.

    The latest 20 stay, and of those before every 2nd, 4th, 8th ... epoch, so that these are at most 20 too: the folder
    does not grow with the length of a run.

    Args:
        end: the epoch and its images.

    Returns:
        The picture, uint8 (H, W, 3), or None where the epoch has no images.

    Raises:
        WriteError: the folder cannot be written.
    """
    if not end.panel:
        return None
    picture, buffer = panel_picture(end), io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third of the default's time
    folder = end.folder / FOLDER
    write_bytes(folder / f"epoch-{end.epoch:04}.png", buffer.getvalue())
    _thin(folder)
    return np.asarray(picture)


def _thin(folder: Path) -> None:
    """Keep the latest pictures, and of the others those of every k-th epoch; k is the least power of 2 that does."""
    pictures = sorted((int(path.stem.removeprefix("epoch-")), path) for path in folder.glob("epoch-*.png"))
    stride = 1
    while pictures[-1][0] // stride > KEPT:
        stride *= 2
    for epoch, path in pictures[:-KEPT]:
        if epoch % stride:
            path.unlink(missing_ok=True)


def panel_picture(end: "EpochEnd") -> Image.Image:
    """Draw the images of an epoch below each other, each row under a line of words."""
    rows = [_tiles(image) for image in end.panel]
    width = max(len(row) * (row[0].width + _GAP) for row in rows) + _GAP
    height = _LINE + sum(row[0].height + _LINE + _GAP for row in rows)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), _FONT)
    draw.text((_GAP, 2), f"epoch {end.epoch}: {', '.join(_COLUMNS)}", _INK, font)
    _draw_legend(draw, font, width, confused=any(_several(image.truth) for image in end.panel))
    top = _LINE
    for image, row in zip(end.panel, rows, strict=True):
        score = "no foreground" if image.dice is None else f"Dice {image.dice:.3f}"
        draw.text((_GAP, top + 2), f"{score}   {drawable(image.id)}", _INK, font)
        for number, tile in enumerate(row):
            sheet.paste(tile, (_GAP + number * (tile.width + _GAP), top + _LINE))
        top += _LINE + row[0].height + _GAP
    return sheet


def _several(labels: NDArray[np.uint8]) -> bool:
    """Tell whether there is more than one foreground class, so that one can be taken for another."""
    return bool(np.any((labels > 1) & (labels != IGNORE_INDEX)))


def _draw_legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, width: int, confused: bool) -> None:
    """Name the colours of the differences at the right end of the first line."""
    left = float(width)
    for word, colour in reversed(_LEGEND if confused else _LEGEND[:-1]):
        left -= draw.textlength(word, font) + _GAP
        draw.text((left, 2), word, _INK, font)
        left -= _FONT + _GAP
        draw.rectangle((left, 3, left + _FONT - 2, _FONT + 1), fill=colour, outline=_INK)
        left -= _GAP  # so that a colour is nearer to its own word than to the one before


def _tiles(image: "PanelImage") -> list[Image.Image]:
    """Draw image, truth, prediction and differences at one size."""
    factor = max(1, -(-_SMALLEST // max(image.truth.shape)))
    pixels, truth, labels = (
        part.repeat(factor, 0).repeat(factor, 1) for part in (image.image, image.truth, image.labels)
    )
    layer = overlays.bit_layer if image.task == "multilabel" else overlays.label_layer
    plain = Image.fromarray(pixels)
    return [plain, _over(plain, layer(truth)), _over(plain, layer(labels)), _differences(plain, truth, labels, image)]


def _over(ground: Image.Image, layer: Image.Image) -> Image.Image:
    """Lay a transparent layer over an image."""
    layer = layer.convert("RGBA")
    joined = ground.copy()
    joined.paste(layer, mask=layer)
    return joined


def _differences(
    plain: Image.Image, truth: NDArray[np.uint8], labels: NDArray[np.uint8], image: "PanelImage"
) -> Image.Image:
    """Draw what is right and what is wrong over a dim grey image: told apart by brightness too."""
    ground = plain.convert("L").point(lambda value: value * _DIM).convert("RGB")
    right = (truth & labels) != 0 if image.task == "multilabel" else (truth == labels) & (truth != 0)
    shade = Image.fromarray(np.where(right & (truth != IGNORE_INDEX), _CORRECT_ALPHA, 0).astype(np.uint8))
    ground.paste(_LEGEND[0][1], mask=shade)
    return _over(ground, overlays.error_layer(truth, labels, image.task))
