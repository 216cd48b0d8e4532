"""Colour-coded masks: each exact colour is a class, by the declared map."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.config.wording import counted
from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

Codes = NDArray[np.uint32]
"""Colours as numbers, 0xrrggbb."""

_NEAR = 32  # a colour this close to a declared one in each channel is its blurred or compressed form
_MOST_SHOWN = 8
_MANY = 8  # colours that nobody declared
_FEW = 0.25  # of the pixels
_NEARBY = 0.125  # of the colours: by chance, one in sixty is near another


def colour_codes(colours: NDArray[np.uint8]) -> Codes:
    """Turn `(..., 3)` colours into `(...)` numbers."""
    wide = colours.astype(np.uint32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], np.uint32)


def colour_indices(codes: Codes, path: Path, format_: str, config: DataConfig) -> NDArray[np.uint8]:
    """Translate colours to class indices by `mask.colours`.

    Args:
        codes: `(H, W)`, 0xrrggbb.
        path: the mask file, for messages.
        format_: its format; colours of a JPEG are never exact.
        config: `mask.colours` and `classes` are used.

    Returns:
        uint8 `(H, W)`; 255 where the map says ignore.

    Raises:
        DataError: a colour that is not declared, with counts and the line to write.
    """
    declared = {int(colour[1:], 16): target for colour, target in (config.mask.colours or {}).items()}
    known = np.array(sorted(declared), np.uint32)
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    if not (known[at] == codes).all():
        raise DataError(_undeclared(codes, declared, path, format_, config))
    targets = np.array([declared[int(code)] for code in known], np.uint8)
    return targets[at]


def colour_line(codes: Codes, classes: int, declared: dict[int, int] | None = None) -> str:
    """Propose the line of the configuration that declares the colours found, the most frequent first."""
    values, counts = np.unique(codes, return_counts=True)
    line = dict(declared or {})
    free = [index for index in range(classes) if index not in line.values()]
    new = [int(value) for value in values[np.argsort(-counts, kind="stable")] if int(value) not in line]
    if len(new) > len(free):
        return (
            f"declare each colour in `data.mask.colours` ({IGNORE_INDEX} as class: ignore), "
            "such as `data.mask: {encoding: colours, colours: {'#000000': 0, '#ff0000': 1}}`, or name more data.classes"
        )
    line |= dict(zip(new, free, strict=False))
    pairs = ", ".join(f"'{_name(value)}': {target}" for value, target in line.items())
    return f"put `data.mask: {{encoding: colours, colours: {{{pairs}}}}}` into the configuration"


def _undeclared(codes: Codes, declared: dict[int, int], path: Path, format_: str, config: DataConfig) -> str:
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = {int(values[i]): int(counts[i]) for i in order}
    unknown = [value for value in found if value not in declared]
    pixels = [f"{_name(value)} ({counted(count, 'pixel')})" for value, count in found.items()]
    text = (
        f"{shown(path)}: undeclared colour {some([_name(value) for value in unknown], _MOST_SHOWN)}; "
        f"found {some(pixels, _MOST_SHOWN)}"
    )
    near = {value: closest for value in unknown if (closest := _nearest(value, declared)) is not None}
    if format_ == "JPEG" or _is_mixed(found, unknown, near):
        example = "".join(f", such as {_name(value)} near {_name(near[value])}" for value in list(near)[:1])
        return (
            f"{text}. This is a lossy mask: compression or resizing mixed its colours{example}. "
            "Get the file in a lossless format, resized without interpolation."
        )
    hint = "".join(f" {_name(value)} is close to the declared {_name(near[value])}." for value in list(near)[:1])
    meant = {known: value for value, known in near.items() if known not in found}
    corrected = {meant.get(known, known): target for known, target in declared.items()}
    return f"{text}.{hint} If that is right, {colour_line(codes, len(config.classes), corrected)}."


def _is_mixed(found: dict[int, int], unknown: list[int], near: Collection[int]) -> bool:
    """Tell the colours along edges that compression and interpolation make from those that were not declared."""
    few = sum(found[value] for value in unknown) < _FEW * sum(found.values())
    return few and len(unknown) >= _MANY and len(near) >= _NEARBY * len(unknown)


def _nearest(value: int, declared: dict[int, int]) -> int | None:
    """The declared colour within `_NEAR` in every channel, or None."""
    distances = {known: max(abs((known >> s & 255) - (value >> s & 255)) for s in (16, 8, 0)) for known in declared}
    closest = min(distances, key=lambda known: distances[known])
    return closest if distances[closest] <= _NEAR else None


def _name(code: int) -> str:
    return f"#{code:06x}"
