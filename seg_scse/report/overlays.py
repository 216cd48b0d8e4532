"""Transparent colour layers of masks and of errors, to be laid over an image.

Colours are told apart with red-green and blue-yellow colour blindness: Okabe and Ito, *Color Universal Design* (2008),
then Tol, *Colour Schemes* (SRON/EPS/TN/09-002, 2021), "muted".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.report.cases import Labels

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (0, 158, 115),
    (230, 159, 0),
    (204, 121, 167),
    (0, 114, 178),
    (153, 153, 51),
    (51, 34, 136),
    (221, 204, 119),
    (136, 34, 85),
)
"""RGB colours of class 1, 2, ...; later classes start again from the first. None is a colour of an error."""

BACKGROUND: Colour = (128, 128, 128)
IGNORED: Colour = (128, 128, 128)
MISSED: Colour = (213, 94, 0)
FALSE: Colour = (86, 180, 233)
CONFUSED: Colour = (240, 228, 66)

_MOST_LABELS = 7  # a byte, less the value of ignored pixels
_FILL_ALPHA = 77
_ERROR_ALPHA = 204
_EDGE_SHARE = 1 / 400  # contours stay visible when a large image is shown small


def class_colour(index: int) -> Colour:
    """RGB colour (0..255) of a class; the same in every report. Class 0, the background, is grey."""
    return BACKGROUND if index == 0 else PALETTE[(index - 1) % len(PALETTE)]


def label_layer(labels: Labels) -> Image.Image:
    """Draw each foreground class as a light fill with a solid contour inside its border.

    Args:
        labels: uint8 `H W` class indices; 0 is left transparent, 255 (ignore) is grey.

    Returns:
        A palette image of the same size with transparency.
    """
    colours = len(PALETTE)
    slots = (labels.astype(np.int16) - 1) % colours + 1
    inside = np.where(_edges(labels), slots + colours, slots)
    layer = np.select([labels == 0, labels == IGNORE_INDEX], [0, 2 * colours + 1], inside)
    palette = [(*colour, _FILL_ALPHA) for colour in PALETTE] + [(*colour, 255) for colour in PALETTE]
    return _paint(layer, [*palette, (*IGNORED, _FILL_ALPHA)])


def bit_layer(labels: Labels) -> Image.Image:
    """Draw labels that may overlap: a light fill in the mean of their colours, and the contour of each.

    Args:
        labels: uint8 `H W`; bit k - 1 is set where class k is, at most 7 classes; 255 (ignore) is grey.

    Returns:
        A palette image of the same size with transparency. Where contours meet, the later class is drawn.
    """
    layer = labels.astype(np.int16)
    for bit in range(_MOST_LABELS):
        present = (labels >> bit & 1).astype(bool) & (labels != IGNORE_INDEX)
        layer[present & _edges(present)] = 2**_MOST_LABELS + bit
    ignored = 2**_MOST_LABELS + _MOST_LABELS
    layer[labels == IGNORE_INDEX] = ignored
    fills = [(*_mixed(bits), _FILL_ALPHA) for bits in range(1, 2**_MOST_LABELS)]
    contours = [(*PALETTE[bit], 255) for bit in range(_MOST_LABELS)]
    return _paint(layer, [*fills, *contours, (*IGNORED, _FILL_ALPHA)])


def _mixed(bits: int) -> Colour:
    """Mean colour of the classes whose bits are set."""
    colours = [PALETTE[bit] for bit in range(_MOST_LABELS) if bits >> bit & 1]
    red, green, blue = (round(sum(channel) / len(colours)) for channel in zip(*colours, strict=True))
    return red, green, blue


def error_layer(truth: Labels, prediction: Labels, task: str = "multiclass") -> Image.Image:
    """Draw what is wrong and nothing else.

    Args:
        truth: uint8 `H W` class indices, or bits of labels (`multilabel`); 255 (ignore) is grey and never an error.
        prediction: the same for the prediction.
        task: `multiclass` or `multilabel`.

    Returns:
        A palette image with transparency: `MISSED` where a foreground class was predicted as background, `FALSE` where
        background was predicted as foreground, `CONFUSED` where one foreground class was taken for another. For labels:
        `MISSED` where some are missing and none is false, `FALSE` where some are false and none missing, `CONFUSED`
        where both.
    """
    if task == "multilabel":
        missed, false = (truth & ~prediction) != 0, (prediction & ~truth) != 0
    else:
        wrong = truth != prediction
        missed, false = wrong & (truth != 0), wrong & (prediction != 0)
    layer = np.select([truth == IGNORE_INDEX, missed & false, missed, false], [4, 3, 1, 2], 0)
    errors = [(*colour, _ERROR_ALPHA) for colour in (MISSED, FALSE, CONFUSED)]
    return _paint(layer, [*errors, (*IGNORED, _FILL_ALPHA)])


def _edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels at most the contour's thickness away, along an axis, from another class; the frame is no border."""
    edges = np.zeros(labels.shape, dtype=bool)
    for distance in range(1, max(1, round(max(labels.shape) * _EDGE_SHARE)) + 1):
        down = labels[distance:] != labels[:-distance]
        right = labels[:, distance:] != labels[:, :-distance]
        edges[distance:] |= down
        edges[:-distance] |= down
        edges[:, distance:] |= right
        edges[:, :-distance] |= right
    return edges


def _paint(layer: NDArray[np.integer], colours: list[tuple[int, int, int, int]]) -> Image.Image:
    """Palette image of `layer`: 0 is transparent, value k has the k-th RGBA colour."""
    table = [(0, 0, 0, 0), *colours]
    image = Image.fromarray(layer.astype(np.uint8))
    image.putpalette([channel for rgba in table for channel in rgba], "RGBA")
    return image
