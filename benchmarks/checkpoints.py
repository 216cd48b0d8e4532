"""Checkpoints of untrained networks, for what costs the same as with trained ones."""

from pathlib import Path
from typing import Any

from seg_scse import checkpoint
from seg_scse.config.schema import Config
from seg_scse.models import build_model


def draw_checkpoint(path: Path, bands: int, dtype: str, tile: int, model: dict[str, Any]) -> Path:
    """Write a checkpoint of two classes, whose tiles overlap by a quarter with Gaussian weights.

    Args:
        path: of the file.
        bands: of the images, `band0` and so on.
        dtype: `uint8`, or `uint16` with values up to 10,000.
        tile: side of a tile in pixels.
        model: the section `model`.
    """
    scale = {"method": "range", "low": 0, "high": 10000} if dtype == "uint16" else {}
    config = Config.model_validate(
        {
            "name": "drawn",
            "data": {"bands": tuple(f"band{number}" for number in range(bands)), "scale": scale},
            "model": model,
            "trainer": {"crop": tile, "threads": 1, "device": "cpu", "precision": "fp32"},
            "evaluation": {"overlap": 0.25, "blend": "gaussian"},
        }
    )
    content = {
        "config": config.model_dump(mode="json"),
        "data_digest": "0" * 64,
        "mean": [0.5] * bands,
        "std": [0.25] * bands,
        "scale": {"low": [0.0] * bands, "high": [10000.0] * bands} if scale else None,
        "model": build_model(config.model, bands, 2).state_dict(),
        "progress": {"epoch": 0, "step": 0},
        "splits": {},
    }
    checkpoint.save(path, content)
    return path
