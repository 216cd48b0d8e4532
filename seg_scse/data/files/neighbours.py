"""A slice of a volume with the slices around it as further channels: 2.5-D."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from seg_scse.config.schema import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.files.channels import Valid
from seg_scse.data.files.pictures import Picture
from seg_scse.data.files.raster import Array
from seg_scse.data.files.volumes import is_volume, plane_count
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

Opener = Callable[[Sample, DataConfig], AbstractContextManager[Picture]]


class Stacked(Picture):
    """Neighbouring slices as one image; where there is no data is told by the slice in the middle.

    A neighbour's pixel without data gives way to that of the slice in the middle, as a neighbour beyond the end gives
    way to the last slice.

    Attributes:
        shape: `(H, W, C)`: the channels of the lowest slice come first.
        facts: those of the slice in the middle, and what this is.
    """

    def __init__(self, slices: Sequence[Picture]) -> None:
        middle = slices[len(slices) // 2]
        self._slices, self._middle = slices, middle
        self.shape = (*middle.shape[:2], sum(one.shape[2] for one in slices))
        self.dtype, self.place, self.nodata = middle.dtype, middle.place, middle.nodata
        self.facts = (*middle.facts, f"come with {counted(len(slices) // 2, 'neighbouring slice')} on each side")
        self.windowed, self.partial = False, middle.partial

    def read(self, rows: slice, cols: slice) -> tuple[Array, Valid]:
        """Read a window of all slices; see `Picture.read`.

        Raises:
            DataError: the file cannot be decoded or is not as declared.
        """
        middle, valid = self._middle.read(rows, cols)
        found: dict[int, Array] = {id(self._middle): middle}
        for one in self._slices:
            if id(one) not in found:  # the last slice stands for those beyond it
                found[id(one)] = _filled(*one.read(rows, cols), middle)
        return np.concatenate([found[id(one)] for one in self._slices], axis=2), valid


def _filled(pixels: Array, valid: Valid, middle: Array) -> Array:
    return pixels if valid is None else np.where(valid[..., None], pixels, middle)


def around(plane: int, count: int, neighbours: int) -> list[int]:
    """Numbers of a slice and its neighbours, from below, the first and the last slice standing for those beyond."""
    return [min(max(plane + offset, 0), count - 1) for offset in range(-neighbours, neighbours + 1)]


def stacked(slices: Callable[[int], Picture], plane: int, count: int, neighbours: int) -> Picture:
    """Put a slice and its neighbours together; each is made once.

    Args:
        slices: gives a slice by its number.
        plane: number of the slice in the middle.
        count: of the slices.
        neighbours: on each side; 0: the slice alone.
    """
    numbers = around(plane, count, neighbours)
    made = {number: slices(number) for number in sorted(set(numbers))}
    return Stacked([made[number] for number in numbers]) if neighbours else made[plane]


@contextmanager
def open_stack(sample: Sample, config: DataConfig, open_one: Opener) -> Iterator[Picture]:
    """Open a slice of a volume with its neighbours.

    Args:
        sample: of a volume; its `plane` is the number of the slice.
        config: `volume.plane` and `volume.neighbours`, and what `open_one` uses.
        open_one: opens one slice.

    Raises:
        DataError: the image is no volume, or as `open_one`.
    """
    alone = config.model_copy(update={"volume": config.volume.model_copy(update={"neighbours": 0})})
    if sample.plane is None and not is_volume(sample.image):
        raise DataError(
            f"{shown(sample.image)}: is no volume, and has no neighbouring slices. A network with "
            f"data.volume.neighbours = {config.volume.neighbours} takes volumes; one for single images has 0."
        )
    count = plane_count(sample.image, config.volume.plane)
    if sample.plane is None and count > 1:  # refused as without neighbours
        with open_one(sample, alone) as picture:
            yield picture
        return
    with ExitStack() as stack:
        yield stacked(
            lambda number: stack.enter_context(open_one(replace(sample, plane=number), alone)),
            sample.plane or 0,
            count,
            config.volume.neighbours,
        )
