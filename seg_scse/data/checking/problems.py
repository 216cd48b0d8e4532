"""What is wrong with single samples, put together: one finding for each kind of problem, however many files have it."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.alike import Failed, one_line, pattern, told_once
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.inspection import Seen, look_at_masks
from seg_scse.data.checking.proposals import MOST_CLASSES, propose_mask
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.files.reading import read_raster
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.masks.values import LOSSY
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

OUTSIDE = re.compile(r"the runs? (lengths )?.* (does not fit an image|must be at least 0 and have the sum)")
"""Words on run lengths that lead out of their image."""

_KINDS = (
    ("mask-place", re.compile(r"lies elsewhere than its image|features lies on ")),
    ("mask-values", re.compile(r"undeclared mask (value|colour)|undeclared colour")),
    ("size-mismatch", re.compile(r"the mask is \d+ x \d+|but its image|another size|are \d+ x \d+")),
    ("mask-encoding", OUTSIDE),
    ("too-large", re.compile(r"max_pixels")),
    ("mask-encoding", re.compile(r"data\.mask\.")),
    ("image-kind", re.compile(r"data\.(bands|channels|alpha|use|nodata)")),
)
"""Kinds by words of the message; what has none of them is `unreadable`."""

_NO_PIXELS = ("polygons", "rle")
_MOST_ALIKE = 20  # kinds of one message; more are summed up
_THREADS = 2


def listing_findings(problems: Iterable[str]) -> list[Finding]:
    """Findings on what is wrong before any file is opened: orphans, names given twice, exclusions of nothing."""
    return [Finding("error", "listing", one_line(problem)) for problem in problems]


def sample_findings(failed: Sequence[Failed], total: int, config: DataConfig) -> list[Finding]:
    """Put equal problems together.

    Args:
        failed: samples that cannot be used, and why.
        total: number of all samples.
        config: the `data` section.

    Returns:
        one error for each kind of message, with all ids; mask values are counted over all masks refused.
    """
    groups: dict[tuple[str, str], list[Failed]] = {}
    for sample, text in failed:
        kind = _kind(sample, text)
        alike = "" if kind == "mask-values" else pattern(sample, text)
        groups.setdefault((kind, alike), []).append((sample, text))
    found = []
    for (kind, _), members in list(groups.items())[:_MOST_ALIKE]:
        ids = tuple(sample.id for sample, _ in members)
        told = _values(members, total, config) if kind == "mask-values" else told_once(members)
        found.append(Finding("error", kind, told, ids))
    rest = [sample.id for members in list(groups.values())[_MOST_ALIKE:] for sample, _ in members]
    if rest:
        text = f"{len(rest)} more samples have other problems: {some(rest)}"
        found.append(Finding("error", "unreadable", text, tuple(rest)))
    return found


def look_again(failed: Sequence[Failed], config: DataConfig) -> list[Failed]:
    """Say what else is wrong with samples that were given up at their first problem.

    Args:
        failed: samples that cannot be used, and the first reason why.
        config: the `data` section.

    Returns:
        further problems of the same samples.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda pair: _problems(pair[0], config), failed)
        return [
            (sample, text)
            for (sample, first), texts in zip(failed, found, strict=True)
            for text in sorted(texts - {first})
        ]


def _problems(sample: Sample, config: DataConfig) -> set[str]:
    """What is wrong with the image, with the mask, and with their sizes, each by itself."""
    shape, problems = _image_problems(sample, config)
    return problems | mask_problems(sample, shape, config)


def mask_problems(sample: Sample, shape: tuple[int, int] | None, config: DataConfig) -> set[str]:
    """Say what is wrong with the one mask file of a sample.

    Args:
        sample: with several mask files, or an annotation file, nothing is said.
        shape: `(H, W)` of the image; None: any.
        config: the `data` section.
    """
    if config.mask.encoding in _NO_PIXELS or len(sample.masks) != 1:
        return set()
    try:
        own = _shape(sample.masks[0], sample, config)
    except DataError as error:
        return {str(error)}
    problems = set()
    for wanted in dict.fromkeys((shape or own, own)):  # a mask of another size has values too
        try:
            read_mask(sample, wanted, None, config)
        except DataError as error:
            problems.add(str(error))
    return problems


def _image_problems(sample: Sample, config: DataConfig) -> tuple[tuple[int, int] | None, set[str]]:
    """The size of an image, where it has one, and what is wrong with it."""
    try:
        with open_picture(sample, config) as picture:
            height, width, _ = picture.shape
            if not picture.windowed:  # else it is too large for a second look
                picture.read(slice(0, height), slice(0, width))
            return (height, width), set()
    except DataError as error:
        problem = str(error)
    try:
        return _shape(sample.image, sample, config), {problem}
    except DataError:
        return None, {problem}


def _shape(path: Path, sample: Sample, config: DataConfig) -> tuple[int, int]:
    height, width, _ = read_raster(path, config.max_pixels, sample.plane, config.volume.plane).pixels.shape
    return height, width


def _kind(sample: Sample, text: str) -> str:
    kind = next((kind for kind, words in _KINDS if words.search(text)), "unreadable")
    about_mask = any(text.startswith(shown(path)) for path in sample.masks)
    return "mask-encoding" if kind == "image-kind" and about_mask else kind


def _values(members: Sequence[Failed], total: int, config: DataConfig) -> str:
    """Sum up the mask values of all masks refused, and propose one line for the configuration."""
    seen = survey_masks([sample for sample, _ in members], config)
    counts = {str(value): count for value, count in seen.values.items()}
    if seen.coloured or config.mask.encoding == "colours":
        counts = dict(seen.colours) or counts  # grey files have no colours
    listed = some([f"{value} ({count:,} pixels)" for value, count in _sorted(counts)], MOST_CLASSES)
    text = f"{len(members)} of {total} masks hold undeclared values; together these masks hold {listed}"
    return f"{text}. {_line(seen, len(members), total, config)}"


def _sorted(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (item[0].startswith("#"), len(item[0]), item[0]))


def _line(seen: Seen, failed: int, total: int, config: DataConfig) -> str:
    """The line to put into the configuration: a new declaration where most masks are refused, else an addition."""
    declared = config.mask.values or {index - config.mask.offset: index for index in range(len(config.classes))}
    unknown = sorted(seen.values.keys() - declared.keys() - set(config.mask.ignore))
    more_values = config.mask.encoding in ("index", "palette") and len(unknown) <= MOST_CLASSES
    if 2 * failed < total and more_values and not seen.noisy:
        pairs = ", ".join(f"{k}: {v}" for k, v in [*declared.items(), *((k, IGNORE_INDEX) for k in unknown)])
        return (
            f"Correct them, or declare {some([str(value) for value in unknown])} too, such as "
            f"`data.mask.values: {{{pairs}}}` ({IGNORE_INDEX} as class: ignore)."
        )
    try:
        chosen, _ = propose_mask(seen)
    except DataError as error:
        return one_line(str(error))
    fields = ", ".join(f"{name}: {_plain(value)}" for name, value in chosen["mask"].items())
    more = "" if len(chosen["classes"]) == len(config.classes) else f", and name {len(chosen['classes'])} `classes`"
    why = f"{LOSSY}. " if seen.noisy and chosen["mask"]["encoding"] == "binary" else ""
    return f"{why}If that is right, put `mask: {{{fields}}}` into `data`{more}."


def _plain(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{_key(key)}: {target}" for key, target in value.items())
        return "{" + ", ".join(pairs) + "}"
    return str(value)


def _key(key: object) -> str:
    """A key of a YAML map on one line: colours start with `#` and need quotes."""
    return f"'{key}'" if isinstance(key, str) else str(key)


def survey_masks(samples: Sequence[Sample], config: DataConfig) -> Seen:
    """Count the values of the masks of some samples, in threads.

    Args:
        samples: any samples.
        config: `mask.encoding`, `volume` and `max_pixels` are used.
    """

    def one(sample: Sample) -> Seen:
        seen = Seen([], 1, objects=config.mask.encoding == "objects")
        look_at_masks(sample, config, seen)
        return seen

    total = Seen(list(samples), len(samples), objects=config.mask.encoding == "objects")
    with ThreadPoolExecutor(_THREADS) as pool:
        for seen in pool.map(one, samples):
            for counter in ("values", "colours", "mask_kinds", "missing"):
                getattr(total, counter).update(getattr(seen, counter))
            for flag in ("lossy", "fractions", "coloured", "nodata"):
                setattr(total, flag, getattr(total, flag) or getattr(seen, flag))
    return total
