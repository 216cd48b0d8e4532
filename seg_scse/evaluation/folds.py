"""The folds of a cross-validation put together: one table in which every image is scored once."""

import hashlib
import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_scse import provenance
from seg_scse.config.loading import load_config
from seg_scse.data.listing.splits import read_splits
from seg_scse.errors import DataError, numbered
from seg_scse.evaluation.cases import Row
from seg_scse.evaluation.evaluate import write_rows as write_rows
from seg_scse.files import write_bytes, write_text
from seg_scse.metrics.counts import CountsTable
from seg_scse.metrics.scores import cases, per_image_scores, score_table

SPLIT = "test"
RESULTS, COUNTS, FOLDS = "results.json", "counts.csv", "folds.json"

_ORDER = ("worst", "median", "best")
_SAME = ("classes", "protocol", "data")
"""What must be equal in all folds, for their images to be in one table."""

Scores = Mapping[str, Mapping[str, float | None]]


def evaluation_of(folder: Path) -> Path:
    """Return the folder with the results of a fold, or of all of them together."""
    return folder / "evaluation" / SPLIT


def merge_folds(run: Path, folds: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """Join the results of all folds, each scored on its own test split.

    Writes `counts.csv`, `per_image.csv`, `results.json`, `folds.json` and `cases/` into `RUN/evaluation/test`, in the
    form of any evaluation.

    Args:
        run: folder of the cross-validation, with its `config.yaml`.
        folds: the run folder of each fold, evaluated.

    Returns:
        the folder and the content of `results.json`.

    Raises:
        DataError: results are missing or damaged, were made in different ways, or an image is not scored exactly once.
        WriteError: the results cannot be written.
    """
    config = load_config(run / "config.yaml")
    parts = [_read_results(evaluation_of(fold) / RESULTS) for fold in folds]
    _require_same(folds, parts)
    classes, empty = parts[0]["classes"], parts[0]["protocol"]["empty"]
    tables = [CountsTable.from_csv(evaluation_of(fold) / COUNTS) for fold in folds]
    counts = CountsTable.merge(tables, sorted(read_splits(folds[0] / "splits.csv")))
    rows = per_image_scores(counts, classes, empty)
    results = {"name": config.name, **_results(parts, counts), "config": config.model_dump(mode="json")}
    folder = evaluation_of(run)
    counts.to_csv(folder / COUNTS)
    write_rows(folder / "per_image.csv", rows)
    _join_cases(folder / "cases", [evaluation_of(fold) / "cases" for fold in folds], rows)
    write_text(folder / FOLDS, json.dumps(_spread(folds, parts), indent=2) + "\n")
    write_text(folder / RESULTS, json.dumps(results, indent=2) + "\n")
    return folder, results


def _results(parts: Sequence[Mapping[str, Any]], counts: CountsTable) -> dict[str, Any]:
    """The content of `results.json` but for name and configuration: what all folds share, and the scores of all."""
    classes, empty = parts[0]["classes"], parts[0]["protocol"]["empty"]
    return {
        **{key: value for key, value in parts[0].items() if key not in ("name", "config")},
        "created": provenance.now(),
        "images": len(counts),
        "checkpoint": _checkpoints(parts),
        "scores": score_table(counts, classes, empty),
        "cases": cases(counts, classes),
        "confusion": counts.confusion.tolist(),
        "data": {**parts[0]["data"], "samples": {SPLIT: len(counts)}},
        "folds": len(parts),
    }


def scored_weights(fold: Path) -> str | None:
    """Return the digest of the checkpoint that a fold was scored with; None where it was not scored."""
    path = evaluation_of(fold) / RESULTS
    return str(_read_results(path)["checkpoint"]["sha256"]) if path.exists() else None


def _read_results(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). `python evaluate.py {path.parents[2]}` writes it anew."
        ) from error
    if not isinstance(results, dict) or results.get("format") != 1:
        raise DataError(
            f"{path}: is no result of an evaluation. `python evaluate.py {path.parents[2]}` writes it anew."
        )
    return results


def _facts(results: Mapping[str, Any], key: str) -> object:
    """What must be equal; of the data, all but how many samples each split has."""
    value = results[key]
    return {name: fact for name, fact in value.items() if name != "samples"} if key == "data" else value


def _require_same(folds: Sequence[Path], parts: Sequence[Mapping[str, Any]]) -> None:
    problems = [
        f"{key} of {fold}: {_facts(part, key)}, of {folds[0]}: {_facts(parts[0], key)}"
        for fold, part in zip(folds, parts, strict=True)
        for key in _SAME
        if _facts(part, key) != _facts(parts[0], key)
    ]
    if problems:
        raise DataError(
            f"the folds were not scored in one way, so their images are not put into one table:\n{numbered(problems)}\n"
            f"Score them again: python evaluate.py {folds[0].parent}"
        )


def _checkpoints(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts on all checkpoints together: the latest epoch and step, and the digest of their digests."""
    all_of_them = [part["checkpoint"] for part in parts]
    digests = "\n".join(checkpoint["sha256"] for checkpoint in all_of_them)
    return {
        "file": f"{all_of_them[0]['file']} of each of {len(parts)} folds",
        "epoch": max(checkpoint["epoch"] for checkpoint in all_of_them),
        "step": max(checkpoint["step"] for checkpoint in all_of_them),
        "sha256": hashlib.sha256(digests.encode()).hexdigest(),
    }


def _spread(folds: Sequence[Path], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of each fold, their mean, and their sample standard deviation (None with fewer than two scores)."""
    return {
        "folds": [
            {
                "run": fold.name,
                "images": part["images"],
                "epoch": part["checkpoint"]["epoch"],
                "sha256": part["checkpoint"]["sha256"],
                "scores": part["scores"],
            }
            for fold, part in zip(folds, parts, strict=True)
        ],
        "mean": _over([part["scores"] for part in parts], 1, statistics.fmean),
        "sd": _over([part["scores"] for part in parts], 2, statistics.stdev),
    }


def _over(tables: Sequence[Scores], fewest: int, combine: Any) -> dict[str, dict[str, float | None]]:  # noqa: ANN401
    """Combine each score over the folds that have it."""
    combined: dict[str, dict[str, float | None]] = {}
    for metric, by_class in tables[0].items():
        combined[metric] = {}
        for name in by_class:
            values = [value for table in tables if (value := table[metric][name]) is not None]
            combined[metric][name] = combine(values) if len(values) >= fewest else None
    return combined


def _rank(kind: str, score: float, middle: float) -> float:
    """The lower, the more an image is what its kind says."""
    return {"worst": score, "median": abs(score - middle), "best": -score}[kind]


def _join_cases(folder: Path, sources: Sequence[Path], rows: Sequence[Row]) -> None:
    """Choose the worst, median and best images among those that the folds chose, and copy their pictures.

    The worst of all are among the worst of the folds, and so are the best; the median ones are those of the folds
    whose score is nearest to the median of all images.
    """
    entries = [(source, entry) for source in sources for entry in json.loads((source / "index.json").read_text())]
    scored = [float(row["dice_foreground"]) for row in rows if row["dice_foreground"] is not None]
    middle = statistics.median(scored) if scored else 0.0
    shutil.rmtree(folder, ignore_errors=True)
    chosen = []
    for kind in _ORDER:
        those = [(source, entry) for source, entry in entries if entry["kind"] == kind]
        each = max((sum(of == source for of, _ in those) for source in sources), default=0)
        picked = sorted(those, key=lambda pair: (_rank(kind, pair[1]["score"], middle), pair[1]["id"]))[:each]
        chosen += sorted(picked, key=lambda pair: (pair[1]["score"], pair[1]["id"]))
    index = []
    for number, (source, entry) in enumerate(chosen):
        copied = dict(entry)
        for layer in ("image", "truth", "prediction"):
            copied[layer] = f"{number}.{layer}.png"
            write_bytes(folder / copied[layer], (source / entry[layer]).read_bytes())
        index.append(copied)
    write_text(folder / "index.json", json.dumps(index, indent=2) + "\n")
