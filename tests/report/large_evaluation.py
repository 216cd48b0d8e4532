"""An evaluation of many images, whose cases are as large as they are saved and hard to compress."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from .drawn_evaluation import DISTANCES, METRICS, Scores, base_results, draw_probabilities


def build_large(root: Path, images: int = 1000, classes: int = 5, cases: int = 18, side: int = 768) -> Path:
    """Write an evaluation of drawn scores with cases as large as the evaluation saves them, as hard to compress."""
    random = np.random.default_rng(3)
    names = ["background", *(f"class {k}" for k in range(1, classes))]
    metrics = [*METRICS, "specificity", "accuracy", "volume_error", "volume_bias", *DISTANCES, "assd", "boundary_iou"]
    folder = root / "run" / "evaluation" / "test"
    (folder / "cases").mkdir(parents=True)
    columns = [f"{metric}_{name}" for metric in metrics for name in [*names, "foreground"]]
    values = random.beta(8, 2, (images, len(columns)))
    ids = [f"slide {i:05}, region {i % 7}" for i in range(images)]
    with (folder / "per_image.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "group", "height", "width", "ignored", *columns])
        for i, row in enumerate(values):
            writer.writerow([ids[i], f"patient {i // 4}", 1024, 1024, 0, *row])
    scores: dict[str, Scores] = {}
    for place, column in enumerate(columns):
        metric, _, name = column.rpartition("_")
        for averaging in ("per_image", "pooled"):
            scores.setdefault(f"{metric}_{averaging}", {})[name] = float(values[:, place].mean())
    counts = {name: {"scored": images, "empty": 0, "missed": 0, "false": 0} for name in names}
    results = base_results(names, images, scores, counts, [[1000] * classes] * classes, "multiclass")
    (folder / "results.json").write_text(json.dumps(results))
    noise = random.integers(0, 128, (side // 16, side // 16, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))
    picture = picture + random.integers(0, 100, (side, side, 3), dtype=np.uint8)
    truth = (
        np.asarray(Image.fromarray(noise[..., 0]).resize((side, side), Image.Resampling.NEAREST)).astype(int)
        * classes
        // 128
    )
    parts = {"image": picture, "truth": truth.astype(np.uint8), "prediction": np.roll(truth, 9).astype(np.uint8)}
    for part, array in parts.items():
        Image.fromarray(array).save(folder / "cases" / f"{part}.png", compress_level=1)
    files = {part: f"{part}.png" for part in parts}
    entries = [
        {"id": ids[i], "kind": ("worst", "median", "best")[i * 3 // cases], "score": 0.5, "scale": 0.75, **files}
        for i in range(cases)
    ]
    (folder / "cases" / "index.json").write_text(json.dumps(entries))
    (folder / "probabilities.json").write_text(json.dumps(draw_probabilities(["most probable class"], False)))
    return folder
