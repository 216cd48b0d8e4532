"""Where the classes of a mask are: some pixels of each, for crops around them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.data.array_files import replacing
from seg_scse.data.bands import strips
from seg_scse.data.lazy import ArrayLike

MOST_PLACES = 1000
"""Pixels that are remembered of each class of an image."""


@dataclass(frozen=True)
class Places:
    """Pixels of the classes of one mask.

    Attributes:
        pixels: of each class that is there, ignored pixels not: int32 `(n, 2)` rows and columns, evenly spread.
        counts: how many pixels each of them has.
    """

    pixels: dict[int, NDArray[np.int32]]
    counts: dict[int, int]


def find_places(mask: ArrayLike, counts: dict[int, int]) -> NDArray[np.int32]:
    """Take at most `MOST_PLACES` pixels of each class at even distances in reading order.

    Args:
        mask: `(H, W)` class indices.
        counts: pixels of each class.

    Returns:
        `(n, 3)`: class, row, column.
    """
    height, width = mask.shape
    seen = dict.fromkeys(sorted(counts), 0)
    seen.pop(IGNORE_INDEX, None)
    found = [np.empty((0, 3), np.int32)]
    for rows in strips(height, width):
        strip = np.asarray(mask[rows, :])
        for label in seen:
            step, at = -(-counts[label] // MOST_PLACES), np.flatnonzero(strip == label)
            row, column = np.divmod(at[-seen[label] % step :: step], width)
            found.append(np.stack([np.full_like(row, label), row + rows.start, column], axis=1).astype(np.int32))
            seen[label] += len(at)
    return np.concatenate(found)


def remembered_places(path: Path, mask: ArrayLike, counts: dict[int, int]) -> Places:
    """Read the places of a mask from the cache, or find and keep them there.

    Raises:
        OSError: the cache cannot be written.
    """
    try:
        table = np.fromfile(path, np.int32).reshape(-1, 3)
    except (OSError, ValueError):
        table = find_places(mask, counts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(np.ascontiguousarray(table).data)
    labels = np.unique(table[:, 0]).tolist()
    return Places({label: table[table[:, 0] == label, 1:] for label in labels}, {k: counts[k] for k in labels})
