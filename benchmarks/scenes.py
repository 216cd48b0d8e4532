"""Drawn images as large as wanted, written by windows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 512


def draw_npy(path: Path, side: int) -> Path:
    """Write noise, uint8 (side, side, 3), as an array file."""
    random, scene = np.random.default_rng(0), np.lib.format.open_memmap(path, "w+", np.uint8, (side, side, 3))
    for top in range(0, side, BLOCK):
        rows = scene[top : top + BLOCK]
        rows[:] = random.integers(0, 256, rows.shape, np.uint8)
    scene.flush()
    return path


def draw_geotiff(path: Path, height: int, width: int, bands: int, dtype: str) -> Path:
    """Write a tiled, deflated GeoTIFF: slopes with noise in the lowest bits, 10 m a pixel."""
    import rasterio
    from rasterio.windows import Window

    highest, random = 250 if dtype == "uint8" else 10_000, np.random.default_rng(0)
    profile = {
        **{"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": dtype},
        **{"crs": "EPSG:32750", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 9_000_000)},
        **{"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "predictor": 2, "zlevel": 1},
    }
    with rasterio.open(path, "w", **profile, BIGTIFF="IF_SAFER") as target:
        for top in range(0, height, BLOCK):
            rows = min(BLOCK, height - top)
            strip = random.integers(0, 4, (bands, rows, width), dtype)
            strip += _slopes(top, rows, width, highest).astype(dtype)
            target.write(strip, window=Window(0, top, width, rows))
    return path


def _slopes(top: int, height: int, width: int, highest: int) -> NDArray[np.float32]:
    """Values (1, height, width) between 0 and the highest that change over some hundred pixels."""
    rows, columns = np.arange(top, top + height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    waves = np.sin(rows / 90) + np.sin(columns / 70) + 2
    return (waves / 4 * highest)[None]
