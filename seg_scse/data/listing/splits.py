"""Dividing samples into train, val and test: a pure function of ids and seed, written down and read back."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seg_scse.config.schema import SplitConfig
from seg_scse.config.wording import counted
from seg_scse.data.listing.patterns import same_name
from seg_scse.data.listing.shares import random_split, stratified_split
from seg_scse.data.names import shown, some
from seg_scse.data.samples import SPLITS, Sample
from seg_scse.errors import ConfigError, DataError
from seg_scse.files import write_text


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
            f"data.split.group={expression!r} does not match {counted(len(missing), 'id')}: {some(missing)}. "
            "Correct it."
        )
    grouped = [replace(sample, group=match[1]) for sample, match in found if match]
    _refuse_divided_volumes(grouped, expression)
    return grouped


def _refuse_divided_volumes(samples: Iterable[Sample], expression: str) -> None:
    groups: dict[Path, set[str]] = {}
    for sample in samples:
        if sample.plane is not None:
            groups.setdefault(sample.image, set()).add(sample.group)
    divided = [shown(path.name) for path, found in groups.items() if len(found) > 1]
    if divided:
        raise ConfigError(
            f"data.split.group={expression!r} divides the slices of {counted(len(divided), 'volume')}: "
            f"{some(divided)}. Match the part of the id before the number of the slice."
        )


Presence = Mapping[str, frozenset[int]]
"""Classes in the mask of each sample, by id."""


def _deal(
    samples: Sequence[Sample], shares: Mapping[str, float], seed: int | str, presence: Presence | None
) -> dict[str, str]:
    """Divide groups by shares, stratified where the classes of each sample are given: group -> part."""
    if presence is None:
        return random_split((sample.group for sample in samples), shares, seed)
    units: dict[str, list[frozenset[int]]] = {}
    for sample in samples:
        units.setdefault(sample.group, []).append(presence[sample.id])
    return stratified_split(units, shares, seed)


def divide(
    samples: Sequence[Sample], config: SplitConfig, presence: Presence | None = None
) -> tuple[list[Sample], str]:
    """Give every sample a split.

    Without a split of their own, samples are divided by group, at random or stratified. Where a ready-made split has
    no val, it is taken from train, by group. A ready-made split is otherwise kept. With folds, all samples are divided
    anew: one fold is test, and a share of the rest val.

    Args:
        samples: samples, all or none with a split.
        config: shares, seed and folds.
        presence: classes in each sample's mask; needed for `stratify`, not used without.

    Returns:
        the samples in the same order, and one sentence on how they were divided.

    Raises:
        DataError: a split would be empty.
        ValueError: `stratify` without `presence`.
    """
    if config.stratify and presence is None:
        raise ValueError("stratify needs the classes in each sample's mask: give `presence`")
    presence = presence if config.stratify else None
    by = "by class presence" if config.stratify else "at random"
    ready = {sample.split for sample in samples} - {None}
    if config.folds is not None:
        return _divide_folds(samples, config, presence, f"divided {by} with seed {config.seed}", bool(ready))
    if not ready or (ready == {"train"} and config.file is None):
        shares = {"train": config.train, "val": config.val, "test": config.test}
        table = _deal(samples, shares, config.seed, presence)
        return _with_table(samples, table), f"divided {by} with seed {config.seed}{_groups_kept(samples, config)}"
    return _complete(samples, ready, config, presence, by)


def _complete(
    samples: Sequence[Sample], ready: set[str | None], config: SplitConfig, presence: Presence | None, by: str
) -> tuple[list[Sample], str]:
    """Keep a ready-made split; take val from train where there is none."""
    source = "the data set divides it" if config.file is None else f"{shown(config.file)} divides it"
    if "val" in ready or config.val == 0:
        return list(samples), f"as {source}"
    train = [sample for sample in samples if sample.split == "train"]
    if not train:
        raise DataError(f"the data set has the splits {sorted(map(str, ready))}, but no train. Add a train folder.")
    table = _deal(train, {"train": 1 - config.val, "val": config.val}, config.seed, presence)
    divided = {sample.id: sample for sample in _with_table(train, table)}
    method = (
        f"as {source}; val is {config.val:g} of its train, {by} with seed {config.seed}{_groups_kept(train, config)}"
    )
    return [divided.get(sample.id, sample) for sample in samples], method


def _divide_folds(
    samples: Sequence[Sample], config: SplitConfig, presence: Presence | None, how: str, ready: bool
) -> tuple[list[Sample], str]:
    assert config.folds is not None
    fold = config.fold or 0
    groups = len({sample.group for sample in samples})
    if groups < config.folds:
        raise DataError(
            f"data.split.folds={config.folds}, but only {counted(groups, 'independent sample')} (or groups): "
            "ask for fewer folds."
        )
    parts = _deal(samples, {str(k): 1 / config.folds for k in range(config.folds)}, config.seed, presence)
    rest = [sample for sample in samples if parts[sample.group] != str(fold)]
    # Another order for each fold, so that not all networks are chosen on the same images.
    table = _deal(rest, {"train": 1 - config.val, "val": config.val}, f"{config.seed}:fold {fold}", presence)
    divided = [replace(sample, split=table.get(sample.group, "test")) for sample in samples]
    anew = "; the split of the data set is not used" if ready else ""
    return divided, f"fold {fold} of {config.folds} is test, {how}{_groups_kept(samples, config)}{anew}"


def _with_table(samples: Iterable[Sample], table: Mapping[str, str]) -> list[Sample]:
    return [replace(sample, split=table[sample.group]) for sample in samples]


def _groups_kept(samples: Sequence[Sample], config: SplitConfig) -> str:
    groups = {sample.group for sample in samples}
    if groups == {sample.id for sample in samples}:
        return ""
    what = "groups" if config.block is None else f"squares of side {config.block:g}"
    return f", {len(groups)} {what} kept whole"


def describe(
    samples: Iterable[Sample], presence: Presence | None = None, classes: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Count what each split holds.

    Args:
        samples: divided samples.
        presence: classes in each sample's mask, if they are known.
        classes: names of the classes.

    Returns:
        split -> `samples`, `groups` and, with `presence`, `classes`: number of images that hold each class, by name.
    """
    found: dict[str, dict[str, Any]] = {}
    every = list(samples)
    for split in SPLITS:
        members = [sample for sample in every if sample.split == split]
        found[split] = {"samples": len(members), "groups": len({sample.group for sample in members})}
        if presence is not None:
            counts = Counter(label for sample in members for label in presence[sample.id])
            found[split]["classes"] = {name: counts[index] for index, name in enumerate(classes)}
    return found


def crossing_groups(samples: Iterable[Sample]) -> list[str]:
    """Groups that lie in more than one split, which leaks."""
    splits: dict[str, set[str | None]] = {}
    for sample in samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    return sorted(group for group, found in splits.items() if len(found) > 1)


def apply_splits(samples: Iterable[Sample], table: Mapping[str, str], source: str) -> tuple[list[Sample], list[str]]:
    """Give samples the split a table says.

    Args:
        samples: any samples; slices may also be named by their volume.
        table: id -> split.
        source: where the table is from, for messages.

    Returns:
        the samples that the table names, with their split, and the ids it does not name.

    Raises:
        DataError: the table names ids that are not there.
    """
    samples = list(samples)
    by_key = {same_name(id_): split for id_, split in table.items()}
    named, unnamed, met = [], [], set()
    for sample in samples:
        names = [sample.id] if sample.plane is None else [sample.id, sample.group]
        key = next((key for key in map(same_name, names) if key in by_key), None)
        if key is None:
            unnamed.append(sample.id)
        else:
            met.add(key)
            named.append(replace(sample, split=by_key[key]))
    missing = sorted(id_ for id_ in table if same_name(id_) not in met)
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of {len(table)} ids are not among the {len(samples)} samples: "
            f"{some([shown(id_) for id_ in missing])}. {_cure(missing[0], [s.id for s in samples])}"
        )
    return named, sorted(unnamed)


def _cure(missing: str, ids: Sequence[str]) -> str:
    """Say what to do about an id that is not there."""
    if missing.startswith(("/", "~")) or ".." in missing.split("/"):
        return "An id is the path below the image folder without extension: it never leads out of it."
    near = get_close_matches(missing, ids, n=1, cutoff=0.8)
    hint = f" The nearest to {shown(missing)} is {near[0]}." if near else ""
    return f"Complete the data, or use another split.{hint}"


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
