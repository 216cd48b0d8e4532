"""Pictures of predictions for people: the image under the colours of its classes."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.masks import Task
from seg_scse.files import write_bytes
from seg_scse.prediction.writing.rows import regrouped
from seg_scse.report.overlays import bit_layer, label_layer

LONGEST = 2048
"""Pixels of the longer side of a picture; larger images are drawn by every n-th row and column."""

_ROWS = 512  # of the image, at least, that are read at once


class Displayed(Protocol):
    """An image that can be drawn by windows, such as an `Opened`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(H, W, C)`."""
        ...

    def display(self, rows: slice, columns: slice, step: int = 1) -> NDArray[np.uint8]:
        """Draw every `step`-th pixel of a window: uint8 (h, w, 3)."""
        ...


def write_overlay(
    path: Path, image: Displayed, strips: Iterable[NDArray[np.uint8]], *, task: Task = "multiclass"
) -> None:
    """Write the image with each class as a light fill and a contour, as PNG: complete or absent.

    Memory: a strip, some rows of the image and the picture.

    Args:
        path: the file.
        image: of (H, W) pixels.
        strips: uint8 (h, W), its label map from the top to the bottom; 255 (no data) is grey.
        task: `multiclass`: class indices; `multilabel`: bits.

    Raises:
        DataError: the image cannot be read.
        WriteError: it cannot be written, or the disk is full.
        ValueError: the strips do not make up the image.
    """
    height, width = image.shape[:2]
    step = -(-max(height, width) // LONGEST)
    portion = -(-_ROWS // step) * step  # so that each one starts with a row that is drawn
    pictures, labels, row = [], [], 0
    for rows in regrouped(strips, (height, width), portion):
        pictures.append(image.display(slice(row, row + len(rows)), slice(0, width), step))
        labels.append(rows[::step, ::step].copy())
        row += len(rows)
    layer = (bit_layer if task == "multilabel" else label_layer)(np.concatenate(labels))
    picture = Image.fromarray(np.concatenate(pictures)).convert("RGBA")
    stream = io.BytesIO()
    Image.alpha_composite(picture, layer.convert("RGBA")).convert("RGB").save(stream, "PNG")
    write_bytes(path, stream.getvalue())
