import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

METRICS = ("dice", "iou", "precision", "recall")
EPOCH_HEADER = "epoch,step,lr,train_loss,val_loss,dice_per_image,dice_pooled,iou_per_image,iou_pooled,seconds"
Run = Callable[..., Path]


def _disc(size: int, centre: tuple[int, int], radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def draw_sample(index: int, classes: int, size: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth with an ignored corner, and a prediction shifted by `index` pixels; image 0 has no last class."""
    truth = np.zeros((size, size), np.uint8)
    prediction = np.zeros_like(truth)
    for label in range(1, classes - (index == 0 and classes > 2)):
        centre = (size * label // classes, size // 2)
        truth[_disc(size, centre, 7)] = label
        prediction[_disc(size, (centre[0], centre[1] + index), 7)] = label
    truth[:4, :4] = 255
    noise = np.random.default_rng(index).integers(0, 40, (size, size, 3))
    return (noise + 100 * (truth > 0)[..., None]).astype(np.uint8), truth, prediction


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _scores(tp: int, fp: int, fn: int) -> dict[str, float | None]:
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
    }


def _class_scores(confusion: np.ndarray) -> list[dict[str, float | None]]:
    tp = confusion.diagonal()
    fp, fn = confusion.sum(0) - tp, confusion.sum(1) - tp
    return [_scores(*map(int, triple)) for triple in zip(tp, fp, fn, strict=True)]


def _with_foreground(per_class: list[dict[str, float | None]], metric: str, classes: list[str]) -> dict[str, Any]:
    values = [scores[metric] for scores in per_class]
    return {"foreground": _mean(values[1:]), **dict(zip(classes, values, strict=True))}


def _score_table(per_image: list[list[dict]], pooled: list[dict], classes: list[str]) -> dict[str, Any]:
    scores = {}
    for metric in METRICS:
        rows = [_with_foreground(image, metric, classes) for image in per_image]
        scores[f"{metric}_per_image"] = {name: _mean([row[name] for row in rows]) for name in ["foreground", *classes]}
        scores[f"{metric}_pooled"] = _with_foreground(pooled, metric, classes)
    return scores


def _write_per_image(path: Path, ids: list[str], per_image: list[list[dict]], classes: list[str], size: int) -> None:
    names = [*classes, "foreground"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "height", "width", "ignored", *(f"{m}_{n}" for m in METRICS for n in names)])
        for name, scores in zip(ids, per_image, strict=True):
            cells = [_with_foreground(scores, metric, classes)[n] for metric in METRICS for n in names]
            writer.writerow([name, size, size, 16, *("" if cell is None else cell for cell in cells)])


def _write_cases(folder: Path, ids: list[str], samples: list[tuple], per_image: list[list[dict]]) -> None:
    folder.mkdir()
    entries = []
    for number, (name, sample) in enumerate(zip(ids, samples, strict=True)):
        files = {part: f"{number}.{part}.png" for part in ("image", "truth", "prediction")}
        for part, array in zip(files, sample, strict=True):
            Image.fromarray(array).save(folder / files[part])
        kind = "best" if number == 0 else "worst" if number == len(ids) - 1 else "median"
        score = _mean([scores["dice"] for scores in per_image[number][1:]])
        entries.append({"id": name, "kind": kind, "score": score, **files, "scale": 1.0})
    (folder / "index.json").write_text(json.dumps(entries))


def build_run(
    root: Path, classes: list[str] | None = None, ids: list[str] | None = None, name: str = "drawn", **changes: Any
) -> Path:
    """Write a run folder whose numbers are computed from drawn masks; returns the evaluation folder."""
    classes = classes or ["background", "nucleus"]
    ids = ids or [f"image_{i}" for i in range(6)]
    folder = root / "run" / "evaluation" / "test"
    folder.mkdir(parents=True)
    samples = [draw_sample(i, len(classes)) for i in range(len(ids))]
    confusions = []
    for _, truth, prediction in samples:
        valid = truth != 255
        flat = np.bincount(truth[valid].astype(int) * len(classes) + prediction[valid], minlength=len(classes) ** 2)
        confusions.append(flat.reshape(len(classes), len(classes)))
    per_image = [_class_scores(confusion) for confusion in confusions]
    total = np.sum(confusions, axis=0)
    empty = {n: sum(scores[i]["dice"] is None for scores in per_image) for i, n in enumerate(classes)}
    results = {
        "format": 1,
        "name": name,
        "split": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "images": len(ids),
        "classes": classes,
        "checkpoint": {
            "file": "checkpoints/best.ckpt",
            "epoch": 12,
            "step": 800,
            "sha256": hashlib.sha256(b"w").hexdigest(),
        },
        "protocol": {
            "resolution": "original",
            "empty": "exclude",
            "threshold": 0.5 if len(classes) == 2 else None,
            "tile": 256,
            "overlap": 0.25,
            "ignore_index": 255,
            "precision": "fp32",
        },
        "scores": _score_table(per_image, _class_scores(total), classes),
        "cases": {n: {"scored": len(ids) - empty[n], "empty": empty[n]} for n in classes},
        "confusion": total.tolist(),
        "data": {
            "digest": hashlib.sha256(b"d").hexdigest(),
            "same_as_training": True,
            "samples": {"train": 20, "val": 5, "test": len(ids)},
        },
        "config": {"name": name, "data": {"classes": classes}, "trainer": {"max_epochs": 12}},
        "versions": {"seg_scse": "0.1.0", "torch": "2.9.0"},
        "device": "cpu",
        **changes,
    }
    (folder / "results.json").write_text(json.dumps(results))
    _write_per_image(folder / "per_image.csv", ids, per_image, classes, 48)
    _write_cases(folder / "cases", ids, samples, per_image)
    return folder


def write_epochs(run_dir: Path, rows: list[str]) -> None:
    (run_dir / "epochs.csv").write_text("\n".join([EPOCH_HEADER, *rows]) + "\n")


@pytest.fixture
def make_run(tmp_path: Path) -> Run:
    return lambda **arguments: build_run(tmp_path, **arguments)


@pytest.fixture
def make_epochs() -> Callable[[Path, list[str]], None]:
    return write_epochs


def build_explanation(
    folder: Path,
    classes: tuple[str, ...] = ("background", "nucleus"),
    ids: tuple[str, ...] = ("image_0",),
    gates: tuple[tuple[str, ...], ...] = (("channel", "spatial"), ("channel", "spatial")),
    flags: tuple[str, ...] = (),
    study: bool = True,
    truth: bool = True,
    window: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write an explanation of drawn maps: stage k has 8k channels and the gates named for it; a tile has 32 pixels."""
    random = np.random.default_rng(0)
    sites = [f"decoder.{number}" for number in range(1, len(gates) + 1)]
    (folder / "pages").mkdir(parents=True)
    window = window or {"y": 0, "x": 0, "height": 32, "width": 32, "chosen": "whole"}
    for number in range(len(ids)):
        arrays = _page_arrays(random, sites, gates, (window["height"], window["width"]), truth)
        if window["chosen"] != "whole":
            arrays["overview"] = arrays["image"]
        np.savez(folder / "pages" / f"{number}.npz", **arrays)
    groups = [{"name": name, "images": 4} for name in ("little foreground", "much foreground")]
    profiles: dict[str, np.ndarray] = {}
    stages, found = [], {}
    for number, (site, names) in enumerate(zip(sites, gates, strict=True), start=1):
        channels = 8 * number
        if "channel" in names and study:
            values = random.random((8, channels)).astype(np.float32)
            halves = values.reshape(2, 4, channels)
            profiles |= {f"{site}.gates": values, f"{site}.mean": halves.mean(1), f"{site}.std": halves.std(1)}
        stages.append({"site": site, "type": "scse", "channels": channels, "hidden": channels // 2, "gain": 1.0})
        spread = {"mean": 0.512, "std": 0.123, "low": 0.004, "high": 0.0025, "flags": list(flags)}
        scores = {"mean": 0.875, "images": 7, "undefined": 1}
        found[site] = {
            "gates": {name: spread for name in names},
            "between_images": 0.037 if "channel" in names else None,
            "eta_squared": 0.222 if "channel" in names else None,
            "auroc": dict.fromkeys(["foreground", *classes[1:]], scores) if "spatial" in names else {},
        }
    np.savez(folder / "profiles.npz", **profiles)
    content = {
        "format": 1,
        "name": "drawn",
        "split": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "classes": classes,
        "checkpoint": {
            "file": "checkpoints/best.ckpt",
            "epoch": 12,
            "step": 800,
            "sha256": hashlib.sha256(b"w").hexdigest(),
        },
        "tile": 32,
        "same_data": True,
        "versions": {"torch": "2.9.0"},
        "device": "cpu",
        "stages": stages,
        "study": {"images": 8, "rule": "a rule", "groups": groups, "eta_squared_by_chance": 0.143, "stages": found}
        if study
        else None,
        "pages": [
            {
                "id": name,
                "kind": None,
                "arrays": f"pages/{number}.npz",
                "size": [40, 64] if window["chosen"] != "whole" else [window["height"], window["width"]],
                "window": window,
                "label": 1,
                "predicted": True,
                "cells": {site: [8, 8] for site in sites},
            }
            for number, name in enumerate(ids)
        ],
        **changes,
    }
    (folder / "explain.json").write_text(json.dumps(content))
    return folder


def _page_arrays(
    random: np.random.Generator,
    sites: list[str],
    gates: tuple[tuple[str, ...], ...],
    size: tuple[int, int],
    truth: bool,
) -> dict[str, np.ndarray]:
    """Maps of 8 x 8 cells for 32 pixels; features after the gate are three times as strong as before."""
    cells = (-(-size[0] // 4), -(-size[1] // 4))
    labels = np.zeros(size, np.uint8)
    labels[4:12, 6:20] = 1
    arrays = {"image": random.integers(0, 256, (*size, 3), dtype=np.uint8), "prediction": np.roll(labels, 2, axis=0)}
    if truth:
        arrays["truth"] = labels
    for number, (site, names) in enumerate(zip(sites, gates, strict=True), start=1):
        before = random.random(cells).astype(np.float32)
        arrays |= {f"before.{site}": before, f"after.{site}": 3 * before, f"activation.{site}": before / before.max()}
        if "channel" in names:
            arrays[f"channel.{site}"] = random.random(8 * number).astype(np.float32)
        if "spatial" in names:
            arrays[f"spatial.{site}"] = random.random(cells).astype(np.float32)
    return arrays


@pytest.fixture
def make_explanation(tmp_path: Path) -> Run:
    """Build an explanation at the place that belongs to the evaluation of `make_run`."""
    return lambda **arguments: build_explanation(tmp_path / "run" / "explain" / "test", **arguments)
