"""What became of each tensor when a network started from another one, as a table and for a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seg_scse.models.parts import part_of
from seg_scse.models.source import Source

Action = Literal["loaded", "adapted", "skipped", "new"]
ACTIONS: tuple[Action, ...] = ("loaded", "adapted", "skipped", "new")
_PARTS = ("encoder", "decoder", "head", "gates")


@dataclass(frozen=True)
class Moved:
    """What became of one tensor of the network.

    Attributes:
        action: loaded as it is; adapted to classes or bands; skipped, because the source's does not fit, or new,
            because the source has none. The last two keep the value that the network was initialised with.
        how: how it was adapted, or why it was not loaded; the same text for all tensors of one case.
        detail: what is particular to this tensor.
        elements: number of its elements.
        fresh: how many of them are left as they were initialised: all, none, or the rows of new classes.
    """

    action: Action
    how: str = ""
    detail: str = ""
    elements: int = 0
    fresh: int = 0


@dataclass(frozen=True)
class Transfer:
    """What became of all tensors when a network started from another one.

    Attributes:
        source: the other network.
        label: name of this one, such as `unet-resnet18`.
        moved: by name, all tensors of the network in their order.
        unused: names of the source's tensors without a place here, and why.
        identical: whether the network computes what the source computed, to the bit.
    """

    source: Source
    label: str
    moved: Mapping[str, Moved]
    unused: Mapping[str, str]
    identical: bool

    def table(self) -> str:
        """Return a table for people, one line for all tensors of a part with the same fate, and what it means."""
        rows = [("part", "tensors", "", ""), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{part:<{widths[0]}}  {count:>{widths[1]}}  {action:<{widths[2]}}  {how}".rstrip()
            for part, count, action, how in rows
        ]
        return "\n".join([*self._heading(), *lines, self._rest()]) + "\n"

    def _heading(self) -> list[str]:
        source = self.source
        known = [
            f"classes {', '.join(source.classes)}" if source.classes else "",
            f"bands {', '.join(source.bands)}" if source.bands else "",
        ]
        label = source.model.label if source.model else "weights without a description of their network"
        lines = [f"start from {source.name}: {'; '.join(filter(None, [label, *known]))}"]
        if source.model and label != self.label:
            lines.append(
                f"This network is a {self.label}, that one a {label}: what has the same name and shape is loaded."
            )
        return lines

    def _rows(self) -> list[tuple[str, str, str, str]]:
        groups: dict[tuple[int, int, str], list[str]] = {}
        for name, moved in self.moved.items():
            key = (_PARTS.index(part_of(name)), ACTIONS.index(moved.action), moved.how)
            groups.setdefault(key, []).append(name)
        rows = [
            (_PARTS[part], str(len(names)), ACTIONS[action], self._text(how, names))
            for (part, action, how), names in sorted(groups.items(), key=lambda item: item[0][:2])
        ]
        reasons: dict[str, list[str]] = {}
        for name, reason in self.unused.items():
            reasons.setdefault(reason, []).append(name)
        return [
            *rows,
            *(("source", str(len(names)), "unused", f"{_few(names)}: {why}") for why, names in reasons.items()),
        ]

    def _text(self, how: str, names: list[str]) -> str:
        first = self.moved[names[0]]
        if first.action == "loaded":
            return how
        detail = f" ({first.detail})" if first.detail else ""
        return f"{_few(names)}: {how}{detail}"

    def _rest(self) -> str:
        """Say what has still to be learnt from the beginning."""
        if self.identical:
            return "The network starts bit-equal to the source: from the same standardised image, the same answer."
        fresh = [moved for moved in self.moved.values() if moved.fresh]
        if not fresh:
            return "Nothing is left as it was initialised."
        whole = sum(moved.fresh == moved.elements for moved in fresh)
        what = [
            f"{whole} tensor{'s' * (whole > 1)}" if whole else "",
            f"rows of {len(fresh) - whole}{' others' * bool(whole)}" if whole < len(fresh) else "",
        ]
        total = sum(moved.elements for moved in self.moved.values())
        share = 100 * sum(moved.fresh for moved in fresh) / total
        return f"{' and '.join(filter(None, what))} ({share:.2g} % of the numbers) are left as initialised."

    def as_dict(self) -> dict[str, Any]:
        """Return all of it in plain JSON types."""
        source = self.source
        return {
            "source": source.name,
            "source_file": source.file,
            "source_sha256": source.sha256,
            "source_model": source.model.model_dump(mode="json") if source.model else None,
            "source_classes": list(source.classes) if source.classes else None,
            "source_bands": list(source.bands) if source.bands else None,
            "identical": self.identical,
            "tensors": {
                name: {
                    "part": part_of(name),
                    "action": moved.action,
                    "how": " ".join(filter(None, (moved.how, moved.detail))),
                }
                for name, moved in self.moved.items()
            },
            "unused": dict(self.unused),
        }


def _few(names: list[str]) -> str:
    """Return the first name, or two, and say that there are more."""
    return ", ".join(names) if len(names) <= 2 else f"{names[0]}, ..."
