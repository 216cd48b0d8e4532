"""File names in messages, sample ids and tables: always one line of printable text."""

from pathlib import PurePath


def shown(name: str | PurePath) -> str:
    r"""Return a name with line breaks, control characters and undecodable bytes escaped (`\n`, `\udcff`).

    File names are bytes; Python hands undecodable ones over as lone surrogates, which no UTF-8 file can hold.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name))


def some(names: list[str], most: int = 5) -> str:
    """Join the first names and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
