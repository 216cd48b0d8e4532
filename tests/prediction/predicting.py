"""`predict` in processes of its own, with small images as scenes and with faults on request.

The environment says what happens: LARGE, of how many pixels an image is a scene; FAULT=kill:3 or term:3, which signal
the process sends itself when it is about to keep its third strip (from 0).
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCENE = 10_000
"""Pixels above which an image is a scene in tests; tiles are 32 pixels wide."""


ALL = ["--save", "labels", "probabilities", "overlays", "polygons", "uncertainty", "--tta", "flips"]
"""Everything that can be saved, of four copies of each tile."""

THRESHOLD = "0.65"
"""Of the network of `trained_run`, which was hardly trained: it gives both classes."""


def trained_run(folder: Path, discs: Path, *overrides: str) -> Path:
    """Train a network of a millisecond, with tiles of 32 pixels, for a moment."""
    from seg_scse.cli import main

    from ..launching import small_config

    config = small_config(folder, discs, "panel: 1")
    assert main(["train", "--config", str(config), "--out", str(folder / "run"), *overrides]) == 0
    return folder / "run"


def draw_scene(path: Path, seed: int = 0, shape: tuple[int, int] = (210, 190)) -> Path:
    """Draw a georeferenced scene of discs, of which a corner has no data, in blocks of 64 pixels."""
    import numpy as np
    import rasterio
    from rasterio import Affine

    rows, columns = np.mgrid[: shape[0], : shape[1]]
    discs = (rows % 50 - 25) ** 2 + (columns % 60 - 30) ** 2 < 200
    random = np.random.default_rng(seed)
    pixels = np.clip(60 + 110 * discs + random.normal(0, 12, shape), 1, 255).astype(np.uint8)
    pixels[100:, :80] = 0
    place = {"crs": "EPSG:32750", "transform": Affine(10, 0, 500_000, 0, -10, 9_000_000), "nodata": 0}
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    size = {"height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **layout) as file:
        file.write(pixels, 1)
    return path


def said(run: Path, inputs: Path, output: Path, *words: str) -> list[str]:
    """The words of a command."""
    return ["predict", str(run), "--input", str(inputs), "--output", str(output), "--threshold", THRESHOLD, *words]


def predict(run: Path, inputs: Path, output: Path, *words: str) -> int:
    """Predict in this process, and return the exit code."""
    from seg_scse.cli import main

    return main(said(run, inputs, output, *words))


def copied(discs: Path, folder: Path, count: int = 3) -> Path:
    """Some of the drawn images, in a folder of their own."""
    folder.mkdir()
    for file in sorted((discs / "images").iterdir())[:count]:
        shutil.copy2(file, folder)
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    """The lines of the summary."""
    with (folder / "summary.csv").open() as stream:
        return list(csv.DictReader(stream))


def record(folder: Path, item: str) -> dict[str, Any]:
    """The record of an item."""
    found = [json.loads(path.read_text()) for path in (folder / ".items").glob("*.json")]
    return next(one for one in found if one["id"] == item)


def results(folder: Path) -> dict[str, bytes]:
    """The results below a folder, without what says when and how fast they were made."""
    kinds = ("labels", "probabilities", "overlays", "polygons", "uncertainty")
    files = [path for kind in kinds for path in sorted((folder / kind).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def launch(arguments: list[str], processes: int = 1, **environment: object) -> subprocess.CompletedProcess[str]:
    """Run `seg-scse predict ARGUMENTS` in one process without torchrun, or in several with it."""
    torchrun = [*("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "LARGE": str(SCENE)}
    own |= {key: str(value) for key, value in environment.items()}
    command = [sys.executable, *(torchrun if processes > 1 else []), __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | own)


def scenes_from(pixels: int, replace: Callable[[object, str, object], None]) -> None:
    """Let images of more pixels be scenes, read by windows, by a function such as setattr."""
    from seg_scse.data.files import pictures
    from seg_scse.prediction import outputs
    from seg_scse.prediction.inputs import scenes

    replace(pictures, "WINDOWED_FROM", pixels)
    replace(outputs, "LARGE", pixels)
    replace(scenes, "_LEAST_BYTES", pixels // 10)


def _fail_at(fault: str, number: int) -> None:
    from seg_scse.prediction.writing.strip_store import StripStore

    write, seen = StripStore.write, [0]

    def watched(self: StripStore, index: int, arrays: dict) -> None:
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGTERM)
        seen[0] += 1
        write(self, index, arrays)

    StripStore.write = watched


if __name__ == "__main__":
    from seg_scse.cli import main

    scenes_from(int(os.environ["LARGE"]), setattr)
    if "FAULT" in os.environ:
        kind, _, place = os.environ["FAULT"].partition(":")
        _fail_at(kind, int(place))
    sys.exit(main(["predict", *sys.argv[1:]]))
