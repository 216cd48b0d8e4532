"""An image file that is in no data set, as a trained network is to see it."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.pictures import file_sample, open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.files.volumes import is_volume, plane_count
from seg_scse.data.names import shown
from seg_scse.data.seen import Filled, Seen, scaling_of
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
    with ExitStack() as stack:

        def filled(number: int | None) -> Filled:
            return Filled(stack.enter_context(open_picture(file_sample(path, number), config)), shown(path))

        wanted = filled(plane)
        measured = [wanted]
        if config.scale.per == "file" and plane is not None:  # as in the run: all slices together
            measured = [filled(number) for number in range(0, count, config.volume.every)]
        return np.asarray(Seen(wanted, config, scaling_of(measured, config, state)))
