"""Scoring a run on a split: counts, scores, and the cases worth looking at."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint, distributed, provenance
from seg_scse.config.loading import MAY_MOVE, override, refuse_overrides
from seg_scse.config.schema import IGNORE_INDEX, Config
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import CheckpointError
from seg_scse.evaluation.cases import save_cases
from seg_scse.files import require_writable, write_text
from seg_scse.inference.counting import count_split
from seg_scse.inference.device import choose_device, choose_precision
from seg_scse.inference.predictor import Predictor
from seg_scse.metrics.counts import CountsTable
from seg_scse.metrics.scores import cases, per_image_scores, score_table
from seg_scse.models import build_model

MAY_CHANGE = ("evaluation.", "trainer.device", "trainer.precision", *MAY_MOVE)
"""Keys that an evaluation may override; others would describe another network or other truth."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint ready to be scored."""

    file: Path
    digest: str
    state: Mapping[str, Any]
    config: Config
    run: Path | None
    """The run folder it lies in, None for a checkpoint file by itself."""


def evaluate(run: Path, split: str, which: str, overrides: Sequence[str] = ()) -> tuple[Path, dict[str, Any]] | None:
    """Score a checkpoint on a split of its data, at the original resolution of each image.

    Writes `counts.csv`, `per_image.csv`, `results.json` and `cases/` into `RUN/evaluation/<split>`.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test.
        which: `best` or `last`, for a run folder.
        overrides: `section.key=value` texts for the keys that do not change the network or the truth.

    Returns:
        the folder and the content of `results.json`; None in processes that do not write.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: an override that evaluation does not allow.
        DataError: the split is empty or a file unusable.
    """
    loaded = _load(run, which, overrides)
    config = loaded.config
    device = choose_device(config.trainer)
    folder = _folder(loaded, split)
    if distributed.is_main():
        require_writable(folder)
    data = prepare_data(config.data, loaded.state["splits"])
    indices = data.require(split, "Choose another --split.")
    if distributed.is_main():
        _print_notes(loaded, data)
    predictor = _predictor(loaded, device)
    counts = count_split(predictor, data, indices, len(config.data.classes), progress=f"{split} images").counts
    if not distributed.is_main():
        return None
    results = _results(loaded, split, counts, data, predictor)
    rows = per_image_scores(counts, config.data.classes, config.evaluation.empty)
    counts.to_csv(folder / "counts.csv")
    _write_rows(folder / "per_image.csv", rows)
    save_cases(folder / "cases", rows, data, predictor, config.evaluation.overlays)
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    return folder, results


def _load(run: Path, which: str, overrides: Sequence[str]) -> Loaded:
    refuse_overrides(overrides, MAY_CHANGE, "It would describe another network or other truth.")
    if run.is_dir():
        file = run / (checkpoint.BEST if which == "best" else checkpoint.LAST)
        folder: Path | None = run
        if not file.exists():
            raise CheckpointError(f"{run}: no {file.relative_to(run)}. Train first: python train.py --help.")
    else:
        file = run
        folder = run.parent.parent if (run.parent.parent / "config.yaml").exists() else None
    state, digest = checkpoint.load(file)
    config = override(checkpoint.config_of(state, file), overrides)
    return Loaded(file, digest, state, config, folder)


def _print_notes(loaded: Loaded, data: PreparedData) -> None:
    for note in data.notes:
        print(f"data: {note}")
    if not _same_data(loaded, data):
        print("warning: the images or masks are not those that the network was trained with; the report says so too")


def _same_data(loaded: Loaded, data: PreparedData) -> bool:
    return bool(data.store.digest == loaded.state["data_digest"])


def _folder(loaded: Loaded, split: str) -> Path:
    if loaded.run is None:
        return loaded.file.with_name(f"{loaded.file.stem}-evaluation") / split
    suffix = "" if loaded.file.stem == "best" else f"-{loaded.file.stem}"
    return loaded.run / "evaluation" / f"{split}{suffix}"


def _predictor(loaded: Loaded, device: torch.device) -> Predictor:
    config, state = loaded.config, loaded.state
    local = config.model.model_copy(update={"encoder_weights": None})  # all weights come from the checkpoint
    model = build_model(local, len(state["mean"]), len(config.data.classes))
    checkpoint.load_weights(model, state, loaded.file)
    model = model.to(device).to(memory_format=torch.channels_last)
    standardize = Standardizer(state["mean"], state["std"]).to(device)
    return Predictor.from_config(config, model, standardize, device, choose_precision(config.trainer, device))


def _results(
    loaded: Loaded, split: str, counts: CountsTable, data: PreparedData, predictor: Predictor
) -> dict[str, Any]:
    config, classes, progress = loaded.config, loaded.config.data.classes, loaded.state["progress"]
    settings = config.evaluation
    return {
        "format": 1,
        "name": config.name,
        "split": split,
        "created": provenance.now(),
        "images": len(counts),
        "classes": list(classes),
        "checkpoint": {
            "file": str(loaded.file.relative_to(loaded.run)) if loaded.run else str(loaded.file),
            "epoch": progress["epoch"],
            "step": progress["step"],
            "sha256": loaded.digest,
        },
        "protocol": {
            "resolution": "original",
            "empty": settings.empty,
            "threshold": settings.threshold if len(classes) == 2 else None,
            "tile": config.trainer.crop,
            "overlap": settings.overlap,
            "ignore_index": IGNORE_INDEX,
            "precision": predictor.precision,
        },
        "scores": score_table(counts, classes, settings.empty),
        "cases": cases(counts, classes),
        "confusion": counts.confusion.tolist(),
        "data": {
            "digest": data.store.digest,
            "same_as_training": _same_data(loaded, data),
            "samples": data.split_sizes(),
        },
        "config": config.model_dump(mode="json"),
        "versions": provenance.versions(),
        "device": provenance.describe_device(predictor.device),
    }


def _write_rows(path: Path, rows: Sequence[Mapping[str, str | int | float | None]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
