"""The evaluations that are compared: found, read, and refused where they do not belong together.

Two scores differ for many reasons besides the networks. What would make the comparison meaningless (other images, other
truth, another policy for empty masks, ...) is refused with both values; what merely differs in how predictions were
made (threshold, test-time augmentation, ...) is remarked, because it may be the very thing that is compared.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import ConfigError, DataError, numbered
from seg_scse.evaluation.tables import RESULTS, Tables
from seg_scse.metrics.surfaces import SURFACE_NAMES

Integers = NDArray[np.int64]

LOWER_IS_BETTER = ("hd95", "assd", "volume_error")
"""Scores that measure an error."""
DISTANCES = ("hd95", "assd")
"""Scores in the unit of the spacing; all others are shares."""
WITHOUT_A_BETTER_SIDE = ("volume_bias",)

_SAME_PROTOCOL = ("resolution", "empty", "ignore_index")
_MAY_DIFFER = {
    **dict.fromkeys(("threshold", "threshold_from", "tta", "tile", "overlap", "precision")),
    **{"scales": [1.0], "blend": "linear", "tile_margin": 0, "gates": "own"},
}
"""What may differ, with what is meant where an evaluation does not say it: how all were made before it could differ."""
_SHOWN = 3  # ids named in a message


@dataclass(frozen=True)
class Candidate:
    """One evaluation.

    Attributes:
        label: its name in tables and sentences, different for each candidate.
        folder: the evaluation folder.
        tables: what was counted and measured there.
    """

    label: str
    folder: Path
    tables: Tables

    @property
    def results(self) -> Mapping[str, Any]:
        """The content of `results.json`."""
        return self.tables.results

    @property
    def home(self) -> Path:
        """The run folder, or the evaluation folder where it lies in none."""
        return home_of(self.folder)


def home_of(folder: Path) -> Path:
    """Return the run folder that an evaluation folder lies in; by itself, the folder that is named for what was scored.

    `RUN/evaluation/test` lies in `RUN`, `predictions-evaluation/test` in `predictions-evaluation`.
    """
    parent = folder.parent
    if parent.name == "evaluation":
        return parent.parent
    return parent if parent.name.endswith("-evaluation") else folder


def find_evaluation(given: Path, split: str) -> Path:
    """Return the evaluation folder that an argument of the command line means.

    Args:
        given: evaluation folder; or what was evaluated: run folder, checkpoint file, folder of predictions.
        split: which evaluation, where there may be several.

    Raises:
        ConfigError: there is nothing, or it was not evaluated; the message says how to evaluate it.
    """
    if not given.exists():
        raise ConfigError(f"{given}: not found. Name a run folder, or an evaluation folder with {RESULTS}.")
    beside = given.resolve().with_name(
        f"{given.resolve().stem if given.is_file() else given.resolve().name}-evaluation"
    )
    for folder in (given, given / "evaluation" / split, beside / split):
        if (folder / RESULTS).is_file():
            return folder
    rule = f"{given}: has not been evaluated on the {split} split"
    raise ConfigError(f"{rule}. First run: python evaluate.py {shlex.quote(str(given))} --split {split}")


def read_candidates(given: Sequence[Path], split: str) -> list[Candidate]:
    """Read the evaluations to compare, the baseline first.

    Raises:
        ConfigError: fewer than two, one is named twice, or one was not evaluated.
        DataError: an evaluation is damaged or of another version.
    """
    if len(given) < 2:
        raise ConfigError(f"compare needs at least two runs, a baseline and another one: {len(given)} given.")
    folders = [find_evaluation(path, split) for path in given]
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise ConfigError(f"{folder}: is named twice. Compare different evaluations.")
    tables = [Tables.read(folder) for folder in folders]
    return [Candidate(*parts) for parts in zip(_labels(folders, tables), folders, tables, strict=True)]


def _labels(folders: Sequence[Path], tables: Sequence[Tables]) -> list[str]:
    """Names that differ: the names of the runs, else those of their folders, else as much of the path as it takes."""
    homes = [home_of(folder.resolve()) for folder in folders]
    forms: list[Callable[[int], str]] = [
        lambda k: str(tables[k].results["name"]),
        lambda k: homes[k].name,
        lambda k: f"{homes[k].name}/{folders[k].resolve().name}",
    ]
    for form in forms:
        names = [form(number) for number in range(len(folders))]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def require_comparable(candidates: Sequence[Candidate], metric: str) -> None:
    """Refuse evaluations whose difference would not be due to the networks.

    Raises:
        ConfigError: the metric is unknown to one of them, or has no better side.
        DataError: images, truth, classes, or what defines a score differ; the message names both values.
    """
    _require_metric(candidates, metric)
    first = candidates[0]
    problems = [problem for other in candidates[1:] for problem in _differences(first, other, metric)]
    if problems:
        raise DataError(f"these evaluations cannot be compared:\n{numbered(problems)}")


def _require_metric(candidates: Sequence[Candidate], metric: str) -> None:
    if metric in WITHOUT_A_BETTER_SIDE:
        raise ConfigError(f"--metric {metric}: neither high nor low is better. Compare volume_error instead.")
    for candidate in candidates:
        found = list(candidate.tables.columns(candidate.results["protocol"]["empty"]))
        if metric not in found:
            known = ", ".join(name for name in found if name not in WITHOUT_A_BETTER_SIDE)
            raise ConfigError(
                f"--metric {metric}: {candidate.folder} does not hold it. It holds {known}; others are measured by "
                "python evaluate.py RUN with evaluation.surface, evaluation.centerline or evaluation.objects = true."
            )


def _differences(first: Candidate, other: Candidate, metric: str) -> list[str]:
    """Say what makes two evaluations incomparable, each with both values."""
    both = f"{first.label} and {other.label}"
    facts = _facts(first, metric), _facts(other, metric)
    problems = [
        f"{name} of {both}: {facts[0][name]!r} and {facts[1][name]!r}"
        for name in facts[0]
        if facts[0][name] != facts[1][name]
    ]
    if problems:
        return problems
    mine, theirs = first.tables.ids, other.tables.ids
    if set(mine) != set(theirs):
        return [f"images of {both}: {_only(first, mine, theirs)}; {_only(other, theirs, mine)}"]
    return _other_truth(first, other)


def _facts(candidate: Candidate, metric: str) -> dict[str, object]:
    """What must be equal, by name."""
    results = candidate.results
    protocol = results["protocol"]
    facts = {
        "split": results["split"],
        "task": results["task"],
        "classes": list(results["classes"]),
        "number of images": len(candidate.tables.ids),
        **{name: protocol[name] for name in _SAME_PROTOCOL},
    }
    if metric in SURFACE_NAMES:
        facts["surface"] = protocol["surface"]
    return facts


def _only(candidate: Candidate, ids: Sequence[str], others: Sequence[str]) -> str:
    """Say which images only one of two evaluations has."""
    alone = sorted(set(ids) - set(others))
    more = "" if len(alone) <= _SHOWN else f" and {len(alone) - _SHOWN} more"
    named = ", ".join(map(repr, alone[:_SHOWN])) or "none"
    return f"only {candidate.label} has {named}{more}"


def true_pixels(candidate: Candidate, ids: Sequence[str]) -> Integers:
    """Number of true pixels of each image and class, int64 (N, K), in the order of `ids`."""
    arrays = candidate.tables.counts.arrays()
    counts: Integers = (arrays.tp + arrays.fn)[places(candidate, ids)]
    return counts


def places(candidate: Candidate, ids: Sequence[str]) -> list[int]:
    """Return where each of `ids` stands in the tables of a candidate."""
    place = {name: number for number, name in enumerate(candidate.tables.ids)}
    return [place[name] for name in ids]


def _other_truth(first: Candidate, other: Candidate) -> list[str]:
    """Name the first image whose truth differs, by the pixels of its classes and by what is ignored."""
    ids, classes = first.tables.ids, first.results["classes"]
    mine, theirs = true_pixels(first, ids), true_pixels(other, ids)
    changed = np.argwhere(mine != theirs)
    if not len(changed):
        return []
    image, label = (int(place) for place in changed[0])
    images = len(np.unique(changed[:, 0]))
    return [
        f"truth of {first.label} and {other.label}: image {ids[image]!r} has {mine[image, label]} and "
        f"{theirs[image, label]} pixels of {classes[label]!r} ({images} of {len(ids)} images differ)"
    ]


def remarks(candidates: Sequence[Candidate]) -> list[str]:
    """Say what differs in how the predictions were made, and what else a reader should know, in whole sentences."""
    found = []
    for name, unsaid in _MAY_DIFFER.items():
        values = [candidate.results["protocol"].get(name, unsaid) for candidate in candidates]
        if any(value != values[0] for value in values):
            found.append(f"`{name}` differs: {_each(candidates, values)}.")
    weights = [(candidate.results.get("checkpoint") or {}).get("sha256") for candidate in candidates]
    if len(set(weights)) < len(weights) and None not in weights:
        found.append("Some of these evaluations are of the same checkpoint.")
    digests = [candidate.results["data"].get("digest") for candidate in candidates]
    if len(set(digests)) > 1 and None not in digests:
        found.append(
            "The digests of the data differ although ids and pixel counts of the truth agree: check the images."
        )
    groups = [candidate.tables.groups != candidates[0].tables.groups for candidate in candidates]
    if any(groups):
        found.append(f"The groups of the images differ: those of {candidates[0].label} are used.")
    return found


def _each(candidates: Sequence[Candidate], values: Sequence[object]) -> str:
    pairs = zip(candidates, values, strict=True)
    return ", ".join(f"{'none' if value is None else value} in {candidate.label}" for candidate, value in pairs)


def settings_that_differ(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """List the settings of the configurations that are not the same in all runs, in the form of `settings`.

    The name of a run and how it was scored are left out: the one says nothing, the other is in the protocol.
    """
    flat = [dict(_flat(candidate.results.get("config") or {})) for candidate in candidates]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, [settings.get(name) for settings in flat]) for name in names]
    return [
        {"name": name, "values": ["" if value is None else str(value) for value in values]}
        for name, values in rows
        if name != "name" and not name.startswith("evaluation.") and any(value != values[0] for value in values)
    ]


def _flat(content: object, name: str = "") -> list[tuple[str, object]]:
    """Settings by their dotted names, in order; lists stay whole."""
    if not isinstance(content, Mapping) or not content:
        return [(name, content)] if name else []
    return [pair for key, value in content.items() for pair in _flat(value, f"{name}.{key}" if name else str(key))]
