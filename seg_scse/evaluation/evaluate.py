"""Scoring a run on a split: counts, scores, and the cases worth looking at."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_scse import distributed, provenance
from seg_scse.data.prepare import PreparedData
from seg_scse.evaluation.cases import save_cases
from seg_scse.evaluation.loaded import (
    Loaded,
    build_predictor,
    checkpoint_facts,
    data_facts,
    data_of,
    load_run,
    print_notes,
    result_folder,
    scoring_protocol,
)
from seg_scse.files import require_writable, write_text
from seg_scse.inference.counting import count_split
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Predictor
from seg_scse.metrics.counts import CountsTable
from seg_scse.metrics.scores import cases, per_image_scores, score_table


def evaluate(
    run: Path, split: str, which: str, overrides: Sequence[str] = (), *, notes: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Score a checkpoint on a split of its data, at the original resolution of each image.

    Writes `counts.csv`, `per_image.csv`, `results.json` and `cases/` into `RUN/evaluation/<split>`.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test.
        which: `best` or `last`, for a run folder.
        overrides: `section.key=value` texts for the keys that do not change the network or the truth.
        notes: whether to print what the reader of the data has to say; right after training it has been said.

    Returns:
        the folder and the content of `results.json`; None in processes that do not write.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: an override that evaluation does not allow.
        DataError: the split is empty or a file unusable.
    """
    loaded = load_run(run, which, overrides)
    config = loaded.config
    device = choose_device(config.trainer)
    folder = result_folder(loaded, "evaluation", split)
    if distributed.is_main():
        require_writable(folder)
    data = data_of(loaded)
    indices = data.require(split, "Choose another --split.")
    if notes and distributed.is_main():
        print_notes(loaded, data)
    predictor = build_predictor(loaded, device)
    counts = count_split(predictor, data, indices, len(config.data.classes), progress=f"{split} images").counts
    if not distributed.is_main():
        return None
    results = _results(loaded, split, counts, data, predictor)
    rows = per_image_scores(counts, config.data.classes, config.evaluation.empty)
    counts.to_csv(folder / "counts.csv")
    write_rows(folder / "per_image.csv", rows)
    save_cases(folder / "cases", rows, data, predictor, config.evaluation.overlays)
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    return folder, results


def _results(
    loaded: Loaded, split: str, counts: CountsTable, data: PreparedData, predictor: Predictor
) -> dict[str, Any]:
    config, classes, settings = loaded.config, loaded.config.data.classes, loaded.config.evaluation
    return {
        "format": 1,
        "name": config.name,
        "split": split,
        "created": provenance.now(),
        "images": len(counts),
        "classes": list(classes),
        "checkpoint": checkpoint_facts(loaded),
        "protocol": scoring_protocol(predictor, config),
        "scores": score_table(counts, classes, settings.empty),
        "cases": cases(counts, classes),
        "confusion": counts.confusion.tolist(),
        "data": data_facts(loaded, data),
        "config": config.model_dump(mode="json"),
        "versions": provenance.versions(),
        "device": provenance.describe_device(predictor.device),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, str | int | float | None]]) -> None:
    """Write scores per image as CSV, complete or absent."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
