"""Images by which an exported network is compared with its checkpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.data.single import find_file, read_scaled
from seg_scse.errors import DataError
from seg_scse.evaluation.loaded import Loaded, data_of

MOST_SIDE = 2048
"""Of larger images a part from the middle is compared."""

_CURE = "Say where the data are (data.root=DIR), or name files to compare with: --images FILE ..."


@dataclass(frozen=True)
class Evidence:
    """Images to compare with.

    Attributes:
        source: in words, such as `val split`.
        names: of the images.
        pixels: of the images, (H, W, C), uint8 or float32 in [0, 1], read when they are asked for.
        data: the data set, None where files were named.
        indices: positions of the images in it.
    """

    source: str
    names: tuple[str, ...]
    pixels: Sequence[ArrayLike] | None = None
    data: PreparedData | None = None
    indices: tuple[int, ...] = ()

    def images(self) -> Iterator[Array]:
        """Yield the images, of large ones the middle."""
        if self.data is None:
            yield from (middle(image, MOST_SIDE) for image in self.pixels or ())
        else:
            yield from (middle(self.data.store.image(index), MOST_SIDE) for index in self.indices)

    def at_most(self, limit: int) -> Self:
        """The same with at most so many images of the data set, evenly spread."""
        places = spread(range(len(self.indices)), limit)
        names = tuple(self.names[place] for place in places)
        return replace(self, names=names, indices=tuple(self.indices[place] for place in places))


def middle(image: ArrayLike, side: int) -> Array:
    """Cut at most `side` x `side` pixels from the middle of an image (H, W, C)."""
    tops = [max(0, (length - side) // 2) for length in image.shape[:2]]
    window = (slice(tops[0], tops[0] + side), slice(tops[1], tops[1] + side))
    return np.asarray(image[window])


def brought_to(image: Array, height: int, width: int) -> Array:
    """Bring an image (H, W, C) to a size by cutting its middle, and by reflecting it at the bottom and the right."""
    cut = middle(image, max(height, width))[:height, :width]
    missing = [(0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0)]
    return np.ascontiguousarray(np.pad(cut, missing, mode="symmetric"))


def of_split(loaded: Loaded, split: str, limit: int | None) -> Evidence:
    """Take images of a split of the checkpoint's own data, evenly spread where there are more than `limit`.

    Raises:
        DataError: the data cannot be read; names the cure.
    """
    try:
        data = data_of(loaded)
    except DataError as error:
        raise DataError(f"an exported network is compared on real images, but {error}\n{_CURE}") from error
    indices = spread(data.require(split, "Choose another --split."), limit)
    names = tuple(data.manifest.samples[index].id for index in indices)
    return Evidence(f"{split} split", names, data=data, indices=tuple(indices))


def spread(indices: Sequence[int], limit: int | None) -> list[int]:
    """Choose at most `limit` of the indices, from the first to the last at equal steps."""
    if limit is None or limit >= len(indices):
        return list(indices)
    return [indices[int(place)] for place in np.linspace(0, len(indices) - 1, limit)]


def of_files(loaded: Loaded, names: Sequence[str]) -> Evidence:
    """Take image files, `FILE:12` for slice 12 of a volume, read as the checkpoint's own data are.

    Raises:
        DataError: one cannot be used.
    """
    pixels = []
    for name in names:
        found = find_file(name)
        if found is None:
            raise DataError(f"{shown(name)}: no such file.")
        pixels.append(read_scaled(found[0], loaded.config.data, loaded.state.get("scale"), found[1]))
    return Evidence("files", tuple(Path(name).name for name in names), pixels)


def drawn(loaded: Loaded, count: int = 2) -> Evidence:
    """Draw images with the mean and the spread of the training images, for want of real ones.

    Each is smooth noise of the size of a tile, float32 in [0, 1], the same at every call.
    """
    side, coarse = loaded.config.trainer.crop, max(1, loaded.config.trainer.crop // 8)
    random = np.random.default_rng(0)
    mean, std = (np.asarray(loaded.state[key], np.float32) for key in ("mean", "std"))
    noise = random.normal(size=(count, coarse, coarse, len(mean))).astype(np.float32)
    near = np.arange(side) * coarse // side
    pixels = np.clip(mean + std * noise[:, near][:, :, near], 0, 1)
    return Evidence("drawn images", tuple(f"drawn {number}" for number in range(count)), list(pixels))
