"""`seg-scse evaluate PREDICTIONS --data` on label maps that a prediction left."""

import json

import numpy as np
import pytest
import rasterio

from seg_scse.cli import main
from seg_scse.data.files.raster import Place
from seg_scse.prediction.writing.rasters import write_label_map

CLASSES = ("background", "forest", "water")
UTM = Place("EPSG:32750", (10.0, 0.0, 500_000.0, 0.0, -10.0, 9_000_000.0), (10.0, 10.0), "m")
SHAPE = (40, 52)


def georeferenced(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"count": len(pixels), "height": SHAPE[0], "width": SHAPE[1], "dtype": "uint8"}
    where = {"crs": UTM.crs, "transform": rasterio.Affine(*UTM.transform)}
    with rasterio.open(path, "w", driver="GTiff", **size, **where) as dataset:
        dataset.write(pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_label_maps_are_scored_exactly_as_they_are(tmp_path, capsys, suffix):
    random = np.random.default_rng(0)
    right, total = 0, 0
    for name in ("a", "b"):
        truth = random.integers(0, 3, SHAPE).astype(np.uint8)
        guess = np.where(random.random(SHAPE) < 0.1, 0, truth).astype(np.uint8)
        right += int(((truth == 1) & (guess == 1)).sum())
        total += int((truth == 1).sum()) + int((guess == 1).sum())
        georeferenced(tmp_path / "images" / f"{name}.tif", random.integers(0, 255, (3, *SHAPE)).astype(np.uint8))
        georeferenced(tmp_path / "masks" / f"{name}.tif", truth[None])
        strips = [guess[:23], guess[23:]]
        write_label_map(tmp_path / "labels" / f"{name}{suffix}", strips, SHAPE, UTM, classes=CLASSES, nodata=255)
    (tmp_path / "data.yaml").write_text(
        f"data: {{root: {tmp_path}, images: images, masks: masks, classes: [{', '.join(CLASSES)}], "
        "mask: {encoding: index}, split: {train: 0, val: 0, test: 1}}\n"
    )
    arguments = [
        "--data",
        str(tmp_path / "data.yaml"),
        "--encoding",
        "palette",
        "--json",
        "evaluation.resamples=1000",
        "evaluation.overlays=0",
    ]
    assert main(["evaluate", str(tmp_path / "labels"), *arguments]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["dice_pooled"]["forest"] == pytest.approx(2 * right / total, abs=1e-12)
