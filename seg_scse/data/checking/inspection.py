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

from seg_scse.config.schema import DataConfig, MaskConfig
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.files.reading import read_raster, same_channels
from seg_scse.data.listing.folders import SPLIT_FOLDERS, require_folder, visible
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError, numbered

_SPLIT = "{split}"

MOST_INSPECTED = 400
"""Samples looked at; of more, evenly spaced ones. The reader checks all of them afterwards."""

_MOST_COUNTED = 4096  # more distinct colours than this are noise, whatever is counted further
_NO_PIXELS = ("polygons", "rle")
_SEVERAL_FILES = ("objects", "files")


@dataclass
class Seen:
    """What was seen in images and masks.

    Attributes:
        samples: all samples.
        inspected: how many of them were opened.
        problems: what could not be opened.
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


def inspect_folders(images: Path, masks: Path) -> Seen:
    """Open images and masks of two folders and note what they are.

    Raises:
        DataError: a folder is missing, files do not pair, or some cannot be read; all of them are listed.
    """
    config = folder_config(images, masks)
    listing = list_samples(config)
    seen = look(listing.samples, config)
    problems = [*listing.problems, *seen.problems]
    if problems:
        raise DataError(f"{len(problems)} problems in {shown(images)} and {shown(masks)}:\n{numbered(problems)}")
    return seen


def folder_config(images: Path, masks: Path) -> DataConfig:
    """Return the configuration of a pair of folders; split folders become `{split}`, folders of masks `objects`.

    Raises:
        DataError: a folder is missing.
    """
    named = []
    for folder, argument in ((images, "--images"), (masks, "--masks")):
        divided = _SPLIT not in str(folder) and _is_divided(require_folder(folder, argument))
        named.append(str(folder.absolute() / _SPLIT if divided else folder.absolute()))
    config = DataConfig(images=named[0], masks=named[1])
    return config.model_copy(update={"mask": MaskConfig(encoding="objects")}) if _is_objects(config) else config


def _is_divided(folder: Path) -> bool:
    """Tell whether all that a folder holds is folders with the names of splits."""
    entries = visible(folder)
    return bool(entries) and all(entry.is_dir() and entry.name.lower() in SPLIT_FOLDERS for entry in entries)


def _is_objects(config: DataConfig) -> bool:
    """Tell whether the mask folder holds only folders with the names of images, which are then their objects."""
    if _SPLIT in config.masks:
        return False
    entries = visible(Path(config.masks))
    beside = {entry.name for entry in visible(Path(config.images)) if entry.is_dir()}
    return bool(entries) and all(entry.is_dir() and entry.name not in beside for entry in entries)


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
    """Add what the mask files of a sample hold; of several files per image, of the first."""
    if config.mask.encoding in _NO_PIXELS:
        return
    for path in sample.masks[:1] if config.mask.encoding in _SEVERAL_FILES else sample.masks:
        try:
            raster = read_raster(path, config.max_pixels, sample.plane, config.volume.plane)
        except DataError as error:
            seen.problems.append(str(error))
            continue
        _look_at_mask(raster, seen)


def _look_at_mask(raster: Raster, seen: Seen) -> None:
    pixels = raster.pixels
    channels = pixels.shape[2]
    seen.lossy |= raster.format == "JPEG"
    seen.mask_kinds["palette" if raster.kind == "palette" else "single" if channels == 1 else "several"] += 1
    if channels - raster.alpha == 3 and pixels.dtype == np.uint8:
        seen.coloured |= not same_channels(pixels[..., :3])
        _count_colours(pixels, seen)
    elif channels - raster.alpha > 1:
        seen.mask_kinds["bands"] += 1
    level = pixels[..., 0]
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
