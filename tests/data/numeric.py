"""Data sets of any type and number of bands, as `.npy` files with index masks."""

from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.store import Store

COUNT = 4


def write(root: Path, images: list[np.ndarray], masks: list[np.ndarray] | None = None) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        np.save(root / f"images/{i}.npy", image)
        mask = masks[i] if masks else (np.indices(image.shape[:2]).sum(0) % 2).astype(np.uint8)
        Image.fromarray(mask).save(root / f"masks/{i}.png")
    return root


def config_of(root: Path, bands: int, **data: object) -> DataConfig:
    fields = {
        "root": str(root),
        "cache": str(root.parent / "cache"),
        "bands": [f"b{i}" for i in range(bands)],
        "mask": {"values": {0: 0, 1: 1, 255: 255}},
        "split": {"train": 0.5, "val": 0.25, "test": 0.25},
        **data,
    }
    return DataConfig.model_validate(fields)


def prepare(root: Path, bands: int, state: dict[str, object] | None = None, **data: object) -> Store:
    config = config_of(root, bands, **data)
    return Store.prepare(build_manifest(config), config, scale=state)


def drawn(dtype: str, bands: int, low: float = 0, high: float = 1000, size: tuple[int, int] = (20, 24)) -> list:
    rng = np.random.default_rng(5)
    values = [rng.uniform(low, high, (*size, bands)) for _ in range(COUNT)]
    return [(np.rint(v) if np.dtype(dtype).kind != "f" else v).astype(dtype) for v in values]
