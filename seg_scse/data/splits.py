"""Dividing samples into train, val and test: a pure function of ids and seed, written down and read back."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from seg_scse.config.schema import SplitConfig
from seg_scse.data.names import shown, some
from seg_scse.data.samples import SPLITS, Sample
from seg_scse.errors import ConfigError, DataError
from seg_scse.files import write_text


def largest_remainder(count: int, shares: Sequence[float]) -> list[int]:
    """Divide `count` into whole numbers by `shares` (sum 1): round down, then add to the largest remainders."""
    quotas = [count * share for share in shares]
    sizes = [int(quota + 1e-9) for quota in quotas]
    order = sorted(range(len(shares)), key=lambda i: (sizes[i] - quotas[i], i))
    for i in order[: count - sum(sizes)]:
        sizes[i] += 1
    return sizes


def random_split(units: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Divide independent units at random.

    The order is that of a hash of seed and name, so that it depends on no library version, on no file order, and that
    a new unit leaves the order of the others as it is.

    Args:
        units: names of groups.
        shares: share of each split; they sum to 1.
        seed: non-negative.

    Returns:
        unit -> split.

    Raises:
        DataError: there are too few units for a split that should have some.
    """
    ranked = sorted(set(units), key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
    sizes = dict(zip(shares, largest_remainder(len(ranked), list(shares.values())), strict=True))
    empty = [split for split, share in shares.items() if share > 0 and sizes[split] == 0]
    if empty:
        wanted = ", ".join(f"{split} {share:g}" for split, share in shares.items())
        raise DataError(
            f"data.split: {len(ranked)} independent samples (or groups) divided by {wanted} leave "
            f"{' and '.join(empty)} empty. Add data, raise that share, or set it to 0."
        )
    labels = [split for split, size in sizes.items() for _ in range(size)]
    return dict(zip(ranked, labels, strict=True))


def assign_groups(samples: Iterable[Sample], expression: str | None) -> list[Sample]:
    """Set each sample's group to the first group of a regular expression found in its id.

    Raises:
        ConfigError: not a regular expression, or without a group in parentheses.
        DataError: ids that the expression does not match.
    """
    if expression is None:
        return list(samples)
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ConfigError(f"data.split.group={expression!r} is not a regular expression ({error}).") from error
    if pattern.groups < 1:
        raise ConfigError(
            f"data.split.group={expression!r} has no group: put the patient's part in parentheses, (\\d+)."
        )
    found = [(sample, pattern.search(sample.id)) for sample in samples]
    missing = [sample.id for sample, match in found if match is None or match[1] is None]
    if missing:
        raise DataError(
            f"data.split.group={expression!r} does not match {len(missing)} ids: {some(missing)}. Correct it."
        )
    return [replace(sample, group=match[1]) for sample, match in found if match]


def _divide(samples: list[Sample], shares: Mapping[str, float], seed: int) -> list[Sample]:
    table = random_split((sample.group for sample in samples), shares, seed)
    return [replace(sample, split=table[sample.group]) for sample in samples]


def divide(samples: Sequence[Sample], config: SplitConfig) -> tuple[list[Sample], str]:
    """Give every sample a split.

    Without a split of their own, samples are divided at random by group. Where a ready-made split has no val, it is
    taken from train, by group. A ready-made split is otherwise kept.

    Args:
        samples: samples, all or none with a split.
        config: shares and seed.

    Returns:
        the samples in the same order, and one sentence on how they were divided.

    Raises:
        DataError: a split would be empty.
    """
    ready = {sample.split for sample in samples} - {None}
    if not ready or ready == {"train"}:
        shares = {"train": config.train, "val": config.val, "test": config.test}
        return _divide(list(samples), shares, config.seed), f"divided at random with seed {config.seed}"
    if "val" in ready or config.val == 0:
        return list(samples), "as the data set divides it"
    train = [sample for sample in samples if sample.split == "train"]
    if not train:
        raise DataError(f"the data set has the splits {sorted(map(str, ready))}, but no train. Add a train folder.")
    divided = {s.id: s for s in _divide(train, {"train": 1 - config.val, "val": config.val}, config.seed)}
    method = f"as the data set divides it; val is {config.val:g} of its train, at random with seed {config.seed}"
    return [divided.get(sample.id, sample) for sample in samples], method


def crossing_groups(samples: Iterable[Sample]) -> list[str]:
    """Groups that lie in more than one split, which leaks."""
    splits: dict[str, set[str | None]] = {}
    for sample in samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    return sorted(group for group, found in splits.items() if len(found) > 1)


def apply_splits(samples: Iterable[Sample], table: Mapping[str, str], source: str) -> tuple[list[Sample], list[str]]:
    """Give samples the split a table says.

    Args:
        samples: any samples.
        table: id -> split.
        source: where the table is from, for messages.

    Returns:
        the samples that the table names, with their split, and the ids it does not name.

    Raises:
        DataError: the table names ids that are not there.
    """
    by_id = {sample.id: sample for sample in samples}
    missing = sorted(table.keys() - by_id.keys())
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of {len(table)} ids are not among the {len(by_id)} samples: {some(missing)}. "
            f"Complete the data, or use another split."
        )
    named = [replace(sample, split=table[id_]) for id_, sample in by_id.items() if id_ in table]
    return named, sorted(by_id.keys() - table.keys())


def count_splits(samples: Iterable[Sample]) -> str:
    """Say how many samples each split has, such as `478 train, 53 val, 133 test`."""
    counts = Counter(sample.split for sample in samples)
    return ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])


def write_splits(path: Path, samples: Iterable[Sample]) -> None:
    """Write `id,split,group` as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "split", "group"])
    writer.writerows([sample.id, sample.split, sample.group] for sample in samples)
    write_text(path, text.getvalue())


def read_splits(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns `id` and `split` (others are ignored) into id -> split.

    Raises:
        DataError: missing or not such a file, an unknown split, or an id given twice.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(path)}: cannot be read as a split table ({error}).") from error
    table: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        id_, split = row.get("id"), row.get("split")
        if not id_ or split not in SPLITS:
            raise DataError(
                f"{shown(path)}:{line}: id {id_!r}, split {split!r}; need columns id and split ({', '.join(SPLITS)})."
            )
        if id_ in table:
            raise DataError(f"{shown(path)}:{line}: id {id_} is given twice. Keep one line.")
        table[id_] = split
    if not table:
        raise DataError(f"{shown(path)}: holds no samples. It needs the columns id and split, and a line per sample.")
    return table


def read_lists(lists: Mapping[str, Path]) -> dict[str, str]:
    """Read one text file per split, one id a line, into id -> split.

    Raises:
        DataError: a file cannot be read, or an id is given twice.
    """
    table: dict[str, str] = {}
    for split, path in lists.items():
        try:
            ids = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{shown(path)}: cannot be read as a list of ids ({error}).") from error
        for id_ in filter(None, (line.strip() for line in ids)):
            if id_ in table:
                raise DataError(f"{shown(path)}: id {id_} is given twice ({table[id_]} and {split}). Keep one.")
            table[id_] = split
    return table
