"""How long a study may take, how far it is, and what time is left."""

import argparse
import re
import statistics
import time

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """Parse a duration such as `90m`, `6h` or `1.5d`.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no duration: write 90m, 6h or 1.5d")
    return float(match[1]) * _UNITS[match[2]]


def spoken(seconds: float) -> str:
    """Say a duration in words of two figures, such as `48 s`, `12 min` or `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Budget:
    """The time of one call.

    Args:
        limit: seconds; None for no limit.
        known: seconds that finished runs of the study took.
    """

    def __init__(self, limit: float | None, known: list[float]) -> None:
        self.started, self.limit, self.known = time.monotonic(), limit, list(known)

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.started

    def is_spent(self) -> bool:
        """Tell whether nothing may run any more."""
        return self.limit is not None and self.elapsed() >= self.limit

    def allows_another(self) -> bool:
        """Tell whether another run would end in time, if it takes as long as the usual one."""
        usual = statistics.median(self.known) if self.known else 0.0
        return self.limit is None or self.elapsed() + usual < self.limit

    def left(self, runs: float, jobs: int) -> str:
        """Say how long so many runs, of which `jobs` go on at a time, will take.

        Empty while no run has ended, and where none is left: frozen gates are scored after that.
        """
        return f"about {spoken(statistics.fmean(self.known) * runs / jobs)} left" if self.known and runs > 0 else ""
