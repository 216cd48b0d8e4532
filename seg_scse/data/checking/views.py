"""Small pictures and histograms of some samples, spread over splits and classes, for a page to look at."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.checking.tally import BandRow, Pair, present_classes, split_of
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.files.raster import Array
from seg_scse.data.files.reading import read_raster
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

SIDE = 192
"""Longest side of a picture in pixels."""

MOST_VIEWS = 48
BINS = 64

_WINDOW = 2048  # of a larger image the middle is shown
_MOST_PIXELS = 100_000_000  # read for all pictures together
_THREADS = 2
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class View:
    """One sample made small.

    Attributes:
        sample: which one.
        shape: `(H, W)` of the image.
        cropped: only the middle is shown.
        rgb: uint8 `(h, w, 3)`.
        labels: class indices, uint8 `(h, w)`; None where there is no mask that can be read.
        counts: of each band, pixels in `BINS` bins from its lowest to its highest value; int `(C, BINS)`.
        top: of each band, pixels at the highest value; int `(C,)`.
        pixels: number of pixels counted.
    """

    sample: Sample
    shape: tuple[int, int]
    cropped: bool
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    counts: NDArray[np.int64]
    top: NDArray[np.int64]
    pixels: int


def choose_samples(pairs: Sequence[Pair], most: int = MOST_VIEWS) -> list[Pair]:
    """Choose samples in turn from every combination of split and class, the same ones at every call.

    Args:
        pairs: samples with their facts.
        most: how many.
    """
    buckets: dict[tuple[str, int], list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].id.encode(errors="replace")).digest()):
        for index in present_classes(pair[1], 1) or {0}:
            buckets.setdefault((split_of(pair[0]), index), []).append(pair)
    chosen: dict[str, Pair] = {}
    queues = [iter(buckets[key]) for key in sorted(buckets)]
    while queues and len(chosen) < most:
        for queue in list(queues):
            found = next((pair for pair in queue if pair[0].id not in chosen), None)
            if found is None:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen[found[0].id] = found
    return sorted(chosen.values(), key=lambda pair: (split_of(pair[0]), pair[0].id))


def make_views(pairs: Sequence[Pair], bands: Sequence[BandRow], config: DataConfig) -> list[View]:
    """Read chosen samples and make them small; a sample whose file changed meanwhile is left out.

    Args:
        pairs: samples with their facts; the rest is left out when enough pixels were read.
        bands: lowest and highest value of each band, for the histograms and for brightness.
        config: the `data` section.
    """
    affordable = list(_affordable(pairs))
    with ThreadPoolExecutor(_THREADS) as pool:
        views = pool.map(lambda pair: _view(pair, bands, config), affordable)
        return [view for view in views if view is not None]


def _affordable(pairs: Sequence[Pair]) -> Iterator[Pair]:
    pixels = 0
    for pair in pairs:
        if pixels > _MOST_PIXELS:
            return
        pixels += min(pair[1].shape[0], _WINDOW) * min(pair[1].shape[1], _WINDOW)
        yield pair


def _middle(length: int) -> slice:
    start = max(0, (length - _WINDOW) // 2)
    return slice(start, min(length, start + _WINDOW))


def _view(pair: Pair, bands: Sequence[BandRow], config: DataConfig) -> View | None:
    sample, entry = pair
    height, width = entry.shape[:2]
    rows, cols = _middle(height), _middle(width)
    try:
        with open_picture(sample, config) as picture:
            pixels, valid = picture.read(rows, cols)
            labels = read_mask(sample, (height, width), picture.place, config)[rows, cols]
    except DataError:
        return None
    usable = np.ones(pixels.shape[:2], bool) if valid is None else valid
    own = config.own_channels
    values = [pixels[..., band][usable] for band in range(pixels.shape[2])]
    return View(
        sample=sample,
        shape=(height, width),
        cropped=pixels.shape[:2] != (height, width),
        rgb=_small(_displayed(pixels[..., own], config.slice_bands, bands[own])),
        labels=_sampled(np.where(usable, _one_label(labels, config), IGNORE_INDEX).astype(np.uint8)),
        counts=np.stack([_histogram(band, row) for band, row in zip(values, bands, strict=True)]),
        top=np.array([(band == row.high).sum() for band, row in zip(values, bands, strict=True)]),
        pixels=int(usable.sum()),
    )


def problem_view(sample: Sample, config: DataConfig) -> View | None:
    """The image of a sample that cannot be used, as its file holds it; None where it cannot be read."""
    try:
        raster = read_raster(sample.image, config.max_pixels, sample.plane, config.volume.plane)
    except DataError:
        return None
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels[..., 0]]
    shape = (pixels.shape[0], pixels.shape[1])
    nothing = np.zeros((0, BINS), np.int64)
    return View(sample, shape, False, _small(_displayed(pixels, (), ())), None, nothing, nothing[:, 0], 0)


def _one_label(labels: NDArray[np.uint8], config: DataConfig) -> NDArray[np.uint8]:
    """One class per pixel to draw: of several labels the first."""
    if config.task == "multiclass":
        return labels
    first = np.zeros(256, np.uint8)
    for bits in range(1, 256):
        first[bits] = (bits & -bits).bit_length()
    first[IGNORE_INDEX] = IGNORE_INDEX
    return first[labels]


def _displayed(pixels: Array, names: Sequence[str], bands: Sequence[BandRow]) -> NDArray[np.uint8]:
    """Three bands as uint8 `(H, W, 3)`: red, green and blue where they are named so, else the first ones."""
    count = pixels.shape[2]
    lowered = [name.lower() for name in names]
    if all(colour in lowered for colour in _COLOURS):
        chosen = [lowered.index(colour) for colour in _COLOURS]
    else:
        chosen = [0, 1, 2] if count >= 3 else [0, 0, 0]
    if pixels.dtype == np.uint8 and (count <= 3 or not bands):
        return np.ascontiguousarray(pixels[..., chosen])
    return np.stack([_stretched(pixels[..., band]) for band in chosen], axis=-1)


def _stretched(level: Array) -> NDArray[np.uint8]:
    """Brightness from the 1st to the 99th percentile of the picture."""
    step = max(1, max(level.shape) // 512)
    few = level[::step, ::step].astype(np.float64)
    few = few[np.isfinite(few)]
    low, high = np.percentile(few, (1, 99)) if few.size else (0.0, 1.0)
    scaled = (np.nan_to_num(level.astype(np.float32)) - low) / max(float(high - low), 1e-12)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _small_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    factor = min(1.0, SIDE / max(shape[:2]))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = _small_shape(rgb.shape)
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))


def _sampled(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels at the size of `_small`: those of the pixels in the middle, never a mean of two classes."""
    small = _small_shape(labels.shape)
    rows, cols = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(small, labels.shape, strict=True))
    sampled: NDArray[np.uint8] = labels[rows[:, None], cols[None, :]]
    return sampled


def _histogram(values: Array, row: BandRow) -> NDArray[np.int64]:
    high = row.high if row.high > row.low else row.low + 1
    return np.histogram(values, bins=BINS, range=(row.low, high))[0].astype(np.int64)
