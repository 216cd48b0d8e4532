"""Names of images and masks that differ by one common end or beginning, and the line that declares it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SEPARATORS = "_-. /"
_PLAIN = re.compile(r"[_A-Za-z][\w-]*")


@dataclass(frozen=True)
class Affixes:
    """What all image ids and all mask ids have besides the name that they share.

    Attributes:
        image: end or beginning of every image id; may be empty.
        mask: the same of every mask id; not both are empty.
        at_end: whether they are ends.
    """

    image: str
    mask: str
    at_end: bool

    def describe(self) -> str:
        """Say how the names differ, such as `images end with "_0000"`."""
        verb = "end" if self.at_end else "begin"
        sides = (("images", self.image), ("masks", self.mask))
        return " and ".join(f'{side} {verb} with "{affix}"' for side, affix in sides if affix)

    def lines(self, image_suffix: str, mask_suffix: str, some: bool = False) -> str:
        """Return the keys of `data` to write: suffixes, or patterns for beginnings.

        Args:
            image_suffix: data.image_suffix as it is, which was taken off the ids already.
            mask_suffix: data.mask_suffix as it is.
            some: whether other files of the folder do not have the end or beginning.
        """
        keys = []
        for side, affix, suffix in (("image", self.image, image_suffix), ("mask", self.mask, mask_suffix)):
            if affix and self.at_end and not some:
                keys.append(f"{side}_suffix: {_scalar(affix + suffix)}")
            elif affix:
                found = f"(?:{_escaped(affix)})?" if some else _escaped(affix)
                pattern = f"(.+?){found}" if self.at_end else f"{found}(.+)"
                keys.append(f"{side}_pattern: '{_quoted(pattern + _escaped(suffix))}'")
        return ", ".join(keys)


def common_affixes(images: Sequence[str], masks: Sequence[str]) -> Affixes | None:
    """Find ends, else beginnings, without which the ids of one side are all among those of the other.

    Args:
        images: ids of all images.
        masks: ids of all masks; none is among the images.
    """
    for at_end in (True, False):
        for image, mask in _candidates(images, masks, at_end):
            short, long = sorted((_without(images, image, at_end), _without(masks, mask, at_end)), key=len)
            if short <= long:
                return Affixes(image, mask, at_end)
    return None


def _candidates(images: Sequence[str], masks: Sequence[str], at_end: bool) -> Iterator[tuple[str, str]]:
    """Yield what may have to be taken off images and masks: the first of the fewer ids must be one of the others."""
    if not images or not masks:
        return
    ends = [_common(ids, at_end) for ids in (images, masks)]
    fewer, more = (images, masks) if len(images) <= len(masks) else (masks, images)
    seen = set()
    for other in more:
        image, mask = (fewer[0], other) if fewer is images else (other, fewer[0])
        shared = _common((image, mask), not at_end)
        for name in dict.fromkeys((_trimmed(shared, at_end), shared)):
            found = (_rest(image, name, at_end), _rest(mask, name, at_end))
            if name and found not in seen and all(map(_fits, found, ends, (at_end, at_end))):
                seen.add(found)
                yield found


def _fits(affix: str, common: str, at_end: bool) -> bool:
    return common.endswith(affix) if at_end else common.startswith(affix)


def _rest(id_: str, name: str, at_end: bool) -> str:
    return id_[len(name) :] if at_end else id_[: len(id_) - len(name)]


def _trimmed(name: str, at_end: bool) -> str:
    """A name without the separator that belongs to what is taken off."""
    return name.rstrip(_SEPARATORS) if at_end else name.lstrip(_SEPARATORS)


def _common(ids: Sequence[str], at_end: bool) -> str:
    """What all ids end or begin with."""
    if at_end:
        return _common([id_[::-1] for id_ in ids], at_end=False)[::-1]
    low, high = min(ids), max(ids)  # what these two share, all between them do
    return low[: next((at for at, pair in enumerate(zip(low, high, strict=False)) if len(set(pair)) > 1), len(low))]


def _without(ids: Sequence[str], affix: str, at_end: bool) -> set[str]:
    return {id_.removesuffix(affix) if at_end else id_.removeprefix(affix) for id_ in ids}


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else f"'{_quoted(text)}'"


def _escaped(text: str) -> str:
    """Escape what has a meaning in a regular expression, and nothing else."""
    return re.sub(r"[\\.^$*+?{}\[\]|()]", r"\\\g<0>", text)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
