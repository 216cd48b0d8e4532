"""Which variant to use, by validation scores alone: a variant chosen by its test scores would have them too good."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from seg_scse.study.declaration import Declaration


def select(runs: Sequence[Mapping[str, Any]], declaration: Declaration, monitor: str) -> dict[str, Any]:
    """Choose the trained variant with the highest mean of its best validation scores.

    The mean is over the seeds finished for every trained variant that has any, so that no variant is judged by easier
    or luckier seeds than the others.

    Args:
        runs: as in `study.json`.
        declaration: of the study.
        monitor: name of the score that training chose the best weights by; higher is better.

    Returns:
        `by`, `metric`, `seeds`, `scores` by variant (None without such a seed) and `winner`, the earlier declared of
        equal ones; None where no variant has a score.
    """
    names = [variant.name for variant in declaration.variants if variant.trained]
    by_seed = {name: _by_seed([run for run in runs if run["variant"] == name]) for name in names}
    known = [set(scores) for scores in by_seed.values() if scores]
    seeds = sorted(set.intersection(*known)) if known else []
    scores: dict[str, float | None] = {
        name: statistics.fmean(found[seed] for seed in seeds) if found and seeds else None
        for name, found in by_seed.items()
    }
    ranked = {name: score for name, score in scores.items() if score is not None}
    winner = max(ranked, key=lambda name: ranked[name]) if ranked else None
    return {"by": "val", "metric": monitor, "seeds": seeds, "scores": scores, "winner": winner}


def _by_seed(runs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The validation score of each seed whose folds are all finished, their mean."""
    found = {}
    for seed in sorted({run["seed"] for run in runs}):
        those = [run for run in runs if run["seed"] == seed]
        scores = [run["val_score"] for run in those if run["status"] == "done" and run["val_score"] is not None]
        if len(scores) == len(those):
            found[seed] = statistics.fmean(scores)
    return found
