"""The split that a card states, as a table of sample ids: by lists, a table or patterns of names."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from seg_scse.data.listing.splits import read_lists, read_splits
from seg_scse.data.names import shown, some
from seg_scse.data.sets.cards import Card, SplitName
from seg_scse.errors import DataError


def _ids_in_lines(lists: Mapping[str, Path], expression: str) -> dict[str, str]:
    """Read lists whose lines hold more than the id, such as two absolute paths."""
    pattern = re.compile(expression)
    table: dict[str, str] = {}
    for split, path in lists.items():
        for line in read_lists({split: path}):
            match = pattern.fullmatch(line)
            if match is None:
                raise DataError(
                    f"{shown(path)}: the line {line!r} is not of the form {expression!r} that the card says. "
                    f"Get the file from the source again, or correct split.line of the card."
                )
            id_ = "/".join(group for group in match.groups() if group is not None)
            if table.setdefault(id_, split) != split:
                raise DataError(f"{shown(path)}: id {id_} is given twice ({table[id_]} and {split}). Keep one.")
    return table


def _by_patterns(patterns: Mapping[SplitName, str], ids: Iterable[str]) -> dict[str, str]:
    """Give each id the first split whose pattern matches all of it."""
    table: dict[str, str] = {}
    lost = []
    for id_ in ids:
        split = next((split for split, pattern in patterns.items() if re.fullmatch(pattern, id_)), None)
        if split is None:
            lost.append(id_)
        else:
            table[id_] = split
    if lost:
        raise DataError(
            f"split.patterns of the card match none of {len(lost)} ids: {some(sorted(lost))}. "
            f"Remove these files, name them in data.exclude, or complete the patterns."
        )
    return table


def split_table(card: Card, folder: Path, root: Path, ids: Iterable[str]) -> dict[str, str] | None:
    """Return the split that the card states.

    Args:
        card: the data set.
        folder: folder of the card file; `split.lists` are relative to it.
        root: folder of the data; `split.root_lists` and `split.table` are relative to it.
        ids: ids of all samples found; `split.patterns` divide them.

    Returns:
        id -> split, where the card has lists, a table or patterns; else None (folders, or a random split).

    Raises:
        DataError: a file cannot be read, an id is in two splits, or an id fits no pattern.
    """
    rule = card.split
    if rule.lists is not None:
        return read_lists({split: folder / name for split, name in rule.lists.items()})
    if rule.root_lists is not None:
        lists: dict[str, Path] = {split: root / name for split, name in rule.root_lists.items()}
        return read_lists(lists) if rule.line is None else _ids_in_lines(lists, rule.line)
    if rule.table is not None:
        return read_splits(root / rule.table)
    return None if rule.patterns is None else _by_patterns(rule.patterns, ids)
