"""An image file that is in no data set, as a trained network is to see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.entries import Entry, Mask, copy_picture, describe
from seg_scse.data.files.pictures import file_sample, open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.files.volumes import is_volume, plane_count
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.data.scale_choice import choose_scales
from seg_scse.data.scale_measuring import Measurable
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import DataError

_NUMBERED = re.compile(r"(.+):([0-9]{1,9})", re.DOTALL)


def find_file(name: str) -> tuple[Path, int | None] | None:
    """Return the file that a name means, and the number of its slice, or None where there is no such file.

    Args:
        name: a file, or `FILE:12` for slice 12, from 0, of a volume; a file whose own name ends so comes first.
    """
    numbered = _NUMBERED.fullmatch(name)
    try:
        if Path(name).is_file():
            return Path(name), None
        if numbered and is_volume(Path(numbered[1])) and Path(numbered[1]).is_file():
            return Path(numbered[1]), int(numbered[2])
    except OSError:  # a name that is too long for a file
        pass
    return None


def read_scaled(path: Path, config: DataConfig, state: Mapping[str, Any] | None, plane: int | None = None) -> Array:
    """Read an image file, fill its pixels without data, and scale it as a run scales its own images.

    Args:
        path: the file.
        config: the `data` section of the run.
        state: the scaling that its checkpoint keeps (`Scales.as_state`).
        plane: number of the slice of a volume, from 0, in the plane `data.volume.plane`; None for other files.

    Returns:
        `(H, W, C)`: uint8, or float32 in [0, 1].

    Raises:
        DataError: the file cannot be used as declared, or is a volume of several slices and none is chosen.
    """
    config = resolve_card(config)
    count = plane_count(path, config.volume.plane) if is_volume(path) else 1
    if plane is None and count > 1:
        raise DataError(
            f"{shown(path)}: is a volume of {count} {config.volume.plane} slices, not one image. Name one of them by "
            f"its number from 0, such as {shown(path.name)}:{count // 2}."
        )
    wanted = _read(file_sample(path, plane), config)
    measured = [wanted]
    if config.scale.per == "file" and plane is not None:  # as in the run: all slices together
        measured = [_read(file_sample(path, number), config) for number in range(0, count, config.volume.every)]
    data = Measurable(
        samples=[one.sample for one in measured],
        entries=[one.entry for one in measured],
        image=lambda index: measured[index].pixels,
        mask=lambda index: measured[index].mask,
        folder=None,
        progress=False,
    )
    scaling = choose_scales(config, data, [0], state).each[0]
    return wanted.pixels if scaling is None else scaling.apply(wanted.pixels)


@dataclass(frozen=True)
class _Decoded:
    """An image `(H, W, C)`, filled where it holds no data, and its mask `(H, W)`, ignored there and else 0."""

    sample: Sample
    entry: Entry
    pixels: Array
    mask: Mask


def _read(sample: Sample, config: DataConfig) -> _Decoded:
    with open_picture(sample, config) as picture:
        statistics, valid = copy_picture(picture, None)
        pixels, _ = picture.read(slice(None), slice(None))
        mask = np.zeros(picture.shape[:2], np.uint8)
        if valid is not None:
            mask[~valid] = IGNORE_INDEX
            pixels = np.where(valid[..., None], pixels, np.array(statistics.fill(picture.dtype), pixels.dtype))
        return _Decoded(sample, describe(picture, statistics, mask, multilabel=False, stored=False), pixels, mask)
