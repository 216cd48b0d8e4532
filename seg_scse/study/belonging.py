"""Whether the runs of a study belong together: one data set, one division, one way to train and one way to score."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seg_scse.config.loading import MAY_DIFFER
from seg_scse.errors import DataError, numbered
from seg_scse.evaluation.comparable import Candidate, require_comparable, settings_that_differ
from seg_scse.study.declaration import Declaration

_OWN = ("threshold", "threshold_from")
"""What each run may have chosen for itself on its validation split."""
_GATES = "gates"
"""Where the evaluation says that gates were replaced, which is what the control of that kind does."""
_MEASURES = ("surface", "objects", "centerline")
"""What was measured besides pixels. A run may lack it, which costs the study that score and nothing else."""
_FREE = ("seed", "data.split.fold", "trainer.device", *MAY_DIFFER)
"""Settings that the runs of one variant may differ in."""

Named = Sequence[tuple[str, Candidate]]
"""Evaluations, each with the name of its variant."""


def require_one_way(evaluations: Named, seeds: Sequence[int], declaration: Declaration) -> None:
    """Refuse runs that were not trained on the same data in the same way, or not scored in the same way.

    Args:
        evaluations: one for each run and fold, at least one.
        seeds: the seed that each of them should have.
        declaration: says which settings each variant changes.

    Raises:
        DataError: names the run, the key and both values.
    """
    candidates = [candidate for _, candidate in evaluations]
    problems = [problem for key, values in _facts(candidates) for problem in _unequal(key, values, candidates)]
    problems += [
        f"seed of {candidate.label}: {found!r} in its configuration"
        for candidate, seed in zip(candidates, seeds, strict=True)
        if (found := (candidate.results.get("config") or {}).get("seed", seed)) != seed
    ]
    problems += _other_gates(evaluations, declaration)
    problems += _trained_otherwise(evaluations, declaration)
    if problems:
        raise DataError(
            f"the runs of this study do not belong together:\n{numbered(problems)}\n"
            "Score them again in one way (python evaluate.py RUN --split "
            f"{declaration.split}), or remove the folder of a run that was made otherwise and repeat the command."
        )


def require_same_images(candidates: Sequence[Candidate], metric: str) -> None:
    """Refuse runs that were not scored on the same images with the same truth and groups.

    Args:
        candidates: one for each variant and seed, its folds put together.
        metric: the primary metric, which all of them must hold.

    Raises:
        ConfigError: one does not hold the metric.
        DataError: names the run, what differs and both values.
    """
    require_comparable(candidates, metric)
    first = candidates[0]
    mine = dict(zip(first.tables.ids, first.tables.groups, strict=True))
    for other in candidates[1:]:
        for name, group in zip(other.tables.ids, other.tables.groups, strict=True):
            if mine[name] != group:
                raise DataError(
                    f"the runs of this study do not belong together: image {name!r} is of group {mine[name]!r} in "
                    f"{first.label} and of {group!r} in {other.label}."
                )


def _facts(candidates: Sequence[Candidate]) -> Iterator[tuple[str, list[object]]]:
    """What must be equal, key by key, with the value of each evaluation."""
    every = [candidate.results for candidate in candidates]
    for key in ("split", "task", "classes"):
        yield key, [results[key] for results in every]
    for key in ("digest", "same_as_training"):
        yield f"data.{key}", [results["data"].get(key) for results in every]
    protocols: list[Mapping[str, Any]] = [results["protocol"] for results in every]
    for key in dict.fromkeys(name for protocol in protocols for name in protocol):
        if key not in (*_OWN, _GATES, *_MEASURES):
            yield f"protocol.{key}", [protocol.get(key) for protocol in protocols]
    measured = next((surface for protocol in protocols if (surface := protocol.get("surface"))), None)
    yield "protocol.surface", [protocol.get("surface") or measured for protocol in protocols]


def _unequal(key: str, values: Sequence[object], candidates: Sequence[Candidate]) -> list[str]:
    """Say in which evaluations a value is not that of the first one."""
    return [
        f"{key} of {candidate.label}: {value!r}, of {candidates[0].label}: {values[0]!r}"
        for candidate, value in zip(candidates, values, strict=True)
        if value != values[0]
    ]


def _other_gates(evaluations: Named, declaration: Declaration) -> list[str]:
    """Say which evaluations are not of the gates that were trained, or are although they should not be."""
    problems = []
    for variant, candidate in evaluations:
        found = candidate.results["protocol"].get(_GATES)
        wanted = None if declaration.variant(variant).trained else "mean"
        if found != wanted:
            problems.append(f"protocol.gates of {candidate.label}: {found!r}, to be: {wanted!r}")
    return problems


def _trained_otherwise(evaluations: Named, declaration: Declaration) -> list[str]:
    """Say which settings of the training differ although no variant declares that they do.

    Settings in a section that a variant changes may differ between variants, because what it changes there can bring
    other defaults with it, but not within one.
    """
    sections = {text.partition("=")[0].rpartition(".")[0] for one in declaration.variants for text in one.overrides}
    candidates = [candidate for _, candidate in evaluations]
    problems = []
    for setting in settings_that_differ(candidates):
        name, values = setting["name"], setting["values"]
        if name in _FREE:
            continue
        declared = any(name == section or name.startswith(f"{section}.") for section in sections)
        for variants in _sets(evaluations, apart=declared):
            chosen = [candidates[place] for place in variants]
            problems += _unequal(name, [values[place] for place in variants], chosen)
    return problems


def _sets(evaluations: Named, apart: bool) -> list[list[int]]:
    """Places of the evaluations that must agree: all of them, or those of each variant."""
    if not apart:
        return [list(range(len(evaluations)))]
    names = dict.fromkeys(variant for variant, _ in evaluations)
    return [[place for place, (variant, _) in enumerate(evaluations) if variant == name] for name in names]
