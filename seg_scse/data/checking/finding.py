"""One thing that a check found out about the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""error: training refuses the data; warning: it would train, but the result would be worse or its score wrong; note:
good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found, on one or on many samples.

    Attributes:
        level: one of `LEVELS`.
        kind: short name of the rule, such as `leak-content`; the same in every version.
        text: one line that says what was found and what to do.
        ids: all samples it is about, where it is about samples.
    """

    level: Level
    kind: str
    text: str
    ids: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The finding as one line for a terminal or a log."""
        return f"{self.level} ({self.kind}): {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"level": self.level, "kind": self.kind, "text": self.text, "ids": list(self.ids)}


def by_level(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise in the given order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def of_level(findings: Sequence[Finding], level: Level) -> list[Finding]:
    """The findings of one level."""
    return [finding for finding in findings if finding.level == level]
