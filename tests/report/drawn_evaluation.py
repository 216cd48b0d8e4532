"""An evaluation folder whose numbers are computed here, from drawn masks, without the code under test."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

METRICS = ("dice", "iou", "precision", "recall")
SHARES = (*METRICS, "specificity", "accuracy")
DISTANCES = ("hd95", "nsd")
CHECKPOINT = {"file": "checkpoints/best.ckpt", "epoch": 12, "step": 800, "sha256": hashlib.sha256(b"w").hexdigest()}
Scores = dict[str, float | None]


def _disc(size: int, centre: tuple[int, int], radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def draw_sample(index: int, classes: int, task: str, size: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth with an ignored corner, and a prediction shifted by `index` pixels; image 0 has no last class."""
    truth = np.zeros((size, size), np.uint8)
    prediction = np.zeros_like(truth)
    for label in range(1, classes - (index == 0 and classes > 2)):
        centre = (size * label // classes, size // 2)
        for mask, shift in ((truth, 0), (prediction, index)):
            disc = _disc(size, (centre[0], centre[1] + shift), 7 if task == "multiclass" else 11)
            mask[disc] = label if task == "multiclass" else mask[disc] | 1 << (label - 1)
    truth[:4, :4] = 255
    noise = np.random.default_rng(index).integers(0, 40, (size, size, 3))
    return (noise + 100 * (truth > 0)[..., None]).astype(np.uint8), truth, prediction


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _scores(tp: int, fp: int, fn: int, tn: int) -> Scores:
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "volume_error": _ratio(abs(fp - fn), tp + fn),
        "volume_bias": _ratio(fp - fn, tp + fn),
    }


def _counts(truth: np.ndarray, prediction: np.ndarray, classes: int, task: str) -> np.ndarray:
    """(K, 4) tp, fp, fn, tn; class 0 of labels is: no bit set."""
    valid = truth != 255
    found = []
    for label in range(classes):
        if task == "multiclass" or label == 0:
            t, p = truth[valid] == label, prediction[valid] == label
        else:
            t, p = truth[valid] >> (label - 1) & 1 == 1, prediction[valid] >> (label - 1) & 1 == 1
        found.append([(t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum()])
    return np.array(found)


def _confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    valid = truth != 255
    flat = np.bincount(truth[valid].astype(int) * classes + prediction[valid], minlength=classes**2)
    return flat.reshape(classes, classes)


def _with_foreground(per_class: list[Scores], metric: str, classes: list[str]) -> Scores:
    values = [scores.get(metric) for scores in per_class]
    return {"foreground": mean(values[1:]), **dict(zip(classes, values, strict=True))}


def _score_table(per_image: list[list[Scores]], pooled: list[Scores], classes: list[str]) -> dict[str, Scores]:
    scores = {}
    for metric in per_image[0][-1]:
        rows = [_with_foreground(image, metric, classes) for image in per_image]
        scores[f"{metric}_per_image"] = {name: mean([row[name] for row in rows]) for name in ["foreground", *classes]}
        if metric in pooled[0]:
            scores[f"{metric}_pooled"] = _with_foreground(pooled, metric, classes)
    return scores


def _write_per_image(path: Path, ids: list[str], per_image: list[list[Scores]], classes: list[str], size: int) -> None:
    names = [*classes, "foreground"]
    metrics = list(per_image[0][-1])
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "group", "height", "width", "ignored", *(f"{m}_{n}" for m in metrics for n in names)])
        for name, scores in zip(ids, per_image, strict=True):
            cells = [_with_foreground(scores, metric, classes)[n] for metric in metrics for n in names]
            writer.writerow([name, name, size, size, 16, *("" if cell is None else cell for cell in cells)])


def _write_cases(folder: Path, ids: list[str], samples: list[tuple], per_image: list[list[Scores]]) -> None:
    folder.mkdir()
    entries = []
    for number, (name, sample) in enumerate(zip(ids, samples, strict=True)):
        files = {part: f"{number}.{part}.png" for part in ("image", "truth", "prediction")}
        for part, array in zip(files, sample, strict=True):
            Image.fromarray(array).save(folder / files[part])
        kind = "best" if number == 0 else "worst" if number == len(ids) - 1 else "median"
        score = mean([scores["dice"] for scores in per_image[number][1:]])
        entries.append({"id": name, "kind": kind, "score": score, **files, "scale": 1.0})
    (folder / "index.json").write_text(json.dumps(entries))


def _interval(value: float | None) -> list[float] | None:
    return None if value is None else [value - 0.02, value + 0.03]


def intervals_of(scores: dict[str, Scores]) -> dict[str, dict[str, list[float] | None]]:
    """An interval from 0.02 below to 0.03 above every score."""
    return {key: {name: _interval(value) for name, value in row.items()} for key, row in scores.items()}


def draw_probabilities(names: list[str], thresholds: bool = True) -> dict[str, Any]:
    """Histograms that lean to the ends, and scores that fall on both sides of 0.4."""
    bins = np.arange(256)
    negative = (20000 * np.exp(-bins / 9) + 30).astype(int)
    positive = (15000 * np.exp((bins - 255) / 9) + 20).astype(int)
    places = [k / 256 for k in range(3, 254, 3)] if thresholds else []
    scores = [0.85 - (place - 0.4) ** 2 for place in places]
    curve = {
        "kind": "class" if thresholds else "confidence",
        "negative": negative.tolist(),
        "positive": positive.tolist(),
        "ece": 0.0123,
        "brier": 0.0456,
        "thresholds": places,
        "dice_per_image": scores,
        "dice_pooled": [score + 0.03 for score in scores],
        "iou_per_image": [score - 0.1 for score in scores],
        "iou_pooled": [score - 0.08 for score in scores],
        "precision_pooled": [0.6 + 0.38 * place for place in places],
        "recall_pooled": [0.99 - 0.5 * place**2 for place in places],
    }
    return {"bins": 256, "curves": [{"name": name, **curve} for name in names]}


def base_results(
    classes: list[str], images: int, scores: dict[str, Scores], cases: dict[str, Any], confusion: Any, task: str
) -> dict[str, Any]:
    """The content of `results.json` around its scores."""
    thresholded = len(classes) == 2 or task == "multilabel"
    surface = {"tolerance": 2.0, "unit": "px", "spacing": [1.0, 1.0]} if "hd95_per_image" in scores else None
    averages = ("macro", "micro", "weighted")
    return {
        "format": 2,
        "name": "drawn",
        "split": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "images": images,
        "classes": classes,
        "task": task,
        "checkpoint": CHECKPOINT,
        "members": [],
        "predictions": None,
        "protocol": {
            "resolution": "original",
            "empty": "exclude",
            "threshold": 0.5 if thresholded else None,
            "threshold_from": "configuration" if thresholded else None,
            "tta": "none",
            "tile": 256,
            "overlap": 0.25,
            "ignore_index": 255,
            "precision": "fp32",
            "surface": surface,
            "objects": False,
            "centerline": False,
        },
        "scores": scores,
        "averages": {
            f"{metric}_{averaging}": {f"{kind}_{scope}": 0.625 for kind in averages for scope in ("foreground", "all")}
            for metric in METRICS
            for averaging in ("per_image", "pooled")
        },
        "bootstrap": {
            "method": "bca",
            "level": 0.95,
            "resamples": 10000,
            "seed": 0,
            "unit": "image",
            "n": images,
            "groups": False,
        },
        "intervals": intervals_of(scores),
        "cases": cases,
        "confusion": confusion,
        "cost": {
            "parameters": 24_430_897,
            "flops_per_tile": 15.6e9,
            "tile": 256,
            "peak_memory_bytes": 1_288_490_189,
            "peak_memory_of": "process",
            "megapixels_per_second": 1.84,
            "images_per_second": 7.03,
            "seconds": 12.5,
        },
        "data": {
            "digest": hashlib.sha256(b"d").hexdigest(),
            "same_as_training": True,
            "samples": {"train": 20, "val": 5, "test": images},
            "name": "drawn discs",
        },
        "config": {"name": "drawn", "data": {"classes": classes}, "trainer": {"max_epochs": 12}},
        "versions": {"seg_scse": "0.1.0", "torch": "2.9.0"},
        "device": "cpu",
    }


def build_run(
    root: Path,
    classes: list[str] | None = None,
    ids: list[str] | None = None,
    task: str = "multiclass",
    surface: bool = True,
    **changes: Any,
) -> Path:
    """Write a run folder whose numbers are computed from drawn masks; returns the evaluation folder."""
    classes = classes or ["background", "nucleus"]
    ids = ids or [f"image_{i}" for i in range(6)]
    folder = root / "run" / "evaluation" / "test"
    folder.mkdir(parents=True)
    samples = [draw_sample(i, len(classes), task) for i in range(len(ids))]
    counts = np.array([_counts(truth, prediction, len(classes), task) for _, truth, prediction in samples])
    per_image = [[_scores(*map(int, row)) for row in image] for image in counts]
    pooled = [_scores(*map(int, row)) for row in counts.sum(0)]
    if surface:
        for number, image in enumerate(per_image):
            for scores in image[1:]:
                there = scores["dice"] is not None
                scores |= {"hd95": 0.5 + number if there else None, "nsd": 1 / (1 + number) if there else None}
    tp, fp, fn = counts[:, :, 0], counts[:, :, 1], counts[:, :, 2]
    cases = {
        name: {
            "scored": int((tp + fp + fn > 0)[:, i].sum()),
            "empty": int((tp + fp + fn == 0)[:, i].sum()),
            "missed": int(((tp + fn > 0) & (tp + fp == 0))[:, i].sum()),
            "false": int(((tp + fn == 0) & (tp + fp > 0))[:, i].sum()),
        }
        for i, name in enumerate(classes)
    }
    confusion = None
    if task == "multiclass":
        confusion = np.sum([_confusion(t, p, len(classes)) for _, t, p in samples], axis=0).tolist()
    scores = _score_table(per_image, pooled, classes)
    results = base_results(classes, len(ids), scores, cases, confusion, task) | changes
    (folder / "results.json").write_text(json.dumps(results))
    curves = classes[1:] if task == "multilabel" or len(classes) == 2 else ["most probable class"]
    probabilities = draw_probabilities(curves, thresholds=curves != ["most probable class"])
    (folder / "probabilities.json").write_text(json.dumps(probabilities))
    _write_per_image(folder / "per_image.csv", ids, per_image, classes, 48)
    _write_cases(folder / "cases", ids, samples, per_image)
    return folder
