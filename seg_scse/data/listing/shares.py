"""Dividing independent units by shares: at random, or so that every part holds its share of each class."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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


def _refuse_empty(units: int, shares: Mapping[str, float], sizes: Mapping[str, int]) -> None:
    empty = [part for part, share in shares.items() if share > 0 and not sizes.get(part)]
    if empty:
        wanted = ", ".join(f"{part} {share:g}" for part, share in shares.items())
        raise DataError(
            f"data.split: {units} independent samples (or groups) divided by {wanted} leave "
            f"{' and '.join(empty)} empty. Add data, raise that share, or set it to 0."
        )


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
    sizes = dict(zip(shares, largest_remainder(len(ranked), list(shares.values())), strict=True))
    _refuse_empty(len(ranked), shares, sizes)
    labels = [part for part, size in sizes.items() for _ in range(size)]
    return dict(zip(ranked, labels, strict=True))


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
    _refuse_empty(len(units), shares, Counter(table.values()))
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
