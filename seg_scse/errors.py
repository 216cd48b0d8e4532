"""Errors a user can cause or cure, and the exit code each one ends the program with.

A message names the thing (file, key, step), the rule, the value found and the cure, in at most a few lines.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_NO_MEMORY = re.compile("(can't|cannot) allocate memory|not enough memory", re.IGNORECASE)


class SegScseError(Exception):
    """Base of all errors that end in one clear message instead of a traceback."""

    exit_code = 1


class ConfigError(SegScseError):
    """Wrong usage or configuration, found before any work."""

    exit_code = 2


class DataError(SegScseError):
    """An image, mask, card or split file that cannot be used as declared."""

    exit_code = 3


class DivergedError(SegScseError):
    """The loss or a gradient became non-finite."""

    exit_code = 4


class WriteError(SegScseError):
    """The run folder cannot be written: read-only, or the disk is full."""

    exit_code = 5


class CheckpointError(SegScseError):
    """A checkpoint that is damaged, unsafe, or made by another model."""

    exit_code = 6


class Stopped(SegScseError):  # noqa: N818 - a stop that was asked for is no error
    """A signal ended the work after a checkpoint was written; `folder` is that of the run."""

    def __init__(self, message: str, signum: int, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder
        self.exit_code = 128 + signum


def numbered(problems: Sequence[str], most: int = 20) -> str:
    """Join problems into an indented list; past `most` lines only their number is said."""
    lines = [f"  - {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  ... and {len(problems) - most} more")
    return "\n".join(lines)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the memory ran out, of a GPU or, which torch says in words alone, of the machine."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
