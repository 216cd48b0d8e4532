"""The folds of a cross-validation put together: tables in which every image is scored once."""

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seg_scse import provenance
from seg_scse.config.loading import load_config
from seg_scse.config.schema import EvaluationConfig
from seg_scse.data.listing.splits import read_splits
from seg_scse.errors import DataError, numbered
from seg_scse.evaluation.cases import Row
from seg_scse.evaluation.histograms import FILE as HISTOGRAMS
from seg_scse.evaluation.histograms import Histograms, read_histograms
from seg_scse.evaluation.results import CASES, Described, write_evaluation
from seg_scse.evaluation.several import over_runs
from seg_scse.evaluation.tables import RESULTS, Tables, read_results
from seg_scse.files import write_bytes, write_text

SPLIT = "test"
FOLDS = "folds.json"

_ORDER = ("worst", "median", "best")
_SAME = ("classes", "task", "protocol", "data")
"""What must be equal in all folds, for their images to be in one table."""


def evaluation_of(folder: Path) -> Path:
    """Return the folder with the results of a fold, or of all of them together."""
    return folder / "evaluation" / SPLIT


def merge_folds(run: Path, folds: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """Join the results of all folds, each scored on its own test split.

    Writes the files of any evaluation into `RUN/evaluation/test`, with intervals over all images, and `folds.json`.

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
    sources = [evaluation_of(fold) for fold in folds]
    parts = [read_results(source) for source in sources]
    _require_same(folds, parts)
    tables = Tables.merge([Tables.read(source) for source in sources], sorted(read_splits(folds[0] / "splits.csv")))
    settings = EvaluationConfig.model_validate(parts[0]["config"]["evaluation"])
    described = Described(tables, tuple(parts[0]["classes"]), parts[0]["task"], settings)
    facts = {**_common(parts, len(tables.ids)), "name": config.name, "config": config.model_dump(mode="json")}
    folder = evaluation_of(run)
    (folder / RESULTS).unlink(missing_ok=True)  # before anything beside it changes
    write_text(folder / FOLDS, json.dumps(_spread(folds, parts), indent=2) + "\n")
    draw = partial(_join_cases, [source / CASES for source in sources])
    results = write_evaluation(folder, described, facts, _histograms(sources), draw)
    return folder, results


def _histograms(sources: Sequence[Path]) -> Histograms | None:
    """The histograms of all images, where every fold has kept its own."""
    files = [source / HISTOGRAMS for source in sources]
    if not all(file.exists() for file in files):
        return None
    return {id_: counts for file in files for id_, counts in read_histograms(file).items()}


def _common(parts: Sequence[Mapping[str, Any]], images: int) -> dict[str, Any]:
    """What all folds share, but for name and configuration."""
    first = parts[0]
    return {
        "split": SPLIT,
        "created": provenance.now(),
        "checkpoint": _checkpoints(parts),
        "members": [],
        "predictions": None,
        "protocol": first["protocol"],
        "cost": first["cost"],
        "data": {**first["data"], "samples": {SPLIT: images}},
        "versions": first["versions"],
        "device": first["device"],
        "folds": len(parts),
    }


def scored_weights(fold: Path) -> str | None:
    """Return the digest of the checkpoint that a fold was scored with; None where it has no results of this version."""
    try:
        return str(read_results(evaluation_of(fold))["checkpoint"]["sha256"])
    except DataError:
        return None


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
        "mean": over_runs([part["scores"] for part in parts], 1, statistics.fmean),
        "sd": over_runs([part["scores"] for part in parts], 2, statistics.stdev),
    }


def _rank(kind: str, score: float, middle: float) -> float:
    """The lower, the more an image is what its kind says."""
    return {"worst": score, "median": abs(score - middle), "best": -score}[kind]


def _join_cases(sources: Sequence[Path], folder: Path, rows: Sequence[Row]) -> None:
    """Choose the worst, median and best images among those that the folds chose, and copy their pictures.

    The worst of all are among the worst of the folds, and so are the best; the median ones are those of the folds
    whose score is nearest to the median of all images.
    """
    entries = [(source, entry) for source in sources for entry in json.loads((source / "index.json").read_text())]
    scored = [float(row["dice_foreground"]) for row in rows if row["dice_foreground"] is not None]
    middle = statistics.median(scored) if scored else 0.0
    chosen = []
    for kind in _ORDER:
        those = [(source, entry) for source, entry in entries if entry["kind"] == kind]
        each = max((sum(of == source for of, _ in those) for source in sources), default=0)
        picked = sorted(those, key=lambda pair: (_rank(kind, pair[1]["score"], middle), pair[1]["id"]))[:each]
        chosen += sorted(picked, key=lambda pair: (pair[1]["score"], pair[1]["id"]))
    index = [_copied(source, entry, folder, number) for number, (source, entry) in enumerate(chosen)]
    write_text(folder / "index.json", json.dumps(index, indent=2) + "\n")


def _copied(source: Path, entry: Mapping[str, Any], folder: Path, number: int) -> dict[str, Any]:
    copied = dict(entry)
    for layer in ("image", "truth", "prediction"):
        copied[layer] = f"{number}.{layer}.png"
        write_bytes(folder / copied[layer], (source / entry[layer]).read_bytes())
    return copied
