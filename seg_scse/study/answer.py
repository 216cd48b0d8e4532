"""The answer of a study: what each variant changes, how certain that is, and what it costs. `study.json`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse import provenance
from seg_scse.config.loading import load_config
from seg_scse.errors import DataError
from seg_scse.evaluation.comparable import DISTANCES, LOWER_IS_BETTER
from seg_scse.evaluation.results import bootstrap_of
from seg_scse.files import write_text
from seg_scse.metrics.bootstrap import Bootstrap, count_units
from seg_scse.metrics.crossed import Crossed, compare_crossed, correct
from seg_scse.study.declaration import CONFIG, Declaration
from seg_scse.study.reading import Found, read_study
from seg_scse.study.scores import SCORES, Scores, write_scores
from seg_scse.study.selection import select
from seg_scse.study.variants import Variant

FORMAT = 1
"""Version of `study.json`."""

STUDY, COST = "study.json", "cost.json"

NEEDED, NEEDED_DISTANCE = 0.005, 0.5
"""The difference for which the needed seeds and images are given: of a share, and of a distance in its unit."""

_SCORED_BY_CHOICE = (
    "The study is scored on the val split, by which the best weights of each run were chosen: its scores are too good, "
    "and its differences are no evidence on new images."
)


def answer(folder: Path) -> dict[str, Any]:
    """Compare the finished runs of a study, and write `scores.csv` and, last, `study.json`.

    Args:
        folder: of the study.

    Returns:
        the content of `study.json`.

    Raises:
        ConfigError: the folder holds no study, or a run does not hold the metric that is tested.
        DataError: no run is finished, a file is damaged, or the runs do not belong together.
        WriteError: the folder cannot be written.
    """
    declaration = Declaration.read(folder)
    config = load_config(folder / CONFIG)
    found = read_study(folder, declaration, config.trainer.monitor)
    settings = bootstrap_of(config.evaluation)
    answered = answer_from_scores(found.scores, declaration, settings)
    _add_costs(answered, folder / COST)
    content = {
        "format": FORMAT,
        "name": declaration.name,
        "created": provenance.now(),
        "declaration": declaration.as_dict(),
        **_facts(found),
        "config": config.model_dump(mode="json"),
        "bootstrap": {"level": settings.level, "resamples": settings.resamples, "seed": settings.seed},
        "metric": declaration.metric,
        **answered,
        "runs": found.runs,
        "selection": select(found.runs, declaration, config.trainer.monitor),
        "failures": [_failure(run) for run in found.runs if run["status"] == "failed"],
        "notes": [*found.notes, *_gaps(found.scores), *_notes(found.results, declaration)],
    }
    (folder / STUDY).unlink(missing_ok=True)  # before anything beside it changes
    write_scores(folder / SCORES, found.scores)
    write_text(folder / STUDY, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def read_answer(folder: Path) -> dict[str, Any]:
    """Read `study.json`.

    Raises:
        DataError: it is missing, damaged, or of another version.
    """
    path = folder / STUDY
    again = "Write it anew by the command that made the study."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is no answer of a study in format {FORMAT}. {again}")
    return content


def answer_from_scores(scores: Scores, declaration: Declaration, settings: Bootstrap) -> dict[str, Any]:
    """Return all differences with their intervals and tests, from the scores alone.

    Two variants are compared over the seeds that both have finished and the images that all of these runs score, by
    `metrics.crossed`. Tested, and corrected for together, are the declared comparisons in the primary metric.

    Args:
        scores: of the finished runs.
        declaration: which variants there are, and which comparisons are tested.
        settings: level, resamples and seed of the intervals.

    Returns:
        `tests`, the number of declared comparisons, for all of which is corrected, those without a test too;
        `baseline`, `rows` and `against` as in `study.json`, without costs.
    """
    metric, baseline = declaration.metric, declaration.baseline
    pairs = declaration.comparisons()
    measured = [_compared(scores, what, base, metric, settings) for what, base in pairs]
    wanted = NEEDED_DISTANCE if metric in DISTANCES else NEEDED
    tested = dict(zip(pairs, correct(measured, settings.level, difference=wanted), strict=True))

    def row(what: str, base: str, name: str) -> dict[str, Any]:
        known = tested.get((what, base)) if name == metric else None
        return _row(known or _compared(scores, what, base, name, settings), _shared(scores, what, base))

    return {
        "tests": len(pairs),
        "baseline": {
            **_named(declaration.variant(baseline)),
            "metrics": {name: _alone(scores, baseline, name) for name in scores.metrics},
        },
        "rows": [
            {**_named(variant), "metrics": {name: row(variant.name, baseline, name) for name in scores.metrics}}
            for variant in declaration.variants
            if variant.name != baseline
        ],
        "against": [
            {"treatment": what, "control": base, "row": row(what, base, metric)}
            for what, base in pairs
            if base != baseline
        ],
    }


def _shared(scores: Scores, what: str, base: str) -> list[int]:
    """The seeds that both variants have finished."""
    return sorted(set(scores.seeds(what)) & set(scores.seeds(base)))


def _compared(scores: Scores, what: str, base: str, metric: str, settings: Bootstrap) -> Crossed:
    """Compare a variant with another one, not corrected for the number of tests."""
    seeds = _shared(scores, what, base)
    a, b = (scores.foreground(name, seeds, metric) for name in (base, what))
    found = compare_crossed(a, b, scores.units, settings, lower_is_better=metric in LOWER_IS_BETTER)
    return found if seeds else replace(found, reason=f"no finished seed shared with {base}")


def _row(found: Crossed, seeds: Sequence[int]) -> dict[str, Any]:
    by_seed = zip(seeds, found.by_seed, strict=bool(found.by_seed))  # empty where no image is scored in all runs
    return {**asdict(found), "by_seed": [{"seed": seed, "difference": value} for seed, value in by_seed]}


def _named(variant: Variant) -> dict[str, Any]:
    return {"name": variant.name, "kind": variant.kind, "of": variant.of, "says": variant.says}


def _alone(scores: Scores, variant: str, metric: str) -> dict[str, Any]:
    """The score of a variant by itself: the mean over its seeds, their sample standard deviation, and each."""
    seeds = scores.seeds(variant)
    rows = [row[~np.isnan(row)].tolist() for row in scores.foreground(variant, seeds, metric)]
    means = [statistics.fmean(row) if row else None for row in rows]
    known = [mean for mean in means if mean is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "by_seed": [{"seed": seed, "score": mean} for seed, mean in zip(seeds, means, strict=True)],
    }


def _add_costs(answered: dict[str, Any], path: Path) -> None:
    """Put what each variant costs into its row; None where that was not measured."""
    costs: Mapping[str, Any] = {}
    if path.exists():
        try:
            costs = json.loads(path.read_text(encoding="utf-8"))["variants"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error!r}). Remove it, and it is measured again.") from error
    for row in (answered["baseline"], *answered["rows"]):
        row["cost"] = costs.get(row["name"])


def _facts(found: Found) -> dict[str, Any]:
    """What all runs share: where they were made, of which data, and how they were scored."""
    first, scores = found.results[0], found.scores
    protocols = [results["protocol"] for results in found.results]
    shared = {key: value for key, value in protocols[0].items() if key != "gates"}
    own = [key for key in ("threshold", "threshold_from") if any(one.get(key) != shared.get(key) for one in protocols)]
    return {
        "device": "; ".join(sorted({str(results["device"]) for results in found.results})),
        "versions": first["versions"],
        "data": {
            "name": first["data"].get("name"),
            "digest": first["data"]["digest"],
            "images": len(scores.ids),
            "units": count_units(len(scores.ids), scores.units),
            "groups": scores.units is not None,
            "classes": list(first["classes"]),
        },
        "protocol": {**shared, **dict.fromkeys(own)},
    }


def _failure(run: Mapping[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in ("variant", "seed", "fold", "error")}


def _gaps(scores: Scores) -> list[str]:
    """Say of each metric how many images only some runs score, since a comparison is not over these."""
    notes = []
    for name in scores.metrics:
        scored = np.array([~np.isnan(run.columns[name][:, 0]) for run in scores.runs.values()])
        partly = int((scored.any(axis=0) & ~scored.all(axis=0)).sum())
        if partly:
            notes.append(
                f"{name}: {partly} of {len(scores.ids)} images are scored in some runs only; a comparison leaves out "
                "those that one of its own runs lacks."
            )
    return notes


def _notes(results: Sequence[Mapping[str, Any]], declaration: Declaration) -> list[str]:
    """What a reader should know of how the runs were made, in whole sentences."""
    notes = [_SCORED_BY_CHOICE] if declaration.split == "val" else []
    devices = sorted({str(one["device"]) for one in results})
    if len(devices) > 1:
        notes.append(f"The runs were scored on different devices: {'; '.join(devices)}.")
    packages = dict.fromkeys(name for one in results for name in one["versions"])
    for name in packages:
        versions = dict.fromkeys(str(one["versions"].get(name, "not installed")) for one in results)
        if len(versions) > 1:
            notes.append(f"The runs were made with different versions of {name}: {', '.join(versions)}.")
    return notes
