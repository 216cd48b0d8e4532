"""The images people look at first: the worst, the median and the best."""

import json
import shutil
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.data.display import displayed
from seg_scse.data.prepare import PreparedData
from seg_scse.files import write_bytes, write_text
from seg_scse.inference.predictor import Predictor

MAX_SIDE = 768
"""Longest side in pixels of a saved case; larger ones are reduced so that a report can be mailed."""

Row = Mapping[str, str | int | float | None]


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


def save_cases(folder: Path, rows: Sequence[Row], data: PreparedData, predictor: Predictor, each: int) -> None:
    """Save image, truth and prediction of the chosen cases as PNG files, with `index.json`.

    The predictions are made again rather than kept, so that nothing grows with the split.
    """
    shutil.rmtree(folder, ignore_errors=True)
    index_of = {sample.id: index for index, sample in enumerate(data.manifest.samples)}
    entries = []
    for number, (kind, row) in enumerate(choose_cases(rows, each)):
        index = index_of[str(row["id"])]
        image, truth = data.store.image(index), np.asarray(data.store.mask(index))
        prediction = predictor.labels(predictor.probabilities(image))
        scale = min(1.0, MAX_SIDE / max(truth.shape))
        size = (max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale)))
        entry = {"id": row["id"], "kind": kind, "score": row["dice_foreground"], "scale": scale}
        for name, pixels in (("image", _rgb(displayed(image))), ("truth", truth), ("prediction", prediction)):
            entry[name] = f"{number}.{name}.png"
            write_bytes(folder / f"{number}.{name}.png", _png(pixels, size, smooth=name == "image"))
        entries.append(entry)
    write_text(folder / "index.json", json.dumps(entries, indent=2) + "\n")


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)


def _png(pixels: NDArray[np.uint8], size: tuple[int, int], smooth: bool) -> bytes:
    picture, stream = Image.fromarray(pixels), BytesIO()
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    picture.save(stream, "PNG")
    return stream.getvalue()
