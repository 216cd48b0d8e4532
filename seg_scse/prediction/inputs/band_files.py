"""Which files are the bands of one image, by the names that the run's configuration gives them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from seg_scse.config.wording import counted
from seg_scse.data.listing.patterns import Rule
from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

_MOST_NAMED = 10


def join_bands(
    files: Sequence[Path], below: Callable[[Path], str], rules: Sequence[Rule], notes: list[str]
) -> dict[str, tuple[Path, ...]]:
    """Join one file per band as the run's `data.images`, `image_suffix` or `image_pattern` names them.

    Args:
        files: images of any name.
        below: returns the path of a file below its folder, without extension.
        rules: one per band, in the order of `data.bands`.
        notes: what was left out is added here.

    Returns:
        The files of each id, in the order of the rules.

    Raises:
        DataError: an image lacks a band, or has one twice.
    """
    bands: dict[str, dict[str, list[Path]]] = defaultdict(dict)
    unread = 0
    for path in files:
        stem = below(path)
        matches = [(rule, id_) for rule in rules if (id_ := _id_of(rule, stem)) is not None]
        if not matches:
            unread += 1
            continue
        rule, id_ = max(matches, key=lambda match: match[0].narrowness)
        bands[id_].setdefault(rule.name, []).append(path)
    names = [rule.name for rule in rules]
    _require_each_once(bands, names)
    if unread:
        notes.append(f"{counted(unread, 'file')} left out: no band of {', '.join(names)} by their names")
    return {id_: tuple(found[name][0] for name in names) for id_, found in bands.items()}


def _id_of(rule: Rule, stem: str) -> str | None:
    """Return the id of a file of a band; where only the folder tells the band, its name is on the path."""
    if rule.suffix or rule.expression:
        return rule.id_of(stem)
    folder, parts = Path(rule.folder).name, stem.split("/")
    return "/".join(part for part in parts if part != folder) if folder in parts[:-1] else None


def _require_each_once(bands: dict[str, dict[str, list[Path]]], names: Sequence[str]) -> None:
    lacking = {id_: [name for name in names if name not in found] for id_, found in bands.items()}
    problems = [f"{id_} (no {', '.join(missing)})" for id_, missing in sorted(lacking.items()) if missing]
    if problems:
        raise DataError(
            f"--input: the run reads one file per band, and {len(problems)} of {len(bands)} images lack some: "
            f"{some(problems, _MOST_NAMED)}. Add the files, or name those of each image in a CSV table with the "
            f"columns id, {', '.join(names)}."
        )
    twice = [path for found in bands.values() for paths in found.values() if len(paths) > 1 for path in paths]
    if twice:
        named = some([shown(path) for path in twice], _MOST_NAMED)
        raise DataError(f"--input: two files are one band of one image: {named}. Rename or remove one.")
