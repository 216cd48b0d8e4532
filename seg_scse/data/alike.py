"""Messages on many samples that differ by names and numbers only, told once."""

import re
from collections.abc import Sequence

from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample

Failed = tuple[Sample, str]
"""A sample, and what is wrong with it."""


def one_line(text: str) -> str:
    """Join the lines of a message."""
    return " ".join(line.strip() for line in text.splitlines())


def pattern(sample: Sample, text: str) -> str:
    """The message without what differs between samples: names and numbers."""
    names = {sample.id, *(shown(part) for path in sample.files for part in (path, path.name))}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "*")
    return re.sub(r"\d+(\.\d+)?", "#", text)


def told_once(members: Sequence[Failed]) -> str:
    """The first message, and for which other samples it holds."""
    ids = [sample.id for sample, _ in members]
    first = one_line(members[0][1])
    more = f"{len(ids) - 1} more sample{'' if len(ids) == 2 else 's'}"
    return first if len(ids) == 1 else f"{first} The same holds for {more}: {some(ids[1:])}"


def told_together(failed: Sequence[Failed]) -> list[str]:
    """One message for each kind of problem, in the order in which they first come."""
    groups: dict[str, list[Failed]] = {}
    for sample, text in failed:
        groups.setdefault(pattern(sample, text), []).append((sample, text))
    return [told_once(members) for members in groups.values()]
