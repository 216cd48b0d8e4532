"""Files of many kinds, as a run sees them and as prediction opens them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.files import pictures
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.store import Store
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Opened, Reading, open_image

from ...data.files.drawn_files import COLOURS, FLOATS, FOUR, TILED, save_array, save_dicom, save_pillow, save_raster

ALL = slice(None)
GAPS = FOUR.copy() + 1
GAPS[:25, :30] = 0
HOLES = np.abs(FLOATS) / 10
HOLES[5, :, 0], HOLES[20:22] = np.nan, np.inf
PLACED = {"crs": "EPSG:32750", "transform": [10, 0, 5, 0, -10, 7]}
FOUR_BANDS = {"bands": ["red", "green", "blue", "nir"]}
PER_FILE = {"method": "percentile", "per": "file"}


def draw(kind: str, path: Path) -> None:
    """Draw a file of one kind."""
    if kind == "RGBA":
        save_pillow(path, np.dstack([COLOURS, np.full((40, 60, 1), 255, np.uint8)]))
    elif kind == "palette":
        save_pillow(path, COLOURS, "P")
    elif kind == "EXIF":
        exif = Image.Exif()
        exif[274] = 6
        save_pillow(path, COLOURS, exif=exif)
    elif kind == "padding":
        pixels = FOUR[..., 0].astype(np.int16)
        pixels[:9] = -2000
        save_dicom(path, pixels, PixelPaddingValue=-2000)
    elif kind == "array":
        save_array(path, HOLES)
    else:
        pixels, options = RASTERS[kind]
        save_raster(path, pixels, **options)


RASTERS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "nodata": (GAPS, {"nodata": 0, "compress": "deflate", **TILED}),
    "8 bit with nodata": ((GAPS[..., :3] % 256).astype(np.uint8), {"nodata": 0, **TILED}),
    "NaN": (HOLES, TILED),
    "nodata without a gap": (FOUR | 1, {"nodata": 0, "interleave": "band", **TILED}),
    "all nodata": (np.zeros_like(FOUR), {"nodata": 0, **TILED}),
    "plain": (FOUR, TILED),
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nodata, by type": ("nodata", ".tif", FOUR_BANDS),
    "nodata, by range": ("nodata", ".tif", {**FOUR_BANDS, "scale": {"method": "range", "low": 9, "high": 9000}}),
    "nodata, percentiles of the file": ("nodata", ".tif", {**FOUR_BANDS, "scale": PER_FILE}),
    "nodata, deviations of the file": ("nodata", ".tif", {**FOUR_BANDS, "scale": {"method": "zscore", "per": "file"}}),
    "nodata, percentiles of the run": ("nodata", ".tif", {**FOUR_BANDS, "scale": {"method": "percentile"}}),
    "nodata of the configuration": ("plain", ".tif", {**FOUR_BANDS, "nodata": int(FOUR[3, 3, 1]), "use": ["green"]}),
    "8 bit with nodata": ("8 bit with nodata", ".tif", {}),
    "NaN": ("NaN", ".tif", {"bands": ["a", "b"]}),
    "NaN, percentiles of the file": ("NaN", ".tif", {"bands": ["a", "b"], "scale": PER_FILE}),
    "nodata without a gap": ("nodata without a gap", ".tif", FOUR_BANDS),
    "all nodata": ("all nodata", ".tif", {**FOUR_BANDS, "scale": {"method": "range", "low": -5, "high": 5}}),
    "chosen bands": ("nodata", ".tif", {**FOUR_BANDS, "use": ["nir", "red"], "scale": PER_FILE}),
    "RGBA": ("RGBA", ".png", {}),
    "palette": ("palette", ".png", {}),
    "EXIF": ("EXIF", ".jpg", {}),
    "padding": ("padding", ".dcm", {"channels": "gray", "scale": {"method": "range", "low": -1000, "high": 30000}}),
    "array": ("array", ".npy", {"bands": ["a", "b"]}),
}


def run(root: Path, kind: str, suffix: str, data: dict[str, Any]) -> tuple[DataConfig, Store]:
    """Draw a data set of three files of one kind and prepare it as a run does."""
    for number in range(3):
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "masks").mkdir(exist_ok=True)
        draw(kind, root / f"images/{number}{suffix}")
        shape = (60, 40) if kind == "EXIF" else (40, 60)
        Image.fromarray(np.zeros(shape, np.uint8)).save(root / f"masks/{number}.png")
    if kind == "all nodata":
        save_raster(root / "images/1.tif", FOUR, **TILED)
    split = {"train": 0.5, "val": 0.25, "test": 0.25}
    config = DataConfig(root=str(root), cache=str(root / "cache"), mask={"encoding": "index"}, split=split, **data)
    return config, Store.prepare(build_manifest(config), config)


@contextmanager
def opened(path: Path, config: DataConfig, scale: Any = None, *bands: Path) -> Iterator[Opened]:
    with open_image(Item("a", "image", (path, *bands)), Reading(config, scale)) as image:
        yield image


def large(monkeypatch: pytest.MonkeyPatch, path: Path, pixels: np.ndarray = FOUR, **options: Any) -> Path:
    monkeypatch.setattr(pictures, "WINDOWED_FROM", 1000)
    return save_raster(path, pixels, **{**TILED, **options})


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[slice, slice]]:
    """Windows that are read from the file from now on."""
    found: list[tuple[slice, slice]] = []
    original = pictures.Picture.read

    def read(self: Any, rows: slice, cols: slice) -> Any:
        found.append((rows, cols))
        return original(self, rows, cols)

    monkeypatch.setattr(pictures.Picture, "read", read)
    return found
