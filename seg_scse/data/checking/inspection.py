"""Looking at data nobody has described: what is in it, so that a configuration can be proposed (`proposals`).

This is the one place that looks at masks without knowing what they mean. The guess is written into the configuration
with its reason, and the reader then holds the data to it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.files.reading import read_raster, same_channels
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.masks.values import looks_lossy
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError, numbered

MOST_INSPECTED = 400
"""Samples looked at; of more, evenly spaced ones. The reader checks all of them afterwards."""

_MOST_COUNTED = 4096  # more distinct colours than this are noise, whatever is counted further
_NO_PIXELS = ("polygons", "rle")


@dataclass
class Seen:
    """What was seen in images and masks.

    Attributes:
        samples: all samples.
        inspected: how many of them were opened.
        problems: what does not pair or could not be opened.
        heights: image heights in pixels.
        widths: image widths in pixels.
        formats: formats of the images.
        kinds: kinds of the images, see `Raster`.
        dtypes: pixel types of the images.
        bands: numbers of bands of the images, without what the file calls alpha.
        names: names that a file gives its bands.
        low: smallest finite value of any image.
        high: largest one.
        grey: every image seen is grey.
        alpha: some image has an alpha channel that is not opaque.
        spectral: an alpha channel has more values than transparency has: it is a band.
        mask_kinds: palette, single (one channel) or several (channels) -> masks.
        lossy: some mask is a JPEG.
        fractions: some mask holds other than whole numbers.
        values: pixels of each mask value; of several equal channels, of the first.
        coloured: some mask has colours.
        colours: pixels of each colour `#rrggbb` of masks with three channels.
        objects: the masks are one folder of files per image.
        nodata: some mask has pixels that its file declares to hold no data; they are in no other count.
        missing: the values of these pixels.
    """

    samples: list[Sample]
    inspected: int
    problems: list[str] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    bands: Counter[int] = field(default_factory=Counter)
    names: tuple[str, ...] | None = None
    low: float = float("inf")
    high: float = float("-inf")
    grey: bool = True
    alpha: bool = False
    spectral: bool = False
    mask_kinds: Counter[str] = field(default_factory=Counter)
    lossy: bool = False
    fractions: bool = False
    values: Counter[int] = field(default_factory=Counter)
    coloured: bool = False
    colours: Counter[str] = field(default_factory=Counter)
    objects: bool = False
    nodata: bool = False
    missing: Counter[int] = field(default_factory=Counter)

    @property
    def noisy(self) -> bool:
        """Mask values are not exact: JPEG, or what a JPEG left in a file of another format."""
        bytes_only = max(self.values, default=0) <= IGNORE_INDEX and not self.mask_kinds["palette"]
        return self.lossy or (bytes_only and looks_lossy(self.values))


def inspect(config: DataConfig) -> Seen:
    """List samples and open some; what is wrong with the files is among `problems`."""
    listing = list_samples(config)
    seen = look(listing.samples, config)
    seen.problems[:0] = listing.problems
    return seen


def require_sound(seen: Seen, images: Path, masks: Path) -> None:
    """Raise a DataError with all problems, if there are any."""
    if seen.problems:
        listed = numbered(seen.problems)
        raise DataError(f"{len(seen.problems)} problems in {shown(images)} and {shown(masks)}:\n{listed}")


def look(samples: Sequence[Sample], config: DataConfig, progress: bool | None = None) -> Seen:
    """Open up to `MOST_INSPECTED` evenly spaced samples and note what they are; files that cannot be read are noted.

    Args:
        samples: samples with their files.
        config: `mask.encoding` says whether mask files hold pixels; `volume` and `max_pixels` are used.
        progress: draw a progress bar; None: where stderr is a terminal.
    """
    chosen = samples[:: max(1, -(-len(samples) // MOST_INSPECTED))]
    seen = Seen(list(samples), len(chosen), objects=config.mask.encoding == "objects")
    quiet = None if progress is None else not progress
    for sample in tqdm(chosen, desc="looking at the data", unit="image", disable=quiet, leave=False):
        look_at_image(sample, config, seen)
        look_at_masks(sample, config, seen)
    return seen


def look_at_image(sample: Sample, config: DataConfig, seen: Seen) -> None:
    """Add what the image of a sample is."""
    try:
        raster = read_raster(sample.image, config.max_pixels, sample.plane, config.volume.plane)
    except DataError as error:
        seen.problems.append(str(error))
        return
    seen.heights.append(raster.pixels.shape[0])
    seen.widths.append(raster.pixels.shape[1])
    seen.formats[raster.format] += 1
    seen.kinds[raster.kind] += 1
    seen.dtypes[str(raster.pixels.dtype)] += 1
    seen.names = seen.names or raster.names
    pixels = raster.palette[raster.pixels[..., 0]] if raster.palette is not None else raster.pixels
    if raster.alpha and raster.palette is None:
        _look_at_alpha(raster, seen)
        pixels = pixels[..., :-1]
    seen.bands[pixels.shape[2]] += 1
    seen.grey &= same_channels(pixels)
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if finite.size:
        seen.low, seen.high = min(seen.low, float(finite.min())), max(seen.high, float(finite.max()))


def _look_at_alpha(raster: Raster, seen: Seen) -> None:
    """Transparency is 0, 255 and a few values at edges; a band of a satellite image has many, and is rarely full."""
    alpha = raster.pixels[..., -1]
    opaque = alpha == np.iinfo(alpha.dtype).max if alpha.dtype.kind != "f" else alpha == 1
    seen.alpha |= not opaque.all()
    seen.spectral |= raster.format == "TIFF" and bool(opaque.mean() < 0.5) and len(np.unique(alpha)) > 16


def look_at_masks(sample: Sample, config: DataConfig, seen: Seen) -> None:
    """Add what the mask files of a sample hold; of its objects, the first."""
    if config.mask.encoding in _NO_PIXELS:
        return
    for path in sample.masks[:1] if config.mask.encoding == "objects" else sample.masks:
        try:
            raster = read_raster(path, config.max_pixels, sample.plane, config.volume.plane)
        except DataError as error:
            seen.problems.append(str(error))
            continue
        _look_at_mask(raster, seen)


def _look_at_mask(raster: Raster, seen: Seen) -> None:
    pixels = raster.pixels
    channels = pixels.shape[2]
    valid = None if raster.valid is None or raster.valid.all() else raster.valid
    seen.lossy |= raster.format == "JPEG"
    seen.mask_kinds["palette" if raster.kind == "palette" else "single" if channels == 1 else "several"] += 1
    if channels - raster.alpha == 3 and pixels.dtype == np.uint8:
        seen.coloured |= not same_channels(pixels[..., :3])
        _count_colours(pixels if valid is None else pixels[valid][None], seen)
    elif channels - raster.alpha > 1:
        seen.mask_kinds["bands"] += 1
    level = pixels[..., 0]
    if valid is not None:
        without, level = level[~valid], level[valid]
        seen.nodata = True
        seen.missing.update(_counts(without[np.isfinite(without)]))
    if level.dtype.kind == "f":
        seen.fractions |= bool((~np.isfinite(level) | (level != np.round(level))).any())
    if not seen.fractions:
        seen.values.update(_counts(level))


def _count_colours(pixels: Array, seen: Seen) -> None:
    if len(seen.colours) > _MOST_COUNTED:
        return
    packed = (pixels[..., 0].astype(np.uint32) << 16) | (pixels[..., 1].astype(np.uint32) << 8) | pixels[..., 2]
    seen.colours.update({f"#{colour:06x}": count for colour, count in _counts(packed).items()})


def _counts(level: Array) -> dict[int, int]:
    if level.dtype == np.uint8:
        counts = np.bincount(level.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in counts.nonzero()[0]}
    values, numbers = np.unique(level, return_counts=True)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True)}
