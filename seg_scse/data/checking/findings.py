"""The rules of the check that need no file, only the facts that were measured: fast enough for every training."""

from collections import Counter
from collections.abc import Iterator, Sequence

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.checking.duplicates import find_crossings, find_duplicates, is_constant
from seg_scse.data.checking.finding import Finding, by_level
from seg_scse.data.checking.grouping import group_hint
from seg_scse.data.checking.tally import UNKNOWN, Pair, Tally, count_everything, present_classes, split_of
from seg_scse.data.entries import Entry
from seg_scse.data.names import some
from seg_scse.data.samples import Sample
from seg_scse.data.scaling import by_type, without_range
from seg_scse.errors import DataError

_FEWEST_IMAGES = 3
_LISTED = ("leak-name", "leak-group")  # what the manifest notes before any file is opened
_HIGHEST = {"uint16": 65535, "uint32": 2**32 - 1}
_ALIKE = 1.25  # pixel sizes that differ by less are one: augmentation by zoom covers as much
_LITTLE = 0.25  # of a type's range: what is left of 8 bits of contrast is 6


def findings(
    samples: Sequence[Sample], entries: Sequence[Entry], config: DataConfig, crop: int | None = None
) -> list[Finding]:
    """Judge a data set by the facts of its samples.

    Args:
        samples: the samples that can be read, divided or not.
        entries: their facts, in the same order.
        config: the `data` section, with the values of its card.
        crop: `trainer.crop` in pixels, to compare sizes with; None: not compared.

    Returns:
        an error where `data.scale` does not fit the types, then warnings, then notes.
    """
    pairs = list(zip(samples, entries, strict=True))
    if not pairs:
        return []
    tally = count_everything(pairs, config)
    return by_level(
        [
            *_scale(pairs, config),
            *find_duplicates(pairs),
            *find_crossings(pairs),
            *_masks(pairs, tally),
            *_classes(tally, config),
            *_images(pairs, tally, crop),
            *_bands(tally, config),
            *_places(tally),
            *_groups(pairs),
        ]
    )


def training_notes(samples: Sequence[Sample], entries: Sequence[Entry], config: DataConfig) -> tuple[str, ...]:
    """What to say before a training: the warnings, and what reading does to images, one line each.

    Args:
        samples: the samples that will be used.
        entries: their facts, in the same order.
        config: the `data` section, with the values of its card.
    """
    return tuple(
        found.text
        for found in findings(samples, entries, config)
        if found.kind == "image-facts" or (found.level == "warning" and found.kind not in _LISTED)
    )


def _scale(pairs: Sequence[Pair], config: DataConfig) -> Iterator[Finding]:
    """What training says of types without a range, in its words."""
    if config.scale.method != "dtype":
        return
    samples, entries = [sample for sample, _ in pairs], [entry for _, entry in pairs]
    try:
        by_type(samples, entries, ())
    except DataError as error:
        ids = tuple(samples[position].id for position in without_range(entries))
        yield Finding("error", "scale", str(error), ids)


def _masks(pairs: Sequence[Pair], tally: Tally) -> Iterator[Finding]:
    ignored = [s.id for s, entry in pairs if entry.class_pixels.keys() == {IGNORE_INDEX}]
    if ignored:
        text = f"{len(ignored)} of {len(pairs)} masks are ignored altogether and teach nothing: {some(ignored)}."
        yield Finding("warning", "all-ignored", text, tuple(ignored))
    empty = tuple(s.id for s, entry in pairs if not present_classes(entry, 1))
    if empty:
        counts = ", ".join(f"{row.empty} of {row.images} {name}" for name, row in tally.splits.items())
        yield Finding("note", "empty-mask", f"masks without any class but the first: {counts}", empty)


def _classes(tally: Tally, config: DataConfig) -> Iterator[Finding]:
    for row in tally.classes:
        total = sum(row.images.values())
        if not total:
            text = f"class {row.name} is in no mask. Correct data.mask or data.classes."
            yield Finding("warning", "absent-class", text)
            continue
        absent = [split for split, count in row.images.items() if not count]
        if absent:
            text = f"class {row.name} is in {total} images, but in none of {' and '.join(absent)}"
            yield Finding("warning", "absent-class", f"{text}. Set data.split.stratify=true or another split.")
        if total < _FEWEST_IMAGES:
            text = f"class {row.name} is in {total} of {sum(s.images for s in tally.splits.values())} images"
            yield Finding("warning", "rare-class", f"{text}: too few to learn it and to measure it. Add data.")
    pixels = {row.name: sum(row.pixels.values()) for row in tally.classes}
    every = sum(pixels.values())
    if every and config.task == "multiclass":
        shares = ", ".join(f"{name} {count / every:.2%}" for name, count in pixels.items())
        yield Finding("note", "class-balance", f"pixels by class: {shares}")


def _images(pairs: Sequence[Pair], tally: Tally, crop: int | None) -> Iterator[Finding]:
    constant = tuple(s.id for s, entry in pairs if is_constant(entry))
    if constant:
        text = f"{len(constant)} of {len(pairs)} images have one value throughout: {some(list(constant))}"
        if all(s.plane is not None for s, _ in pairs):  # slices beyond the body are
            yield Finding("note", "constant-image", text, constant)
        else:
            yield Finding("warning", "constant-image", f"{text}. Leave them out, or correct them.", constant)
    facts = Counter(fact for _, entry in pairs for fact in entry.facts)
    for fact, count in sorted(facts.items()):
        yield Finding("note", "image-facts", f"{count} of {len(pairs)} images {fact}")
    outside = sum(not entry.stored for _, entry in pairs)
    if outside:
        text = f"{outside} of {len(pairs)} images are beyond data.cache_gb, read from their files when needed"
        yield Finding("note", "image-facts", text)
    if len(tally.dtypes) > 1:
        listed = ", ".join(f"{count} {dtype}" for dtype, count in tally.dtypes.items())
        text = f"images are of several pixel types ({listed}): the same number means different brightness"
        yield Finding("warning", "mixed-types", f"{text}. Store them in one type, or set data.scale.")
    small = tuple(s.id for s, entry in pairs if crop and min(entry.shape[:2]) < crop)
    if small:
        text = f"{len(small)} of {len(pairs)} images have a side below trainer.crop={crop} and are padded"
        yield Finding("note", "small-image", text, small)


def _bands(tally: Tally, config: DataConfig) -> Iterator[Finding]:
    for band in tally.bands:
        if band.low == band.high:
            text = f"band {band.name} is {band.low:g} in every image and tells nothing. Leave it out by data.use."
            yield Finding("warning", "constant-band", text)
    if config.scale.method != "dtype" or not tally.bands or len(tally.dtypes) != 1:
        return
    dtype = next(iter(tally.dtypes))
    low, high = min(band.low for band in tally.bands), max(band.high for band in tally.bands)
    highest = _HIGHEST.get(dtype, 0)  # signed types and floats beyond [0, 1] have no range: `_scale`
    if (high - low) < _LITTLE * highest:
        text = f"values go from {low:g} to {high:g}, {(high - low) / highest:.1%} of the range of {dtype}"
        cure = f"after data.scale.method={config.scale.method} hardly any contrast is left. Set it to percentile."
        yield Finding("warning", "narrow-range", f"{text}: {cure}")


def _places(tally: Tally) -> Iterator[Finding]:
    systems: Counter[str] = Counter()
    for (crs, *_), count in tally.places.items():
        systems[crs.split("\n")[0][:60]] += count
    if len(systems) > 1:
        listed = some([f"{crs} ({count})" for crs, count in systems.most_common()])
        yield Finding("note", "mixed-crs", f"images have {len(systems)} coordinate reference systems: {listed}")
    yield from _spacings(tally)
    if tally.unplaced and tally.places:
        images = tally.unplaced + sum(tally.places.values())
        text = f"{tally.unplaced} of {images} images have no georeference or pixel size, the others have one"
        yield Finding("note", "mixed-places", text)


def _spacings(tally: Tally) -> Iterator[Finding]:
    """Pixel sizes that differ; in degrees they do so with the latitude, which is no concern."""
    spacings: Counter[str] = Counter()
    for (_, height, width, unit), count in tally.places.items():
        stated = "(unit not stated)" if unit == UNKNOWN else unit
        spacings[f"{height:.3g} x {width:.3g} {stated}"] += count
    units = {unit for _, _, _, unit in tally.places}
    sides = ([height for _, height, _, _ in tally.places], [width for _, _, width, _ in tally.places])
    if len(spacings) < 2 or (len(units) == 1 and all(max(side) < _ALIKE * min(side) for side in sides)):
        return
    listed = some([f"{spacing} ({count})" for spacing, count in spacings.most_common()])
    text = f"images have {len(spacings)} pixel sizes: {listed}; an object has another size in pixels in each"
    yield Finding("warning", "mixed-spacing", f"{text}. Resample them to one pixel size.")


def _groups(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Names that look like series of one patient or scene, where they were divided without regard to that."""
    if any(sample.group != sample.id.removeprefix(f"{sample.split}/") for sample, _ in pairs):
        return
    hint = group_hint([sample.id for sample, _ in pairs])
    if hint is None:
        return
    splits: dict[str, set[str]] = {}
    for (sample, _), group in zip(pairs, hint.groups, strict=True):
        splits.setdefault(group, set()).add(split_of(sample))
    crossing = sorted(group for group, found in splits.items() if len(found) > 1)
    if crossing:
        text = f"names look like {hint.count} series, of which {len(crossing)} are in more than one split"
        cure = f"If a series is one patient or scene, set data.split.group: '{hint.expression}'"
        yield Finding("note", "groups", f"{text} ({some(crossing)}). {cure}")
