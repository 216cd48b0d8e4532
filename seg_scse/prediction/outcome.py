"""What became of a call of `predict`, for the person and for the program that called."""

from dataclasses import asdict, dataclass
from typing import Any

from seg_scse.config.wording import counted
from seg_scse.errors import DataError, numbered


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        output: where the results are.
        items: that were found.
        done: that this call finished.
        skipped: that were finished earlier.
        failed: why items failed, by id.
        left: that other calls still have to finish.
        seconds: that it took.
        notes: what else should be said.
    """

    output: str
    items: int
    done: int
    skipped: int
    failed: dict[str, str]
    left: int
    seconds: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain JSON types, with the exit code: 3 where something failed."""
        return {**asdict(self), "exit_code": DataError.exit_code if self.failed else 0}

    def text(self) -> str:
        """Say it in lines; what failed is not in them."""
        earlier = f", {self.skipped} were done earlier" if self.skipped else ""
        left = f", {self.left} wait for other calls" if self.left else ""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"predicted {self.done} of {counted(self.items, 'item')} in {self.seconds:.1f} s{earlier}{failed}{left}"

    def failures(self) -> str:
        """Say what failed and why; empty where nothing did."""
        if not self.failed:
            return ""
        lines = [f"{name}: {error}" for name, error in self.failed.items()]
        return f"{len(self.failed)} of {counted(self.items, 'item')} failed:\n{numbered(lines)}"
