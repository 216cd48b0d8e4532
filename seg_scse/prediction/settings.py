"""What a prediction is to make: the settings that its results depend on, and those that only say who makes what."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["labels", "probabilities", "overlays", "polygons", "uncertainty"]
KINDS: tuple[Kind, ...] = ("labels", "probabilities", "overlays", "polygons", "uncertainty")
"""What can be saved of an item; each has a folder of this name."""

Format = Literal["auto", "png", "tif"]
PolygonFormat = Literal["geojson", "gpkg"]
Resample = Literal["none", "training"] | tuple[float, float]


@dataclass(frozen=True)
class Choices:
    """In which form results are saved, and how volumes are cut. All of it belongs to a folder of results.

    Attributes:
        save: kinds of results, each once.
        format: of label maps; `auto`: GeoTIFF where the input has a georeference or is large, else PNG.
        probabilities: type of probabilities; the integers are steps of 1/254 or 1/65534.
        polygons: format of polygons.
        simplify: largest distance in pixels by which an outline may be simplified; 0: not at all.
        min_area: regions of fewer pixels become no polygon.
        plane: in which volumes are cut, `mean` for the mean of all three; None: as in training.
        resample: size of a pixel, (height, width) in mm, that slices are brought to; `training`: that of the training.
        series: whether DICOM files of one series are one volume or an image each.
        backend: what computes the network.
    """

    save: tuple[Kind, ...] = ("labels",)
    format: Format = "auto"
    probabilities: Literal["float32", "uint8", "uint16"] = "float32"
    polygons: PolygonFormat = "geojson"
    simplify: float = 0.75
    min_area: float = 0.0
    plane: Literal["axial", "coronal", "sagittal", "mean"] | None = None
    resample: Resample = "none"
    series: Literal["volume", "files"] = "volume"
    backend: Literal["torch", "onnxruntime"] = "torch"


@dataclass(frozen=True)
class Settings:
    """One call of `predict`.

    Attributes:
        runs: run folders, checkpoint files or cross-validations; several predict together.
        inputs: files, folders, patterns or tables, as the user wrote them.
        output: folder of the results; or the file of the one label map.
        checkpoint: `best` or `last`, of run folders.
        overrides: `section.key=value` texts.
        choices: what is saved and how.
        shard: number (from 1) and count of calls that share the work.
        overwrite: start anew, whatever the folder holds.
        limit: most items that are predicted, or None.
        debug: whether an unexpected error ends the work with its traceback.
    """

    runs: tuple[Path, ...]
    inputs: tuple[str, ...]
    output: Path
    checkpoint: str = "best"
    overrides: tuple[str, ...] = ()
    choices: Choices = Choices()
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    limit: int | None = None
    debug: bool = False


def described(choices: Choices, checkpoints: list[str], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Say in plain JSON types everything that the results depend on.

    Args:
        choices: what is saved and how.
        checkpoints: SHA-256 of the checkpoints, in the order of their mean.
        protocol: how images are predicted: tile, overlap, symmetries, threshold, precision.
    """
    plain: dict[str, Any] = json.loads(json.dumps(asdict(choices)))
    return {"checkpoints": checkpoints, **plain, **protocol}


def digest_of(facts: Mapping[str, Any]) -> str:
    """Return a short name of settings, equal for equal settings."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say for each setting that differs what it was and what it is, such as `tta: none -> flips`."""
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return [f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}" for name in names]


def _short(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_short(each) for each in value) + "]"
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # a SHA-256
