"""Cases as pictures inside a page: the image, and layers of truth, prediction and errors to lay over it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from seg_scse.report import overlays
from seg_scse.report.cases import Case, Labels, read_case_images
from seg_scse.report.rendering import data_uri

IMAGES, LAYERS = 3_500_000, 2_500_000
"""Bytes that the images, and their layers, may take together in a page, before they become text, a third longer."""

_LOSSLESS = 60_000  # bytes up to which a PNG stays as it is
_QUALITIES = (90, 80, 65, 45)
_SMALLEST = 128  # pixels; layers are not reduced below
_GROUND = 96  # grey behind masks without an image


@dataclass(frozen=True)
class Drawing:
    """A case with its picture and layers as data URIs; `width`, `height` in pixels; `title` stands for the score."""

    number: int
    case: Case
    width: int
    height: int
    image: str
    truth: str
    prediction: str
    errors: str


def draw_case(
    folder: Path, case: Case, number: int, classes: Sequence[str], task: str = "multiclass", share: float = 1.0
) -> Drawing:
    """Read a case and draw its layers.

    Args:
        folder: with the PNG files of the case.
        case: entry of its `index.json`.
        number: tells the figure from the others of the page.
        classes: names of the classes.
        task: `multiclass` or `multilabel`.
        share: of what all images and layers of the page may take, in (0, 1].

    Raises:
        DataError: a file of the case is missing or damaged.
    """
    png, truth, prediction = read_case_images(folder, case, len(classes), task)
    height, width = truth.shape
    room = int(share * LAYERS / 3)
    return Drawing(
        number=number,
        case=case,
        width=width,
        height=height,
        image=_ground((width, height)) if png is None else picture_uri(png, int(share * IMAGES)),
        truth=label_uri(truth, task, room),
        prediction=label_uri(prediction, task, room),
        errors=layer_uri(overlays.error_layer(truth, prediction, task), room),
    )


def label_uri(labels: Labels, task: str = "multiclass", room: int = LAYERS) -> str:
    """Draw a mask as a transparent layer."""
    return layer_uri(overlays.bit_layer(labels) if task == "multilabel" else overlays.label_layer(labels), room)


def layer_uri(layer: Image.Image, room: int = LAYERS) -> str:
    """Put a layer into the page itself; one that takes more than `room` bytes is reduced, its pixels grow."""
    while True:
        buffer = io.BytesIO()
        layer.save(buffer, "PNG")
        if len(buffer.getvalue()) <= room or min(layer.size) < 2 * _SMALLEST:
            return data_uri(buffer.getvalue())
        layer = layer.resize((layer.width // 2, layer.height // 2), Image.Resampling.NEAREST)


def picture_uri(png: bytes, room: int) -> str:
    """Put an image into the page: as it is where it is small, else as a JPEG that takes at most `room` bytes.

    Where the coarsest quality takes more, the image is reduced, down to about 128 pixels.
    """
    if len(png) <= min(room, _LOSSLESS):
        return data_uri(png)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    data = _jpeg(image, room)
    while len(data) > room and min(image.size) >= 2 * _SMALLEST:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        data = _jpeg(image, room)
    return data_uri(data, "jpeg") if len(data) < len(png) else data_uri(png)


def _jpeg(image: Image.Image, room: int) -> bytes:
    """The finest quality that takes at most `room` bytes, else the coarsest."""
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        if len(data) <= room:
            break
    return data


def _ground(size: tuple[int, int]) -> str:
    """An even grey, for masks without an image."""
    return layer_uri(Image.new("L", size, _GROUND))
