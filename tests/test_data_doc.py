"""The layouts that docs/data.md shows are read as the page says."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.store import Store

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text)["data"] for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
NAMES = ("one", "two", "three", "four", "five", "six", "seven")
MASK = np.indices((40, 48))[0].astype(np.uint8) // 20


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    elif path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), path)
    else:
        bands = pixels.reshape(*pixels.shape[:2], -1)
        height, width, count = bands.shape
        with (
            pytest.warns(NotGeoreferencedWarning),
            rasterio.open(path, "w", "GTiff", width, height, count, dtype=bands.dtype) as file,
        ):
            file.write(bands.transpose(2, 0, 1))


def draw(root: Path, data: dict[str, object], index: int) -> None:
    """Draw one sample of an example's layout; which layout it is shows in its keys."""
    random, name = np.random.default_rng(index), NAMES[index]
    bands = data.get("bands", [])
    values = random.integers(1, 3000, (*MASK.shape, max(1, len(bands))), dtype=np.uint16)
    if "image_pattern" in data:
        save(root / f"benign ({index}).png", values[..., 0].astype(np.uint8))
        for end in ("_mask", "_mask_1"):
            save(root / f"benign ({index}){end}.png", MASK * np.uint8(255))
    elif "volume" in data:
        save(root / data["images"] / f"{name}.nii.gz", random.integers(-500, 500, (12, 10, 4)).astype(np.int16))
        save(root / data["masks"] / f"{name}.nii.gz", np.tile(np.uint8([[[0, 1, 1, 0]]]), (12, 10, 1)))
    elif data.get("image_suffix") == "/{band}":
        for place, band in enumerate(bands):
            save(root / data["images"] / name / f"{band}.tif", values[..., place])
        save(root / data["masks"] / f"{name}.tif", MASK)
    elif data.get("images") == "{band}":
        for place, band in enumerate(bands):
            save(root / band / f"{name}.tif", values[..., place])
        save(root / "masks" / f"{name}.tif", MASK)
    elif bands:
        save(root / "images" / f"{name}.tif", values)
        save(root / "masks" / f"{name}.tif", MASK)
    else:
        save(root / "images" / f"{name}.png", values[..., 0].astype(np.uint8))
        save(root / "masks" / f"{name}.png", MASK * np.uint8(255))


@pytest.mark.parametrize("data", EXAMPLES, ids=lambda data: "-".join(data))
def test_each_layout_is_read(data, tmp_path):
    for index in range(len(NAMES)):
        draw(tmp_path, data, index)
    config = DataConfig.model_validate({**data, "root": str(tmp_path)})
    manifest = build_manifest(config)
    store = Store.prepare(manifest, config)
    wanted = len(NAMES) * (2 if "volume" in data else 1)
    channels = {"red, green, blue, nir": 3}.get(", ".join(data.get("bands", [])), len(data.get("bands", "rgb")))
    assert len(store) == wanted
    assert store.image(0).shape[2] == channels
    assert {value for index in range(wanted) for value in np.unique(store.mask(index))} == {0, 1}
