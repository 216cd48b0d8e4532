"""Small data sets of other kinds than 8-bit pictures, drawn into `images` and `masks` of a folder."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image


def write_tiff(
    path: Path, pixels: NDArray[Any], names: tuple[str, ...] = (), nodata: int | None = None, west: float = 0
) -> None:
    """Write `(C, H, W)` as a GeoTIFF, which may declare a value that means no data; `west` is its western edge."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    place = {"crs": "EPSG:32750", "transform": rasterio.Affine(10, 0, west, 0, -10, 0)}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, nodata=nodata, **place
    ) as file:
        file.write(pixels)
        for index, name in enumerate(names, start=1):
            file.set_band_description(index, name)


def draw_bands(root: Path, dtype: str, count: int, high: float, names: tuple[str, ...] = ()) -> Path:
    """Four images of several bands with values from 0 to `high`, with 0/255 masks."""
    for index in range(4):
        pixels = np.random.default_rng(index).uniform(0, high, (count, 32, 40))
        write_tiff(root / "images" / f"t{index}.tif", pixels.astype(dtype), names)
        (root / "masks").mkdir(exist_ok=True)
        mask = np.zeros((32, 40), np.uint8)
        mask[:16] = 255
        Image.fromarray(mask).save(root / "masks" / f"t{index}.png")
    return root


def draw_volumes(root: Path, low: float, high: float, dtype: str = "int16") -> Path:
    """Three volumes of 32 x 40 x 4 voxels with labels 0, 1, 2."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(3):
        voxels = np.random.default_rng(index).uniform(low, high, (32, 40, 4)).astype(dtype)
        labels = np.zeros((32, 40, 4), np.uint8)
        labels[:10], labels[10:20] = 1, 2
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), root / "images" / f"case{index}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), root / "masks" / f"case{index}.nii.gz")
    return root


def draw_pictures(root: Path, count: int, values: tuple[int, int] = (0, 255), splits: tuple[str, ...] = ()) -> Path:
    """Draw RGB images of 32 x 40 noise, no two alike, named p00, p01, ... with masks of two values, half each.

    With `splits`, they go in turn into `<split>/images` and `<split>/masks`.
    """
    for index in range(count):
        folder = root / splits[index % len(splits)] if splits else root
        pixels = np.random.default_rng(index).integers(0, 250, (32, 40, 3), np.uint8)
        mask = np.full((32, 40), values[0], np.uint8)
        mask[:, 20:] = values[1]
        for name, array in (("images", pixels), ("masks", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name / f"p{index:02}.png")
    return root
