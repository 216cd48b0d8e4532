"""Measuring a scaling, and what it does: one pass over the training images, remembered in the cache."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_scse.config.schema import IGNORE_INDEX, ScaleConfig
from seg_scse.data.array_files import replacing
from seg_scse.data.bands import strips
from seg_scse.data.entries import Entry
from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.samples import Sample
from seg_scse.data.scaling import Scaling, between

T = TypeVar("T")
_FORMAT = 2  # raise it when a measurement changes
MOST_OF_IMAGE, MOST_OF_ALL = 50_000, 10_000_000
"""Pixels that percentiles are taken from: of one image, and of all images together."""


@dataclass(frozen=True)
class Measurable:
    """Images in their files' units.

    Attributes:
        samples: their names and files.
        entries: what is known about them.
        image: pixels (H, W, C) by position.
        mask: mask (H, W) by position.
        folder: where measurements are kept; None: nowhere.
        progress: draw a progress bar on stderr.
    """

    samples: Sequence[Sample]
    entries: Sequence[Entry]
    image: Callable[[int], ArrayLike]
    mask: Callable[[int], ArrayLike]
    folder: Path | None
    progress: bool

    def bar(self, items: Iterable[T], what: str) -> Iterable[T]:
        """Go through images with a progress bar."""
        return tqdm(items, what, unit="image", disable=not self.progress, leave=False)


def remembered(
    data: Measurable, indices: Sequence[int], what: Sequence[object], measure: Callable[[], list[T]]
) -> list[T]:
    """Return what `measure` returned before for these images, in plain JSON types, or call it.

    Args:
        data: the images.
        indices: the positions that are measured.
        what: everything else that the result depends on, in plain JSON types.
        measure: returns plain JSON types.

    Raises:
        OSError: the cache cannot be written.
    """
    if data.folder is None:
        return measure()
    digests = [data.entries[index].image_digest for index in indices]
    key = hashlib.sha256(json.dumps([_FORMAT, what, digests]).encode()).hexdigest()
    path = data.folder / f"{key}.json"
    known = _undamaged(path)
    if known is not None:
        return known
    result = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(json.dumps([_checksum(result), result]).encode())
    return result


def _checksum(result: object) -> str:
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()


def _undamaged(path: Path) -> list[Any] | None:
    """Return what a file of measurements holds, or None where it is missing or not as it was written."""
    try:
        checksum, result = json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    known: list[Any] = result
    return known if checksum == _checksum(known) else None


def measured_scaling(config: ScaleConfig, data: Measurable, indices: Sequence[int]) -> Scaling:
    """Measure `percentile` or `zscore` over some images, all of their pixels counting the same.

    Raises:
        OSError: the cache cannot be written.
    """
    if config.method == "zscore":
        return _around_mean([data.entries[index] for index in indices], config.sigmas)
    found = remembered(
        data, indices, ["percentiles", *config.percentiles], lambda: _percentiles(config.percentiles, data, indices)
    )
    return between(*found)


def file_scalings(config: ScaleConfig, data: Measurable) -> list[Scaling]:
    """Measure each file by itself, all listed slices of a volume together."""
    slices: dict[Path, list[int]] = {}
    for position, sample in enumerate(data.samples):
        slices.setdefault(sample.image, []).append(position)
    found: dict[int, Scaling] = {}
    for positions in data.bar(list(slices.values()), "measuring the scale"):
        found |= dict.fromkeys(positions, measured_scaling(config, data, positions))
    return [found[position] for position in range(len(data.samples))]


def _around_mean(entries: Sequence[Entry], sigmas: float) -> Scaling:
    pixels = max(1, sum(entry.valid for entry in entries))
    mean = np.sum([entry.sums for entry in entries], axis=0, dtype=np.float64) / pixels
    square = np.sum([entry.squares for entry in entries], axis=0, dtype=np.float64) / pixels
    spread = sigmas * np.sqrt(np.maximum(square - mean**2, 0))
    return between((mean - spread).tolist(), (mean + spread).tolist())


def _percentiles(which: Sequence[float], data: Measurable, indices: Sequence[int]) -> list[list[float]]:
    most = max(1, min(MOST_OF_IMAGE, MOST_OF_ALL // len(indices)))
    bar = data.bar(indices, "measuring the scale")
    pixels = np.concatenate([evenly(data, index, most) for index in bar])
    if not len(pixels):
        return [[0.0] * pixels.shape[1], [1.0] * pixels.shape[1]]
    bands = [np.percentile(pixels[:, band].astype(np.float64), which) for band in range(pixels.shape[1])]
    return [[float(band[0]) for band in bands], [float(band[1]) for band in bands]]


def evenly(data: Measurable, index: int, most: int) -> Array:
    """Take at most `most` valid pixels of an image at even distances, `(n, C)`."""
    entry, image, mask = data.entries[index], data.image(index), data.mask(index)
    step, taken, parts = max(1, -(-entry.valid // most)), 0, []
    for rows in strips(*entry.shape[:2]):
        block = np.asarray(image[rows, :])
        flat = block.reshape(-1, entry.shape[2])
        if entry.valid < entry.pixels:
            flat = flat[~_filled(entry, block, np.asarray(mask[rows, :])).ravel()]
        parts.append(flat[-taken % step :: step].copy())  # a view would keep the strip in memory
        taken += len(flat)
    return np.concatenate(parts)


def _filled(entry: Entry, block: Array, mask: Array) -> NDArray[np.bool_]:
    """Find pixels without data: ignored, and filled in every band."""
    ignored: NDArray[np.bool_] = np.equal(mask, IGNORE_INDEX)
    ignored &= (block == np.array(entry.fill, block.dtype)).all(axis=-1)
    return ignored


@dataclass(frozen=True)
class Tally:
    """Scaled values of an image, one number per band: sum, sum of squares, and how many were clipped."""

    sums: list[float]
    squares: list[float]
    clipped: list[int]


def tallies(data: Measurable, indices: Sequence[int], scalings: Sequence[Scaling | None]) -> dict[int, Tally]:
    """Add up the scaled valid pixels of some images, which are read only where values are clipped or not whole.

    Args:
        data: the images.
        indices: positions to add up.
        scalings: by position.

    Raises:
        OSError: the cache cannot be written.
    """
    pairs = [(index, scaling) for index in indices if (scaling := scalings[index]) is not None]
    found = {index: _in_range(data.entries[index], scaling) for index, scaling in pairs}
    left = [index for index, tally in found.items() if tally is None]
    known = dict(pairs)
    if left:
        what = ["tallies", [[known[index].low, known[index].high] for index in left]]

        def measure() -> list[dict[str, Any]]:
            return [asdict(_read_tally(data, index, known[index])) for index in data.bar(left, "scaling")]

        rows = remembered(data, left, what, measure)
        found |= {index: Tally(**row) for index, row in zip(left, rows, strict=True)}
    return {index: tally for index, tally in found.items() if tally is not None}


def _in_range(entry: Entry, scaling: Scaling) -> Tally | None:
    """Follow from the sums in the file's units, where no value is clipped; None where pixels must be read."""
    inside = all(
        low <= least and most <= high
        for low, least, most, high in zip(scaling.low, entry.minima, entry.maxima, scaling.high, strict=True)
    )
    if entry.dtype == "float32" or not inside:
        return None
    sums, squares = [], []
    for total, square, low, high in zip(entry.sums, entry.squares, scaling.low, scaling.high, strict=True):
        width, n = high - low, entry.valid
        sums.append((total - n * low) / width)
        squares.append((square - 2 * low * total + n * low * low) / (width * width))
    return Tally(sums, squares, [0] * len(sums))


def _read_tally(data: Measurable, index: int, scaling: Scaling) -> Tally:
    bands = data.entries[index].shape[2]
    sums, squares, clipped = np.zeros(bands), np.zeros(bands), np.zeros(bands, np.int64)
    for block, times in _blocks(data, index):
        scaled = scaling.apply(block).astype(np.float64)
        sums += times * scaled.sum(axis=0)
        squares += times * np.einsum("nc,nc->c", scaled, scaled)
        clipped += times * ((block < scaling.low) | (block > scaling.high)).sum(axis=0)
    return Tally(sums.tolist(), squares.tolist(), clipped.tolist())


def _blocks(data: Measurable, index: int) -> Iterator[tuple[Array, int]]:
    """Pixels (n, C) and how often they count: those without data are read filled, and taken off again."""
    entry, image = data.entries[index], data.image(index)
    for rows in strips(*entry.shape[:2]):
        yield np.asarray(image[rows, :]).reshape(-1, entry.shape[2]), 1
    yield np.array([entry.fill], entry.dtype), entry.valid - entry.pixels
