"""Looking at folders nobody has described: what is in them, so that a configuration can be proposed.

This is the one place that guesses. The guess is written into the configuration with its reason, and the reader then
holds the data to it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_scse.config.schema import IGNORE_INDEX, DataConfig, MaskConfig
from seg_scse.data.folders import SPLIT_FOLDERS, list_pairs, require_folder, visible
from seg_scse.data.reading import colours, open_image, same_channels
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

_SPLIT = "{split}"

MOST_INSPECTED = 400
"""Samples looked at; of more, evenly spaced ones. The reader checks all of them afterwards."""

_COLOUR = {"RGB", "RGBA", "LA"}
"""Modes of masks with several channels."""

MOST_CLASSES = 20
"""More distinct mask values than this are compression noise or instances, not classes."""


@dataclass
class Findings:
    """What was seen in the folders.

    Attributes:
        samples: all pairs.
        inspected: how many of them were opened.
        heights: image heights in pixels.
        widths: image widths in pixels.
        grey: every image seen is grey.
        alpha: some image has an alpha channel that is not opaque.
        modes: Pillow modes of the masks and how many there are of each.
        lossy: some mask is a JPEG.
        values: pixels of each mask value.
        objects: the masks are one folder of files per image.
    """

    samples: list[Sample]
    inspected: int
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    grey: bool = True
    alpha: bool = False
    modes: Counter[str] = field(default_factory=Counter)
    lossy: bool = False
    values: Counter[int] = field(default_factory=Counter)
    objects: bool = False


def inspect_folders(images: Path, masks: Path) -> Findings:
    """Open images and masks of two folders and note what they are.

    Raises:
        DataError: a folder is missing, files do not pair, or one cannot be read.
    """
    config = folder_config(images, masks)
    if _is_objects(config):
        config = config.model_copy(update={"mask": MaskConfig(encoding="objects")})
    samples = list_pairs(Path(), config, SPLIT_FOLDERS, [])
    step = max(1, -(-len(samples) // MOST_INSPECTED))
    findings = Findings(samples, len(samples[::step]), objects=config.mask.encoding == "objects")
    for sample in tqdm(samples[::step], desc="looking at the data", unit="image", disable=None, leave=False):
        _inspect(sample, config, findings)
    return findings


def folder_config(images: Path, masks: Path) -> DataConfig:
    """Return the configuration of a pair of folders that names only the folders; split folders become `{split}`.

    Raises:
        DataError: a folder is missing.
    """
    named = []
    for folder, argument in ((images, "--images"), (masks, "--masks")):
        divided = _SPLIT not in str(folder) and _is_divided(require_folder(folder, argument))
        named.append(str(folder.absolute() / _SPLIT if divided else folder.absolute()))
    return DataConfig(images=named[0], masks=named[1])


def _is_divided(folder: Path) -> bool:
    """Tell whether all that a folder holds is folders with the names of splits."""
    entries = visible(folder)
    return bool(entries) and all(entry.is_dir() and entry.name.lower() in SPLIT_FOLDERS for entry in entries)


def _is_objects(config: DataConfig) -> bool:
    """Tell whether the mask folder holds only folders, which are then the objects of one image each."""
    masks = Path(config.masks)
    if _SPLIT in config.masks:
        return False
    entries = visible(masks)
    return bool(entries) and all(entry.is_dir() for entry in entries)


def _inspect(sample: Sample, config: DataConfig, findings: Findings) -> None:
    opened = open_image(sample.image, config.max_pixels)
    pixels, has_alpha = colours(opened, sample.image, "drop")
    findings.alpha |= has_alpha and bool((np.asarray(opened.image.convert("RGBA"))[..., 3] != 255).any())
    findings.grey &= same_channels(pixels)
    findings.heights.append(pixels.shape[0])
    findings.widths.append(pixels.shape[1])
    for path in sample.masks[:1] if findings.objects else sample.masks:
        mask = open_image(path, config.max_pixels)
        raw = np.asarray(mask.image)
        if raw.ndim == 3:
            if not same_channels(raw[..., :3]):
                raise DataError(
                    f"{path}: is a colour mask; which colour is which class cannot be told by looking. "
                    "Convert the masks to one channel of class indices."
                )
            raw = raw[..., 0]
        values, counts = np.unique(raw, return_counts=True)
        findings.modes[mask.image.mode] += 1
        findings.lossy |= mask.format == "JPEG"
        findings.values.update(dict(zip((int(value) for value in values), counts.tolist(), strict=True)))


def guess_mask(findings: Findings) -> tuple[MaskConfig, int, str]:
    """Propose the mask encoding.

    Returns:
        the encoding, the number of classes, and the reason in words.

    Raises:
        DataError: the values allow no proposal.
    """
    found = sorted(findings.values)
    listed = ", ".join(f"{value} ({findings.values[value]:,} pixels)" for value in found[:MOST_CLASSES])
    if findings.objects:
        reason = f"the mask folder holds one folder of object files per image; values {listed}"
        return MaskConfig(encoding="objects", threshold=_between(found)), 2, reason
    if len(found) > MOST_CLASSES or findings.lossy:
        return _guess_threshold(findings)
    if len(found) < 2:
        raise DataError(f"all masks inspected hold one value only: {listed}. There is nothing to learn.")
    modes = set(findings.modes)
    if modes & _COLOUR or (modes <= {"1", "L"} and found == [0, 255]):
        if len(found) > 2 or modes - _COLOUR - {"1", "L"}:
            raise DataError(
                f"the masks have several channels, or are of several kinds ({', '.join(sorted(modes))}), and hold the "
                f"values {listed}: store class indices in one channel."
            )
        return MaskConfig(encoding="binary", threshold=_between(found)), 2, f"two values: {listed}"
    encoding = "palette" if set(findings.modes) == {"P"} else "index"
    ignore = found[-1] == IGNORE_INDEX and len(found) > 2
    classes = found[:-1] if ignore else found
    values = {value: index for index, value in enumerate(classes)} | ({IGNORE_INDEX: IGNORE_INDEX} if ignore else {})
    plain = classes == list(range(len(classes))) and not ignore
    reason = f"values {listed}" + (f"; {IGNORE_INDEX} is taken as pixels to ignore" if ignore else "")
    return MaskConfig(encoding=encoding, values=None if plain else values), len(classes), reason


def _between(found: Sequence[int]) -> int:
    """Return a threshold that tells the lowest from the highest value."""
    return min(254, (found[0] + found[-1]) // 2)


def _guess_threshold(findings: Findings) -> tuple[MaskConfig, int, str]:
    total = findings.values.total()
    ends = sum(count for value, count in findings.values.items() if value < 64 or 192 <= value <= 255)
    if ends < 0.95 * total:
        raise DataError(
            f"the masks hold {len(findings.values)} different values, {ends / total:.0%} of the pixels near 0 or 255: "
            "neither class indices nor black and white. Write a configuration with data.mask (see docs/data.md)."
        )
    reason = (
        f"{len(findings.values)} values, {ends / total:.1%} of the pixels near 0 or 255: black and white with noise"
    )
    return MaskConfig(encoding="binary", threshold=127), 2, reason
