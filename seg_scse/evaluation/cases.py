"""The images people look at first: the worst, the median and the best."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.data.display import displayed
from seg_scse.data.prepare import PreparedData
from seg_scse.files import write_bytes, write_text

MAX_SIDE = 768
"""Longest side in pixels of a saved case; larger ones are reduced so that a report can be mailed."""

_WRITTEN = re.compile(r"(\d+\.)+[a-z_]+\.png|index\.json")
"""Names of files in a folder of pictures: `0.truth.png`, of a comparison `1.0.prediction_a.png`."""

Row = Mapping[str, str | int | float | None]
Label = NDArray[np.uint8]


def remove_pictures(folder: Path) -> None:
    """Remove the pictures of an earlier evaluation, and no other file: results may be written into any folder."""
    for path in folder.glob("*"):
        if _WRITTEN.fullmatch(path.name):
            path.unlink()


def choose_cases(rows: Sequence[Row], each: int) -> list[tuple[str, Row]]:
    """Choose the images with the lowest, middle and highest foreground Dice; no image twice.

    Args:
        rows: rows of `per_image.csv`; images without a score are left out.
        each: images of each kind.

    Returns:
        (kind, row) from worst to best; with few images there are fewer of each kind.
    """
    ranked = sorted((row for row in rows if row["dice_foreground"] is not None), key=_rank)
    each = min(each, max(1, len(ranked) // 3)) if ranked and each else 0
    middle = (len(ranked) - each) // 2
    places = {index: "worst" for index in range(min(each, len(ranked)))}
    places |= {index: "best" for index in range(len(ranked) - each, len(ranked)) if index not in places}
    places |= {index: "median" for index in range(middle, middle + each) if index not in places}
    return [(places[index], ranked[index]) for index in sorted(places)]


def _rank(row: Row) -> tuple[float, str]:
    score = row["dice_foreground"]
    assert isinstance(score, float | int)
    return float(score), str(row["id"])


def save_cases(
    folder: Path, rows: Sequence[Row], data: PreparedData, predict: Callable[[int], Label], each: int, images: bool
) -> None:
    """Save image, truth and prediction of the chosen cases as PNG files, with `index.json`.

    The predictions are made again rather than kept, so that nothing grows with the split.

    Args:
        folder: empty or absent.
        rows: rows of `per_image.csv`.
        data: the samples.
        predict: gives the label map of the sample at a place in the manifest.
        each: images of each kind.
        images: whether there are images; else `image` is null in the index.
    """
    index_of = {sample.id: index for index, sample in enumerate(data.manifest.samples)}
    entries = []
    for number, (kind, row) in enumerate(choose_cases(rows, each)):
        index = index_of[str(row["id"])]
        layers: dict[str, Label] = {"truth": np.asarray(data.store.mask(index)), "prediction": predict(index)}
        if images:
            layers["image"] = rgb(displayed(data.store.image(index), data.config.own_channels))
        scale, size = drawn_size(*layers["truth"].shape)
        entry = {"id": row["id"], "kind": kind, "score": row["dice_foreground"], "scale": scale, "image": None}
        for name, pixels in layers.items():
            entry[name] = f"{number}.{name}.png"
            write_bytes(folder / f"{number}.{name}.png", png(pixels, size, smooth=name == "image"))
        entries.append(entry)
    write_text(folder / "index.json", json.dumps(entries, indent=2) + "\n")


def drawn_size(height: int, width: int) -> tuple[float, tuple[int, int]]:
    """Share of the size at which an image is saved, and the width and height that result."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    return scale, (max(1, round(width * scale)), max(1, round(height * scale)))


def rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a grey picture (H, W, 1) three equal channels; others stay as they are."""
    return picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)


def png(pixels: NDArray[np.uint8], size: tuple[int, int], smooth: bool) -> bytes:
    """Encode pixels as PNG, resized to (width, height): smoothly for an image, by the nearest pixel for labels."""
    picture, stream = Image.fromarray(pixels), BytesIO()
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    picture.save(stream, "PNG")
    return stream.getvalue()
