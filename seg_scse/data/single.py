"""An image file that is in no data set, as a trained network is to see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.entries import copy_picture, describe
from seg_scse.data.files.pictures import file_sample, open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.scale_choice import choose_scales
from seg_scse.data.scale_measuring import Measurable
from seg_scse.data.sets.cards import resolve_card


def read_scaled(path: Path, config: DataConfig, state: Mapping[str, Any] | None) -> Array:
    """Read an image file, fill its pixels without data, and scale it as a run scales its own images.

    Args:
        path: the file.
        config: the `data` section of the run.
        state: the scaling that its checkpoint keeps (`Scales.as_state`).

    Returns:
        `(H, W, C)`: uint8, or float32 in [0, 1].

    Raises:
        DataError: the file cannot be used as declared.
    """
    config, sample = resolve_card(config), file_sample(path)
    with open_picture(sample, config) as picture:
        statistics, valid = copy_picture(picture, None)
        pixels, _ = picture.read(slice(None), slice(None))
        mask = np.zeros(picture.shape[:2], np.uint8)
        if valid is not None:
            mask[~valid] = IGNORE_INDEX
            pixels = np.where(valid[..., None], pixels, np.array(statistics.fill(picture.dtype), pixels.dtype))
        entry = describe(picture, statistics, mask, multilabel=False, stored=False)
    data = Measurable([sample], [entry], lambda _: pixels, lambda _: mask, folder=None, progress=False)
    scaling = choose_scales(config, data, [0], state).each[0]
    return pixels if scaling is None else scaling.apply(pixels)
