"""Squares of a map as groups: neighbouring tiles look alike, so all tiles of a square stay in one split."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from seg_scse.config.schema import SplitConfig
from seg_scse.data.files.reading import read_place
from seg_scse.data.names import some
from seg_scse.data.samples import Sample
from seg_scse.errors import ConfigError, DataError, numbered

Position = tuple[str, float, float]
"""Scene, x and y. Positions in different scenes are never in one square."""


def assign_blocks(samples: Sequence[Sample], config: SplitConfig) -> list[Sample]:
    """Set each sample's group to the square of the map in which its first (upper left) pixel lies.

    Args:
        samples: tiles; their position is read from the GeoTIFF's header, or from the id by `position`, whose group
            `scene`, if it has one, names the map.
        config: `block`, the side of a square, and `position`.

    Raises:
        ConfigError: `position` is no regular expression with the groups x and y.
        DataError: files that cannot be read, or tiles without a position; all of them are counted.
    """
    assert config.block is not None
    position = _on_map if config.position is None else _in_id(config.position)
    found, problems = [], []
    for sample in samples:
        try:
            found.append((sample, position(sample)))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(
            f"data.split.block: {len(problems)} of {len(samples)} files cannot be read:\n{numbered(problems)}"
        )
    missing = [sample.id for sample, at in found if at is None]
    if missing:
        cure = (
            "Their files hold no map coordinates: say where a tile lies with data.split.position"
            if config.position is None
            else f"data.split.position={config.position!r} finds no x and y in their ids: correct it"
        )
        raise DataError(
            f"data.split.block: {len(missing)} of {len(samples)} samples have no position: {some(missing)}. "
            f"{cure}, or leave data.split.block out."
        )
    return [replace(sample, group=_square(at, config.block)) for sample, at in found if at is not None]


def _square(at: Position, side: float) -> str:
    scene, x, y = at
    return f"{scene} {math.floor(x / side)} {math.floor(y / side)}".strip()


def _on_map(sample: Sample) -> Position | None:
    """Return the coordinate reference system and the centre of the first pixel."""
    place = read_place(sample.image)
    if place is None or place.transform is None:
        return None
    a, b, x, d, e, y = place.transform
    # The corner itself may lie on the border of two squares, where rounding would decide.
    return place.crs or "", x + (a + b) / 2, y + (d + e) / 2


def _in_id(expression: str) -> Callable[[Sample], Position | None]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ConfigError(f"data.split.position={expression!r} is not a regular expression ({error}).") from error
    if not {"x", "y"} <= pattern.groupindex.keys():
        raise ConfigError(
            f"data.split.position={expression!r}: name the groups of the column and the row x and y, such as "
            r"(?P<x>\d+)_(?P<y>\d+)."
        )

    def find(sample: Sample) -> Position | None:
        match = pattern.search(sample.id)
        if match is None:
            return None
        try:
            return match.groupdict().get("scene") or "", float(match["x"]), float(match["y"])
        except (TypeError, ValueError):  # an optional group that is not there, or no number
            return None

    return find
