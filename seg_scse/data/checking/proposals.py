"""A `data` section for data that was looked at, with the reason of every choice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from seg_scse.config.schema import IGNORE_INDEX, MaskConfig
from seg_scse.data.checking.grouping import group_hint
from seg_scse.data.checking.inspection import Seen
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

MOST_CLASSES = 20
"""More distinct mask values or colours than this are compression noise or instances, not classes."""

NODATA = ("value", "ignore")
"""Values of `mask.nodata`: pixels with the declared value are as any others, or are ignored."""

Reasons = dict[str, str]
_HOUNSFIELD = -500  # air is -1000; no other unit of a scanner goes that far below 0
_FOUR = ("red", "green", "blue", "nir")
_PICTURES = {"palette", "gray", "colour"}


def propose_images(seen: Seen) -> tuple[dict[str, Any], Reasons]:
    """Propose `channels` or `bands`, `alpha` and `scale`, each only where it is not the default.

    Returns:
        the keys of the `data` section, and the reasons by dotted key.

    Raises:
        DataError: images have different numbers of bands.
    """
    chosen: dict[str, Any] = {}
    reasons: Reasons = {}
    if set(seen.kinds) <= _PICTURES and not seen.spectral:
        if seen.grey:
            chosen["channels"] = "gray"
            reasons["data.channels"] = "every image seen is grey"
        if seen.alpha:
            chosen["alpha"] = "drop"
            reasons["data.alpha"] = "some images have a fourth channel that is not opaque; it is left out"
    elif seen.kinds:
        chosen["bands"], reasons["data.bands"] = _bands(seen)
    scale = propose_scale(seen)
    if scale is not None:
        chosen["scale"], reasons["data.scale"] = scale
    return chosen, reasons


def _bands(seen: Seen) -> tuple[list[str], str]:
    counts = {count + seen.spectral: images for count, images in seen.bands.items()}
    if len(counts) > 1:
        listed = ", ".join(f"{images} of {count}" for count, images in sorted(counts.items()))
        raise DataError(
            f"images have different numbers of bands: {listed}. One network takes one number of them: put each kind "
            "into a folder of its own."
        )
    count = next(iter(counts))
    names = [f"band{index}" for index in range(1, count + 1)]
    reason = f"{count} bands, named by number: give them their names; data.use chooses among them"
    if count == len(_FOUR):
        names, reason = list(_FOUR), f"{count} bands, named as they usually come: check it; data.use chooses among them"
    if seen.names is not None and len(set(seen.names)) == count:
        names, reason = list(seen.names), f"{count} bands, named as the first file names them"
    if seen.spectral:
        reason += ". The files call the last one transparency, but its values vary as an image's do: taken as a band"
    return names, reason


def propose_scale(seen: Seen) -> tuple[dict[str, Any], str] | None:
    """Propose how values become numbers in [0, 1] where the type alone does not say it.

    Args:
        seen: `dtypes`, `formats`, `low` and `high` are used.

    Returns:
        `data.scale` and the reason; None where the types say it.
    """
    types = " and ".join(seen.dtypes)
    span = f"{types} with values from {seen.low:g} to {seen.high:g}"
    fractions = set(seen.dtypes) == {"float32"} and seen.low >= 0 and seen.high <= 1
    if not seen.dtypes or set(seen.dtypes) == {"uint8"} or fractions:
        return None
    if set(seen.formats) <= {"NIfTI", "DICOM"}:
        if seen.low <= _HOUNSFIELD:
            reason = f"{span}, which looks like Hounsfield units: air to bone; a narrower window shows soft tissue"
            return {"method": "range", "low": -1000.0, "high": 1000.0}, reason
        reason = f"{span}; units differ between scans, so each one is scaled by itself (per: dataset if they do not)"
        return {"method": "percentile", "per": "file"}, reason
    reason = f"{span}: 99 % of the training pixels fill the range from 0 to 1. With known units use method: range"
    return {"method": "percentile"}, reason


def propose_mask(seen: Seen) -> tuple[dict[str, Any], Reasons]:
    """Propose `mask` and `classes`.

    Returns:
        the two keys of the `data` section, and their reasons.

    Raises:
        DataError: the values allow no proposal.
    """
    mask, classes, why = guess_mask(seen)
    names = ["background", *(f"class_{index}" for index in range(1, classes))]
    naming = "named by number: give them their names; the first is the background"
    if mask.colours:
        by_class = {target: colour for colour, target in mask.colours.items()}
        names = [f"colour_{by_class[index][1:]}" for index in range(classes)]
        if by_class[0] == "#000000":
            names[0] = "background"
        naming = "named by colour: give them their names; the first is the background"
    fields = {name: value for name, value in mask.model_dump().items() if name in mask.model_fields_set}
    chosen = {"mask": fields, "classes": names if classes > 2 or mask.colours else ["background", "foreground"]}
    return chosen, {"data.mask": why, "data.classes": naming}


def guess_mask(seen: Seen) -> tuple[MaskConfig, int, str]:
    """Propose the mask encoding.

    Returns:
        the encoding, the number of classes, and the reason in words.

    Raises:
        DataError: the values allow no proposal.
    """
    if not seen.nodata:
        return _guess_mask(seen)
    ignored = seen.coloured or len(seen.values) > 1  # what would leave one value is an ordinary value
    guess = _guess_mask(seen if ignored else replace(seen, values=seen.values + seen.missing))
    return (guess[0].model_copy(update={"nodata": NODATA[ignored]}), guess[1], f"{guess[2]}; {nodata_reason(seen)}")


def nodata_reason(seen: Seen) -> str:
    """Say which pixels `mask.nodata` is about, and what its values do with them."""
    values = ", ".join(f"{value} ({count:,} pixels)" for value, count in sorted(seen.missing.items())[:MOST_CLASSES])
    return (
        f"files declare no data at {values or 'some pixels'}: nodata: ignore leaves them out, value makes them a class"
    )


def _guess_mask(seen: Seen) -> tuple[MaskConfig, int, str]:
    if seen.coloured:
        return _guess_colours(seen)
    found = sorted(seen.values)
    listed = ", ".join(f"{value} ({seen.values[value]:,} pixels)" for value in found[:MOST_CLASSES])
    if seen.objects:
        reason = f"the mask folder holds one folder of object files per image; values {listed}"
        return MaskConfig(encoding="objects", threshold=between(found)), 2, reason
    _refuse_other(seen)
    if len(found) > MOST_CLASSES or seen.noisy:
        return _guess_threshold(seen)
    if len(found) < 2:
        raise DataError(f"all masks inspected hold one value only: {listed}. There is nothing to learn.")
    if found == [0, 255] and not seen.mask_kinds["palette"]:
        return MaskConfig(encoding="binary", threshold=between(found)), 2, f"two values: {listed}"
    if seen.mask_kinds["palette"] and len(seen.mask_kinds) > 1:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.mask_kinds.items()))
        raise DataError(
            f"the masks are of several kinds ({kinds}) and hold the values {listed}: store all of them as class "
            "indices in one channel, or all with a palette."
        )
    return _guess_indices(seen, found, listed)


def _refuse_other(seen: Seen) -> None:
    """Refuse what is neither classes in one channel nor black and white."""
    if seen.mask_kinds["bands"]:
        raise DataError(
            f"{seen.mask_kinds['bands']} masks have several bands: if each is a class, write a configuration with "
            "data.mask.encoding=bands and data.classes in their order."
        )
    if seen.fractions:
        raise DataError(
            "the masks hold numbers that are not whole, such as probabilities. Write a configuration with "
            "data.mask.encoding=binary and a threshold, after storing them as 0 to 255."
        )


def _guess_indices(seen: Seen, found: list[int], listed: str) -> tuple[MaskConfig, int, str]:
    encoding = "palette" if set(seen.mask_kinds) == {"palette"} else "index"
    ignore = found[-1] == IGNORE_INDEX and len(found) > 2
    classes = found[:-1] if ignore else found
    values = {value: index for index, value in enumerate(classes)} | ({IGNORE_INDEX: IGNORE_INDEX} if ignore else {})
    plain = classes == list(range(len(classes))) and not ignore
    reason = f"values {listed}" + (f"; {IGNORE_INDEX} is taken as pixels to ignore" if ignore else "")
    reason += "" if plain else f"; {classes[0]} is taken as the background: check which value is which class"
    fields: dict[str, Any] = {"encoding": encoding} | ({} if plain else {"values": values})
    return MaskConfig.model_validate(fields), len(classes), reason


def _guess_colours(seen: Seen) -> tuple[MaskConfig, int, str]:
    """Every colour is a class; black, else the most frequent one, is the first."""
    ranked = [colour for colour, _ in seen.colours.most_common()]
    if len(ranked) > MOST_CLASSES or seen.lossy:
        why = "JPEG files, whose colours are not exact" if seen.lossy else f"{len(ranked)} different colours"
        raise DataError(
            f"the masks are coloured and hold {why}: which colour is which class cannot be told by looking. Write a "
            "configuration with data.mask.encoding=colours and data.mask.colours (see docs/data.md)."
        )
    first = "#000000" if "#000000" in ranked else ranked[0]
    order = [first, *sorted(colour for colour in ranked if colour != first)]
    total = seen.colours.total()
    listed = ", ".join(f"{colour} ({seen.colours[colour] / total:.1%})" for colour in order)
    colours = {colour: index for index, colour in enumerate(order)}
    return MaskConfig(encoding="colours", colours=colours), len(order), f"{len(order)} colours: {listed}"


def between(found: Sequence[int]) -> int:
    """Return a threshold that tells the lowest from the highest of some values, in ascending order."""
    return min(254, (found[0] + found[-1]) // 2) if found else 127


def _guess_threshold(seen: Seen) -> tuple[MaskConfig, int, str]:
    total = seen.values.total()
    ends = sum(count for value, count in seen.values.items() if value < 64 or 192 <= value <= 255)
    if ends < 0.95 * total:
        raise DataError(
            f"the masks hold {len(seen.values)} different values, {ends / total:.0%} of the pixels near 0 or 255: "
            "neither class indices nor black and white. If each value is one object, set data.mask.encoding=binary "
            "and data.mask.threshold=0; else write a configuration with data.mask (see docs/data.md)."
        )
    reason = f"{len(seen.values)} values, {ends / total:.1%} of the pixels near 0 or 255: black and white with noise"
    return MaskConfig(encoding="binary", threshold=127), 2, reason


def group_comment(samples: Sequence[Sample]) -> str:
    """Say how to keep images of one patient or scene together; a comment only, because names may mean anything."""
    text = "If several images show one patient or scene, set group to a regular expression on the file stem"
    hint = group_hint([sample.id for sample in samples])
    if hint is None:
        return f"{text}, such as '^(.+?)_': images that belong together must not be in different splits"
    return f"{text}. These names look like {hint.count} series: group: '{hint.expression}'"
