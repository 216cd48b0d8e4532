"""Images that are there more than once, and samples of one origin in several splits."""

from collections.abc import Callable, Hashable, Iterable, Sequence

from seg_scse.data.checking.finding import Finding, Level
from seg_scse.data.checking.tally import Pair, split_of
from seg_scse.data.entries import Entry
from seg_scse.data.listing.folders import SPLIT_FOLDERS
from seg_scse.data.names import some
from seg_scse.data.samples import Sample

_MOST_SHOWN = 3


def find_duplicates(pairs: Sequence[Pair]) -> list[Finding]:
    """Find images with equal pixels: contradictions, leaks between splits, and harmless copies within one.

    Images of one value throughout are left out: their pixels say nothing about where they come from.

    Args:
        pairs: samples with their facts.
    """
    told = [pair for pair in pairs if not is_constant(pair[1])]
    same = _several(told, lambda pair: pair[1].image_digest)
    contradictions = [group for group in same if len({entry.mask_digest for _, entry in group}) > 1]
    leaks = [group for group in same if _crosses(group)]
    copies = [group for group in same if group not in contradictions and not _crosses(group)]
    return [
        *_finding(
            contradictions,
            "contradiction",
            "equal images have different masks",
            "Keep one mask of each, and name the other samples in data.exclude",
        ),
        *_finding(
            leaks,
            "leak-content",
            "leak: equal images are in more than one split",
            f"Scores on them are too good: name all but one of each in data.exclude, {_kept_together(told)}",
        ),
        *_finding(
            copies,
            "duplicate",
            "equal images with equal masks are there more than once in a split and weigh as often",
            "Name the copies in data.exclude, unless that is meant",
            level="note",
        ),
    ]


def find_crossings(pairs: Sequence[Pair]) -> list[Finding]:
    """Find files, groups and names that are in more than one split although pixels differ or are not compared.

    Args:
        pairs: samples with their facts.
    """
    files = [group for group in _several(pairs, lambda pair: (pair[0].image, pair[0].label)) if _crosses(group)]
    grouped = [pair for pair in pairs if pair[0].group != _name(pair[0])]
    groups = [group for group in _several(grouped, lambda pair: pair[0].group) if _crosses(group)]
    named = [group for group in _several(pairs, lambda pair: _name(pair[0])) if _crosses(group)]
    different = [group for group in named if len({entry.image_digest for _, entry in group}) > 1]
    return [
        *_finding(
            files,
            "leak-file",
            "leak: one image file is used in more than one split",
            "Correct the split",
        ),
        *_finding(
            groups,
            "leak-group",
            "leak: groups are in more than one split",
            "Correct the split, or let data.split divide: it keeps groups together",
        ),
        *_finding(
            different,
            "leak-name",
            "possible leak: images of one name, with different pixels, are in more than one split",
            "If they show one patient or scene, correct the split",
        ),
    ]


def is_constant(entry: Entry) -> bool:
    """Tell whether every band of an image has one value throughout; True without any valid pixel."""
    return not entry.valid or all(low == high for low, high in zip(entry.minima, entry.maxima, strict=True))


def _kept_together(pairs: Iterable[Pair]) -> str:
    """Say how equal images come into one split: dividing them at random does not do it."""
    ready = all(sample.split in {SPLIT_FOLDERS.get(part.lower()) for part in sample.image.parts} for sample, _ in pairs)
    if ready:
        return "or let data.split divide, with a data.split.group that keeps them together"
    return "or keep them together by a part of their ids (data.split.group)"


def _several(pairs: Iterable[Pair], key: Callable[[Pair], Hashable]) -> list[list[Pair]]:
    """Groups of at least two pairs with one key, in the order of their first."""
    groups: dict[Hashable, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(key(pair), []).append(pair)
    return [group for group in groups.values() if len(group) > 1]


def _crosses(group: Sequence[Pair]) -> bool:
    return len({sample.split for sample, _ in group}) > 1


def _name(sample: Sample) -> str:
    """The id without the split that tells two samples of one name apart."""
    return sample.id.removeprefix(f"{sample.split}/")


def _finding(
    groups: Sequence[Sequence[Pair]], kind: str, what: str, cure: str, level: Level = "warning"
) -> list[Finding]:
    """One finding on all groups, or none."""
    if not groups:
        return []
    examples = some([_shown(group) for group in groups], _MOST_SHOWN)
    ids = tuple(sample.id for group in groups for sample, _ in group)
    times = "1 case" if len(groups) == 1 else f"{len(groups)} cases"
    return [Finding(level, kind, f"{what} ({times}): {examples}. {cure}.", ids)]


def _shown(group: Sequence[Pair]) -> str:
    names = [f"{sample.id} ({split_of(sample)})" for sample, _ in group]
    more = f" = {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return " = ".join(names[:_MOST_SHOWN]) + more
