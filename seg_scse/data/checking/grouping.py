"""Names that look like series of one patient or scene, which should stay together when samples are divided."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PATTERNS = (r"^(.+)/[^/]+$", r"^([A-Za-z]*\d+)[_-].+$", r"^(.+)[_-]\d+$")
"""A folder per series; a number first (`patient07_ed`); a number last (`lung_017`)."""

_FEWEST_GROUPS = 3


@dataclass(frozen=True)
class GroupHint:
    """A regular expression for `data.split.group` that fits all ids, and the group of each id."""

    expression: str
    groups: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(set(self.groups))


def group_hint(ids: Sequence[str]) -> GroupHint | None:
    """Propose how ids are grouped, where they look like series such as `name_001`.

    Args:
        ids: of all samples.

    Returns:
        the first pattern that all ids have, with at least three groups of two ids on average; else None.
    """
    for expression in _PATTERNS:
        pattern = re.compile(expression)
        matches = [match[1] for match in map(pattern.search, ids) if match]
        if len(matches) == len(ids) and _FEWEST_GROUPS <= len(set(matches)) <= len(ids) / 2:
            return GroupHint(expression, tuple(matches))
    return None
