"""Joining what several processes found, each image once."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from seg_scse.errors import DataError, numbered

Value = TypeVar("Value")


def join(parts: Sequence[Mapping[str, Value]], ids: Sequence[str]) -> dict[str, Value]:
    """Join parts that have no image in common.

    Args:
        parts: sample id -> what was found.
        ids: every sample id.

    Raises:
        DataError: an image is in two parts, in no part, or not in `ids`; all of them are listed.
    """
    found: dict[str, Value] = {}
    problems = []
    for part in parts:
        problems += [f"{sample_id!r} is in two tables" for sample_id in part if sample_id in found]
        found |= part
    problems += [f"{sample_id!r} is in no table" for sample_id in ids if sample_id not in found]
    problems += [f"{sample_id!r} is not in the list of ids" for sample_id in sorted(found.keys() - set(ids))]
    if problems:
        raise DataError(f"the tables of the processes do not make one whole:\n{numbered(problems)}")
    return found
