"""Evaluation folders of drawn counts, to be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import EvaluationConfig
from seg_scse.evaluation.results import Described, write_evaluation
from seg_scse.evaluation.tables import Tables
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.surfaces import SURFACE_NAMES, measure_surfaces

TWO = ("background", "cell")
Masks = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By id, prediction and truth, uint8 (H, W)."""


def strip(length: int, side: int = 20, label: int = 1) -> np.ndarray:
    """A mask whose first row holds `length` pixels of a class."""
    mask = np.zeros((side, side), np.uint8)
    mask[0, :length] = label
    return mask


def strips(found: Sequence[int], truth: int = 10, side: int = 20) -> Masks:
    """Images whose truth is `truth` pixels long and whose prediction `found`: Dice 2 min / (found + truth)."""
    return {f"image {k}": (strip(length, side), strip(truth, side)) for k, length in enumerate(found)}


def write_run(
    run: Path,
    masks: Masks,
    classes: Sequence[str] = TWO,
    groups: Mapping[str, str] | None = None,
    settings: EvaluationConfig | None = None,
    protocol: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    split: str = "test",
    **facts: Any,
) -> Path:
    """Write `RUN/evaluation/<split>` as `evaluate` does, from masks; returns the run folder."""
    settings = settings or EvaluationConfig(resamples=1000)
    counts, surfaces = CountsTable(len(classes)), MeasureTable(SURFACE_NAMES, len(classes))
    for name, (prediction, truth) in masks.items():
        counts.add(name, count_pixels(prediction, truth, len(classes)))
        surfaces.add(name, measure_surfaces(prediction, truth, len(classes), (1.0, 1.0), 2.0))
    units = tuple((groups or {}).get(name, name) for name in masks)
    described = Described(Tables(counts, units, surfaces), tuple(classes), "multiclass", settings)
    known = {
        "name": run.name,
        "split": split,
        "created": "2026-01-02T03:04:05+00:00",
        "checkpoint": {"file": "checkpoints/best.ckpt", "epoch": 3, "step": 30, "sha256": f"{run.name:0>64}"},
        "members": [],
        "predictions": None,
        "protocol": {
            **{"resolution": "original", "empty": settings.empty, "threshold": 0.5, "threshold_from": "configuration"},
            **{"tta": "none", "tile": 32, "overlap": 0.25, "precision": "fp32", "ignore_index": 255},
            **{"surface": {"tolerance": 2.0, "unit": "px", "spacing": [1.0, 1.0]}, "objects": False},
            **{"centerline": False, **(protocol or {})},
        },
        "cost": None,
        "data": {"digest": "d" * 64, "same_as_training": True, "samples": {split: len(masks)}, "name": "drawn"},
        "config": config or {"name": run.name},
        "versions": {"seg_scse": "0"},
        "device": "cpu",
        **facts,
    }
    write_evaluation(run / "evaluation" / split, described, known, None, lambda folder, rows: None)
    return run
