"""Dividing independent units by shares: at random, or so that every part holds its share of each class."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from seg_scse.config.wording import counted
from seg_scse.errors import DataError


def largest_remainder(count: int, shares: Sequence[float]) -> list[int]:
    """Divide `count` into whole numbers by `shares` (sum 1): round down, then add to the largest remainders."""
    quotas = [count * share for share in shares]
    sizes = [int(quota + 1e-9) for quota in quotas]
    order = sorted(range(len(shares)), key=lambda i: (sizes[i] - quotas[i], i))
    for i in order[: count - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _rank(seed: int | str, unit: str) -> bytes:
    """Place of a unit in a random order that depends on no library version, no file order and no other unit."""
    return hashlib.sha256(f"{seed}:{unit}".encode()).digest()


_OTHERS = ((0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.75, 0.25, 0), (0.5, 0.5, 0))
"""Shares of train and of two others that are proposed where those of the user leave one empty."""

_SPLITS = ("train", "val", "test")
_FEW = {3: 0.5, 4: 0.34}
"""Units of which only cross-validation tests all, and the share of the rest of each fold that makes one val."""

Deal = Callable[[Mapping[str, float]], dict[str, str]]
"""Divides the units by shares: unit -> part."""


def _complete(deal: Deal, units: int, shares: Mapping[str, float]) -> dict[str, str]:
    """Divide by shares, or say which part would be empty and which shares would not leave it so."""
    table = deal(shares)
    empty = _empty(table, shares)
    if empty:
        wanted = ", ".join(f"{part} {share:g}" for part, share in shares.items())
        raise DataError(
            f"data.split: {counted(units, 'independent sample')} (or groups) divided by {wanted} leave "
            f"{' and '.join(empty)} empty. {_cure(deal, units, shares)}"
        )
    return table


def _empty(table: Mapping[str, str], shares: Mapping[str, float]) -> list[str]:
    sizes = Counter(table.values())
    return [part for part, share in shares.items() if share > 0 and not sizes[part]]


def _cure(deal: Deal, units: int, shares: Mapping[str, float]) -> str:
    """Propose a line that works: it was tried."""
    if not shares.keys() <= set(_SPLITS):
        return "Add data, or ask for fewer folds."
    parts = [part for part in shares if shares[part] > 0]
    for numbers in _OTHERS:
        others = dict.fromkeys(_SPLITS, 0.0) | dict(zip(parts, numbers, strict=False))
        tried = {part: others[part] for part in shares}
        if abs(sum(tried.values()) - 1) < 1e-6 and not _empty(deal(tried), tried):
            line = ", ".join(f"{part}: {share:g}" for part, share in others.items())
            lines = [f"`data.split: {{{line}}}`"]
            if len(shares) == len(_SPLITS) and units in _FEW:
                lines.append(f"cross-validate: `data.split: {{folds: {units}, val: {_FEW[units]}}}`")
            return f"Add data, or write {', or '.join(lines)}."
    return "Add data."


def random_split(units: Iterable[str], shares: Mapping[str, float], seed: int | str) -> dict[str, str]:
    """Divide independent units at random.

    The order is that of a hash of seed and name, so that it depends on no library version, on no file order, and that
    a new unit leaves the order of the others as it is.

    Args:
        units: names of groups.
        shares: share of each part; they sum to 1.
        seed: any number or text.

    Returns:
        unit -> part.

    Raises:
        DataError: there are too few units for a part that should have some.
    """
    ranked = sorted(set(units), key=lambda unit: _rank(seed, unit))

    def deal(shares: Mapping[str, float]) -> dict[str, str]:
        sizes = zip(shares, largest_remainder(len(ranked), list(shares.values())), strict=True)
        return dict(zip(ranked, (part for part, size in sizes for _ in range(size)), strict=True))

    return _complete(deal, len(ranked), shares)


def stratified_split(
    units: Mapping[str, Sequence[frozenset[int]]], shares: Mapping[str, float], seed: int | str
) -> dict[str, str]:
    """Divide independent units so that every part holds its share of the images of each class.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD
    2011, algorithm 1), over groups: the class with the fewest images left is dealt out first, each of its groups to
    the part that lacks most images of it. Ties go to the part that lacks most images, then to chance by a hash of seed
    and name. Groups with many images of the class come first, because they are the hardest to place.

    Args:
        units: of each group, the classes in each of its images.
        shares: share of each part; they sum to 1.
        seed: any number or text.

    Returns:
        unit -> part. Sizes follow the shares as closely as groups and classes allow.

    Raises:
        DataError: a part that should have some gets none.
    """
    return _complete(lambda tried: _stratified(units, tried, seed), len(units), shares)


def _stratified(
    units: Mapping[str, Sequence[frozenset[int]]], shares: Mapping[str, float], seed: int | str
) -> dict[str, str]:
    counts = {unit: Counter(label for image in images for label in image) for unit, images in units.items()}
    sizes = {unit: len(images) for unit, images in units.items()}
    lacks = _Lacks(counts.values(), sum(sizes.values()), shares)
    table: dict[str, str] = {}
    while left := counts.keys() - table.keys():
        remaining = Counter[int]()
        for unit in left:
            remaining.update(counts[unit])
        rarest = min(remaining, key=lambda label: (remaining[label], label), default=-1)
        dealt = [unit for unit in left if counts[unit][rarest] or not remaining]
        for unit in sorted(dealt, key=lambda u: (-counts[u][rarest], -sizes[u], _rank(seed, u))):
            table[unit] = lacks.neediest(rarest, unit, seed)
            lacks.give(table[unit], counts[unit], sizes[unit])
    return table


class _Lacks:
    """How many images, of each class and in all, each part still lacks."""

    def __init__(self, counts: Iterable[Counter[int]], images: int, shares: Mapping[str, float]) -> None:
        totals = sum(counts, Counter[int]())
        self._images = {part: share * images for part, share in shares.items() if share > 0}
        self._labels = {part: {k: shares[part] * n for k, n in totals.items()} for part in self._images}

    def neediest(self, label: int, unit: str, seed: int | str) -> str:
        """Return the part that lacks most images of a class, then most images; rounded, so that equals are equal."""

        def need(part: str) -> tuple[float, float, bytes]:
            of_label = round(self._labels[part].get(label, 0.0), 6)
            return of_label, round(self._images[part], 6), _rank(f"{seed}:{part}", unit)

        return max(self._images, key=need)

    def give(self, part: str, labels: Counter[int], images: int) -> None:
        """Give a unit to a part."""
        self._images[part] -= images
        for label, count in labels.items():
            self._labels[part][label] -= count
