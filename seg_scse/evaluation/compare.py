"""Comparing evaluations of the same images: what differs, how certain that is, and which images changed most."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import provenance
from seg_scse.data.names import shown
from seg_scse.evaluation.changed import NotDrawn, draw_changed
from seg_scse.evaluation.comparable import (
    DISTANCES,
    LOWER_IS_BETTER,
    Candidate,
    read_candidates,
    remarks,
    require_comparable,
    settings_that_differ,
)
from seg_scse.evaluation.compared import Compared, compare_all
from seg_scse.files import require_writable, write_text

FORMAT = 1
COMPARISON, DIFFERENCES, CASES = "compare.json", "differences.csv", "cases"


@dataclass(frozen=True)
class Options:
    """What is compared.

    Attributes:
        split: evaluation of a run folder: train, val or test.
        metric: a score per image: dice, iou, hd95, ...
        cases: images drawn that became better, and as many that became worse.
        out: folder to write; None: beside the second run.
    """

    split: str = "test"
    metric: str = "dice"
    cases: int = 4
    out: Path | None = None


def compare(runs: Sequence[Path], options: Options) -> tuple[Path, dict[str, Any]]:
    """Compare evaluations with the first of them, image by image.

    Writes `differences.csv`, `cases/` and, last, `compare.json`.

    Args:
        runs: run folders or evaluation folders, the baseline first.
        options: what is compared.

    Returns:
        the folder and the content of `compare.json`.

    Raises:
        ConfigError: a run was not evaluated, or does not hold the metric.
        DataError: the evaluations cannot be compared, or a file is damaged.
        WriteError: the folder cannot be written.
    """
    candidates = read_candidates(runs, options.split)
    require_comparable(candidates, options.metric)
    folder = options.out or default_folder(candidates)
    require_writable(folder)
    compared = compare_all(candidates, options.metric)
    (folder / COMPARISON).unlink(missing_ok=True)  # before anything beside it changes
    drawn = draw_changed(folder / CASES, candidates, compared, options.cases)
    content = _content(candidates, compared, drawn)
    write_text(folder / DIFFERENCES, _differences(candidates, compared))
    write_text(folder / COMPARISON, json.dumps(content, indent=2) + "\n")
    return folder, content


def default_folder(candidates: Sequence[Candidate]) -> Path:
    """Return `compare-<A>-<B>.../<split>` beside the folder of the second run."""
    names = "-".join(candidate.home.resolve().name for candidate in candidates)
    return candidates[1].home.parent / f"compare-{names}" / str(candidates[0].results["split"])


def _content(
    candidates: Sequence[Candidate], compared: Compared, drawn: Sequence[list[dict[str, Any]] | NotDrawn]
) -> dict[str, Any]:
    first, metric = candidates[0], compared.metric
    return {
        "format": FORMAT,
        "created": provenance.now(),
        "split": first.results["split"],
        "metric": metric,
        "better": "lower" if metric in LOWER_IS_BETTER else "higher",
        "unit": first.results["protocol"]["surface"]["unit"] if metric in DISTANCES else None,
        "images": len(compared.ids),
        "classes": list(first.results["classes"]),
        "task": first.results["task"],
        "bootstrap": compared.bootstrap(),
        "comparisons": compared.comparisons,
        "runs": [_run(candidate, metric) for candidate in candidates],
        "remarks": remarks(candidates),
        "settings": settings_that_differ(candidates),
        "pairs": [
            {
                "a": 0,
                "b": number,
                "rows": rows,
                "cases": [] if isinstance(cases, NotDrawn) else cases,
                "no_cases": cases.reason if isinstance(cases, NotDrawn) else "",
            }
            for number, (rows, cases) in enumerate(zip(compared.rows, drawn, strict=True), start=1)
        ],
        "versions": provenance.versions(),
    }


def _run(candidate: Candidate, metric: str) -> dict[str, Any]:
    results = candidate.results
    return {
        "label": candidate.label,
        "name": results["name"],
        "folder": shown(candidate.folder),
        "checkpoint": results["checkpoint"],
        "members": len(results.get("members") or ()) or results.get("folds") or 0,
        "predictions": results.get("predictions"),
        "protocol": results["protocol"],
        "per_image": results["scores"][f"{metric}_per_image"],
        "pooled": results["scores"].get(f"{metric}_pooled"),
    }


def _differences(candidates: Sequence[Candidate], compared: Compared) -> str:
    """CSV: the scores of every image, of its foreground and of each class, and their differences to the baseline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    others = candidates[1:]
    numbered_scores = [f"score_{number}" for number in range(len(candidates))]
    writer.writerow(["id", "group", "class", *numbered_scores, *(f"difference_{k}" for k in range(1, len(candidates)))])
    for name, columns in compared.columns.items():
        for image, (sample_id, group) in enumerate(zip(compared.ids, compared.groups, strict=True)):
            scores = [_cell(column[image]) for column in columns]
            changes = [_cell(columns[k][image] - columns[0][image]) for k in range(1, len(others) + 1)]
            writer.writerow([sample_id, group, name, *scores, *changes])
    return text.getvalue()


def _cell(value: float) -> float | str:
    return "" if value != value else float(value)
