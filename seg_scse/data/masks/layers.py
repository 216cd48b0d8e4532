"""Layers, one per class, put together to one mask: the rule for pixels in two classes, and names of classes."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.config.wording import counted
from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

Pixels = NDArray[np.uint8]
Layer = tuple[int, NDArray[np.bool_]]
"""A class index above 0 (255: ignore) and the pixels `(H, W)` where it is."""

_MOST_HINTS = 3  # names for which the nearest one is said


def combine(layers: Iterable[Layer], shape: tuple[int, int], config: DataConfig, source: str) -> Pixels:
    """Put the layers of an image together.

    Args:
        layers: each class at most once, in ascending order (ignore comes last and covers every class).
        shape: `(H, W)`.
        config: `task`, `classes` and `mask.overlap` are used.
        source: the mask file or files, for messages.

    Returns:
        uint8 `(H, W)`. For `task=multiclass` class indices; for `multilabel` bit k-1 of a pixel is set where class k
        is. 255 is ignore in both.

    Raises:
        DataError: pixels are in two classes, for `multiclass` with `overlap=refuse`.
    """
    result = np.zeros(shape, np.uint8)
    shared: dict[tuple[int, int], int] = {}
    for index, layer in layers:
        if index == IGNORE_INDEX:
            result[layer] = IGNORE_INDEX
        elif config.task == "multilabel":
            result[layer] |= 1 << (index - 1)
        else:
            counts = np.bincount(result[layer])
            shared |= {(other, index): count for other, count in enumerate(counts.tolist()) if other and count}
            result[layer] = index
    if shared and config.mask.overlap == "refuse":
        raise DataError(_overlap(shared, config.classes, source))
    return result


def _overlap(shared: dict[tuple[int, int], int], classes: tuple[str, ...], source: str) -> str:
    pairs = [
        f"{count} in {shown(classes[low])} and {shown(classes[high])}"
        for (low, high), count in sorted(shared.items(), key=lambda item: -item[1])
    ]
    total = sum(shared.values())
    return (
        f"{source}: {counted(total, 'pixel')} {'is' if total == 1 else 'are'} in two classes: {some(pairs)}. Put "
        "`data.mask.overlap: last` into the configuration if the class that comes later in data.classes is right "
        "there, or `data.task: multilabel` if both are."
    )


def class_indices(counts: Mapping[str, int], needed: Iterable[str], path: Path, config: DataConfig) -> dict[str, int]:
    """Translate the names of classes in an annotation file to class indices.

    Args:
        counts: every name in the file, with its number of objects.
        needed: the names that the image at hand uses.
        path: the annotation file.
        config: `mask.labels` and `classes` are used.

    Raises:
        DataError: a needed name is not declared; with all names of the file and the line to write.
    """
    declared = config.mask.labels
    if declared is None:
        declared = {name: index for index, name in enumerate(config.classes)}
    names = sorted(set(needed))
    unknown = [name for name in names if name not in declared]
    if unknown:
        found = some([f"{shown(name)} ({counted(count, 'object')})" for name, count in sorted(counts.items())], 8)
        raise DataError(
            f"{shown(path)}: undeclared class {', '.join(map(shown, unknown))}; the file holds {found}. "
            f"{_nearest_names(unknown, declared)}{_label_line(sorted(counts), declared, config.classes)}"
        )
    return {name: declared[name] for name in names}


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another one, in any case, or None where none is."""
    lowered = {one.lower(): one for one in known}
    match = get_close_matches(name.lower(), lowered, n=1)
    return lowered[match[0]] if match else None


def _nearest_names(unknown: list[str], declared: Mapping[str, int]) -> str:
    near = {name: found for name in unknown[:_MOST_HINTS] if (found := nearest_name(name, declared)) is not None}
    return "".join(f"The nearest to {shown(name)} that is declared is {shown(found)}. " for name, found in near.items())


def _label_line(names: list[str], declared: Mapping[str, int], classes: tuple[str, ...]) -> str:
    targets = {name: declared[name] for name in names if name in declared}
    for name in names:
        if name not in declared and (found := nearest_name(name, declared)) is not None:
            targets[name] = declared[found]
    free = [index for index in range(1, len(classes)) if index not in targets.values()]
    others = [name for name in names if name not in targets]
    if len(others) > len(free):
        return (
            f"Declare each in `data.mask.labels` ({IGNORE_INDEX} as class: ignore, 0: leave such objects out) or name "
            f"it in data.classes, which has {', '.join(map(shown, classes))}."
        )
    targets |= dict(zip(others, free, strict=False))
    pairs = ", ".join(f"{quoted(name)}: {targets[name]}" for name in names)
    return f"If that is right, put `data.mask.labels: {{{pairs}}}` into the configuration."


def quoted(name: str) -> str:
    """Write a name so that YAML reads it as text."""
    return "'" + shown(name).replace("'", "''") + "'"
