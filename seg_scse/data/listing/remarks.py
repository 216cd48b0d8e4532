"""What is said while samples are listed: problems, notes, and samples that the configuration leaves out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Self

from seg_scse.data.listing.patterns import same_name
from seg_scse.data.names import shown

_MOST_HINTS = 3
"""Exclusions for which the nearest id is looked up: comparing with all ids takes a second."""


class Exclusions:
    """The ids of data.exclude, and which of them named something.

    Args:
        reasons: data.exclude.
        notes: a line is added here for each id when it is met.
    """

    def __init__(self, reasons: Mapping[str, str], notes: list[str]) -> None:
        self._reasons = {same_name(id_): (id_, reason) for id_, reason in reasons.items()}
        self._notes = notes
        self._met: set[str] = set()

    def has(self, *ids: str) -> bool:
        """Tell whether one of the names that a sample goes by is excluded, and note it once."""
        key = next((key for key in map(same_name, ids) if key in self._reasons), None)
        if key is not None and key not in self._met:
            self._met.add(key)
            id_, reason = self._reasons[key]
            self._notes.append(f"excluded {shown(id_)}: {reason}")
        return key is not None

    def unknown(self, ids: Collection[str], of_card: Collection[str]) -> list[str]:
        """Say which exclusions named no sample, each with the nearest id.

        Args:
            ids: of the samples that are left.
            of_card: exclusions that a card makes: its data set has releases that differ, so these are only noted.
        """
        problems: list[str] = []
        for id_ in sorted(id_ for key, (id_, _) in self._reasons.items() if key not in self._met):
            if id_ in of_card:
                self._notes.append(f"data.exclude of the card names {id_}, but there is no such sample")
                continue
            near = get_close_matches(id_, ids, n=1, cutoff=0.5) if len(problems) < _MOST_HINTS else []
            hint = f" The nearest is {near[0]}." if near else ""
            problems.append(
                f"data.exclude names {shown(id_)}, but there is no such sample.{hint} Correct or remove it."
            )
        return problems


@dataclass(frozen=True)
class Remarks:
    """What is said while samples are listed.

    Attributes:
        out: samples to leave out.
        problems: why the data cannot be used as declared, each with its cure.
        notes: what was left out or decided.
    """

    out: Exclusions
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, exclude: Mapping[str, str]) -> Self:
        """Begin, with the samples of data.exclude to be left out."""
        notes: list[str] = []
        return cls(Exclusions(exclude, notes), [], notes)
