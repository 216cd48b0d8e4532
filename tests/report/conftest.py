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
