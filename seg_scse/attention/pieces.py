"""Walking over a feature map in pieces that fit the processor's cache.

A map (N, C, *spatial) is seen as (N, P, C) with P pixels, in either memory order; a piece (n, p, C) of it is some of
its samples, or some pixels of one sample. float16 and bfloat16 maps are widened to float32 piece by piece: `wide` is
float32, or float64 for a float64 map.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CACHED = 2**18
"""Elements of a piece for each thread of a CPU. Larger ones leave the second-level cache, smaller ones cost calls."""
UNCACHED = 2**24
"""Elements of a piece on other devices, where it only bounds the memory for temporaries."""

Piece = tuple[slice, slice]
"""Samples and pixels."""


def wide(x: Tensor) -> torch.dtype:
    """Return the dtype in which x is summed."""
    return torch.promote_types(x.dtype, torch.float32)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    """Return x (N, C, *spatial) with its channels or its pixels innermost and no gaps: itself, or a copy if needed."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


def by_pixel(x: Tensor) -> Tensor:
    """View a map (N, C, *spatial) without gaps as (N, P, C)."""
    return x.flatten(2).transpose(1, 2)


def pieces(x: Tensor) -> Iterator[Piece]:
    """Cut a map (N, P, C) into pieces, the first of which is the largest."""
    samples, pixels, channels = x.shape
    most = CACHED * torch.get_num_threads() if x.device.type == "cpu" else UNCACHED
    if pixels * channels <= most:
        step = most // (pixels * channels)
        yield from ((slice(start, start + step), slice(None)) for start in range(0, samples, step))
    else:
        step = max(most // channels, 1)
        for sample in range(samples):
            yield from ((slice(sample, sample + 1), slice(start, start + step)) for start in range(0, pixels, step))


def sweep(x: Tensor, arrays: int) -> Iterator[tuple[Piece, list[Tensor]]]:
    """Walk over a map (N, P, C) with wide arrays (n, p, C) for temporaries, in the memory order of the map.

    The arrays are the same memory for all pieces: it stays in the cache, and fresh memory would cost page faults.
    """
    memory: list[Tensor] = []
    for piece in pieces(x):
        n, p, c = x[piece].shape
        memory = memory or [x.new_empty(n * p * c, dtype=wide(x)) for _ in range(arrays)]
        if x.stride(2) == 1:
            yield piece, [flat[: n * p * c].view(n, p, c) for flat in memory]
        else:
            yield piece, [flat[: n * p * c].view(n, c, p).transpose(1, 2) for flat in memory]


def widened(piece: Tensor, array: Tensor) -> Tensor:
    """Return a piece in the wide dtype: itself, or a copy in `array`."""
    return piece if piece.dtype == array.dtype else array.copy_(piece)


def project(piece: Tensor, row: Tensor) -> Tensor:
    """Return (n, p, 1), the product of each pixel's channels with a row (n or 1, 1, C).

    The row comes first: in that order torch's product copies the piece in neither memory order.
    """
    return torch.bmm(row.expand(piece.shape[0], -1, -1), piece.transpose(1, 2)).transpose(1, 2)
