"""Rows of an image that come in strips of any height, in the portions that a file format wants."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def regrouped(strips: Iterable[Array], shape: tuple[int, int], rows: int) -> Iterator[Array]:
    """Yield the same rows in portions of `rows`; the last one may be lower.

    GDAL writes a compressed block that was filled in two steps twice, and leaves a hole in the file.

    Args:
        strips: (..., h, W), from the top to the bottom, each h >= 1.
        shape: (H, W) of the image.
        rows: of a portion, at least 1.

    Returns:
        Arrays that are overwritten by the next one.

    Raises:
        ValueError: the strips are not H rows of W pixels: the file would be complete in name only.
    """
    buffer: Array | None = None
    filled = seen = 0
    for strip in strips:
        if strip.shape[-1] != shape[1] or seen + strip.shape[-2] > shape[0]:
            raise ValueError(f"a strip {strip.shape} at row {seen} does not fit into an image {shape}")
        if buffer is None:
            buffer = np.empty((*strip.shape[:-2], min(rows, shape[0]), shape[1]), strip.dtype)
        at = 0
        while at < strip.shape[-2]:
            part = strip[..., at : at + buffer.shape[-2] - filled, :]
            buffer[..., filled : filled + part.shape[-2], :] = part
            at, filled, seen = at + part.shape[-2], filled + part.shape[-2], seen + part.shape[-2]
            if filled == buffer.shape[-2]:
                yield buffer
                filled = 0
    if seen < shape[0]:
        raise ValueError(f"the strips end at row {seen} of an image {shape}")
    if buffer is not None and filled:
        yield buffer[..., :filled, :]
