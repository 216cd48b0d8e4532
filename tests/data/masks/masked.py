from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.raster import Place
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.samples import Sample

IMAGE = Path("image.png")


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def palette(path: Path, indices: np.ndarray, colours: Sequence[int] = (0, 0, 0, 255, 0, 0, 0, 255, 0)) -> Path:
    coloured = Image.new("P", indices.shape[::-1])
    coloured.putpalette(list(colours))
    coloured.putdata(indices.ravel().tolist())
    coloured.save(path)
    return path


def mask_of(
    paths: Path | Sequence[Path],
    shape: tuple[int, int] = (2, 3),
    place: Place | None = None,
    label: str | None = None,
    plane: int | None = None,
    data: dict[str, object] | None = None,
    classes: Sequence[str] = ("a", "b"),
    **mask: object,
) -> np.ndarray:
    paths = (paths,) if isinstance(paths, Path) else tuple(paths)
    config = DataConfig.model_validate({"classes": list(classes), "mask": mask, **(data or {})})
    return read_mask(Sample("image", IMAGE, paths, None, "image", label=label, plane=plane), shape, place, config)
