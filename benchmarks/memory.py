"""What memory a piece of work takes at most, beyond what was there before."""

import resource
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Starts to watch the memory of this process when it is made.

    Where the system does not tell (all but Linux), the highest memory since the process began counts.
    """

    def __init__(self) -> None:
        if _RESET.exists():
            _RESET.write_text("5")  # the kernel forgets the highest memory so far
        self.before = _kilobytes("VmRSS") / 1024
        """MB in memory at the start."""

    def megabytes(self) -> float:
        """MB at most so far, beyond those at the start."""
        return _kilobytes("VmHWM") / 1024 - self.before


def _kilobytes(name: str) -> int:
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
