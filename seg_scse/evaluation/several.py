"""Several runs of one experiment, such as seeds: the mean of their scores, its spread and its interval."""

import csv
import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import EvaluationConfig
from seg_scse.errors import ConfigError, DataError, numbered
from seg_scse.evaluation.loaded import Loaded, load_run
from seg_scse.evaluation.members import labels, require_distinct
from seg_scse.evaluation.other_data import require_alike
from seg_scse.evaluation.results import SEED, bootstrap_of, interval_by_class
from seg_scse.evaluation.tables import FORMAT, Scores, Tables
from seg_scse.files import write_text
from seg_scse.metrics.bootstrap import count_units
from seg_scse.metrics.intervals import two_level_intervals

CONTENT, TABLE = "runs.json", "runs.csv"
_SAME = ("classes", "task", "split", "protocol", "data")
"""What must be equal in `results.json` of all runs, for a mean over them to mean something."""

_OWN = ("threshold", "threshold_from")
"""What each run may have chosen for itself on its validation split."""

Combine = Callable[[Sequence[float]], float]


def require_comparable(runs: Sequence[Path], which: str, own_data: bool) -> None:
    """Refuse runs that cannot be averaged, before any of them is scored.

    Args:
        runs: run folders or checkpoint files.
        which: `best` or `last`.
        own_data: whether each is scored on the data of its training.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: other classes, bands or task, another division of the data, or one run named twice.
    """
    loaded = [load_run(run, which) for run in runs]
    require_distinct(loaded)
    names = labels(loaded)
    require_alike({name: one.config.data for name, one in zip(names, loaded, strict=True)})
    problems = [
        f"{name}: {difference}; {names[0]} is the first"
        for name, one in zip(names[1:], loaded[1:], strict=True)
        if own_data and (difference := _other_division(loaded[0], one))
    ]
    if problems:
        raise ConfigError(
            f"these runs were not made with one division of the same images:\n{numbered(problems)}\n"
            "Score them one by one, or all on one other data set: --data FILE."
        )


def _other_division(first: Loaded, other: Loaded) -> str:
    if first.state["data_digest"] != other.state["data_digest"]:
        digests = f"{other.state['data_digest'][:12]}, {first.state['data_digest'][:12]}"
        return f"other images or masks (digest {digests})"
    moved = [id_ for id_, split in first.state["splits"].items() if other.state["splits"].get(id_) != split]
    if not moved:
        return ""
    was, now = first.state["splits"][moved[0]], other.state["splits"].get(moved[0])
    return f"{len(moved)} images in other splits, such as {moved[0]}: {now}, {was}"


def summarise(names: Sequence[str], folders: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Average the scores of several evaluations, and write `runs.json` and `runs.csv`.

    Args:
        names: of the runs, all different, in the order of `folders`.
        folders: the evaluation folder of each.
        folder: where to write.

    Returns:
        the content of `runs.json`: per score and class `mean`, sample standard deviation `sd` over the
        runs, and for means over images `intervals` for new runs on new images (`intervals.two_level_intervals`).

    Raises:
        DataError: the evaluations are not of the same images, scored in one way.
        WriteError: the folder cannot be written.
    """
    tables = [Tables.read(folder) for folder in folders]
    _require_same(folders, tables)
    results = [dict(one.results) for one in tables]
    scores: list[Scores] = [one["scores"] for one in results]
    summary = {
        "format": FORMAT,
        "split": results[0]["split"],
        "images": results[0]["images"],
        "classes": results[0]["classes"],
        "task": results[0]["task"],
        "protocol": _facts(tables[0], "protocol"),
        "data": results[0]["data"],
        "runs": [
            {"run": name, "folder": str(place), **_run_facts(one)}
            for name, place, one in zip(names, folders, results, strict=True)
        ],
        "mean": over_runs(scores, 1, statistics.fmean),
        "sd": over_runs(scores, 2, statistics.stdev),
        **_intervals(tables),
    }
    write_text(folder / TABLE, _csv(names, summary, scores))
    write_text(folder / CONTENT, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def _run_facts(results: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: results["protocol"][key] for key in _OWN}
    facts = {"checkpoint": results["checkpoint"], "seed": results["config"].get("seed"), **own}
    return {**facts, "scores": results["scores"], "created": results["created"]}


def _require_same(folders: Sequence[Path], tables: Sequence[Tables]) -> None:
    problems = [
        f"{key} of {folder}: {_facts(one, key)}, of {folders[0]}: {_facts(tables[0], key)}"
        for folder, one in zip(folders, tables, strict=True)
        for key in _SAME
        if _facts(one, key) != _facts(tables[0], key)
    ]
    problems += [
        f"{folder} has other images than {folders[0]}, or other groups of them"
        for folder, one in zip(folders, tables, strict=True)
        if (one.ids, one.groups) != (tables[0].ids, tables[0].groups)
    ]
    if problems:
        raise DataError(f"the runs were not scored in one way, so they have no common mean:\n{numbered(problems)}")


def _facts(table: Tables, key: str) -> object:
    value = table.results[key]
    return {name: fact for name, fact in value.items() if name not in _OWN} if key == "protocol" else value


def over_runs(tables: Sequence[Scores], fewest: int, combine: Combine) -> Scores:
    """Combine each score over the runs that have it; None where they are too few.

    Args:
        tables: `scores` of `results.json` of each run; scores that one lacks are left out.
        fewest: how many numbers `combine` needs.
        combine: such as `statistics.fmean`.
    """
    combined: Scores = {}
    for name in [name for name in tables[0] if all(name in table for table in tables)]:
        combined[name] = {}
        for label in tables[0][name]:
            values = [value for table in tables if (value := table[name][label]) is not None]
            combined[name][label] = combine(values) if len(values) >= fewest else None
    return combined


def _intervals(tables: Sequence[Tables]) -> dict[str, Any]:
    first = tables[0]
    settings = EvaluationConfig.model_validate(first.results["config"]["evaluation"])
    empty, classes = first.results["protocol"]["empty"], first.results["classes"]
    by_run = [table.columns(empty) for table in tables]
    names = [name for name in by_run[0] if all(name in columns for columns in by_run)]
    ends = {
        f"{name}_per_image": two_level_intervals(
            [np.asarray(columns[name]) for columns in by_run], first.units, bootstrap_of(settings)
        )
        for name in names
    }
    return {
        "bootstrap": {
            "method": "percentile",
            "level": settings.level,
            "resamples": settings.resamples,
            "seed": SEED,
            "unit": "image" if first.units is None else "group",
            "n": count_units(len(first.ids), first.units),
            "groups": first.units is not None,
            "runs": len(tables),
        },
        "intervals": {name: interval_by_class(pairs, classes) for name, pairs in ends.items()},
    }


def _csv(names: Sequence[str], summary: Mapping[str, Any], scores: Sequence[Scores]) -> str:
    """One row per score and class: mean, deviation, interval, then the score of each run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["score", "class", "mean", "sd", "low", "high", *names])
    for name, by_class in summary["mean"].items():
        for label, mean in by_class.items():
            low, high = (summary["intervals"].get(name) or {}).get(label) or (None, None)
            each = [table[name][label] for table in scores]
            writer.writerow([name, label, mean, summary["sd"][name][label], low, high, *each])
    return text.getvalue()
