"""What the options of all commands have in common."""

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Result = dict[str, Any] | None
"""What `--json` prints; its `exit_code`, if it has one, becomes that of the program."""


WORDS = "runs"
"""Name of an argument of any number of paths, which may stand before, between and after the options."""


def natural(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    if natural(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """Parse the number (from 1) and count of the calls that share some work, such as 3/16."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"`{text}` is not I/N with I from 1 to N, such as 3/16")
    return number, count


def add_command(
    into: "Commands", name: str, action: Callable[[argparse.Namespace], Result], text: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have."""
    made = into.add_parser(
        name,
        help=text,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(action=action)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.add_argument("--json", action="store_true", help="print the result as JSON on stdout, all else on stderr")
    return made
