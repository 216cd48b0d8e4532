"""Small archives of eight pairs, their cards, and what becomes of them."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from seg_scse.data.sets.fetching import Prepared


def png(index: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), index, np.uint8)).save(out, "PNG")
    return out.getvalue()


def members(folder: str, count: int = 8) -> dict[str, bytes]:
    return {f"{folder}/{index}.png": png(index % 2) for index in range(count)}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


IMAGES, MASKS = members("cells/images"), members("cells/masks")
WHOLE = zipped({**IMAGES, **MASKS, "LICENCE.txt": b"CC0"})
IMAGES_ONLY, MASKS_ONLY = zipped(IMAGES), zipped(members("masks"))


def card(folder: Path, *archives: dict[str, object], **facts: object) -> str:
    """Write a card of eight pairs and return the path of its file."""
    content = {
        "title": "My cells", "source": "https://example.org/cells", "licence": "CC0", "citation": "none", "images": 8,
        "checked": "drawn", "layout": "pairs", "marker": "masks/*.png", "archives": list(archives),
        "data": {"classes": ["background", "cell"], "split": {"train": 0.5, "val": 0.25, "test": 0.25}}, **facts,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "card.yaml")


def facts_of(data: bytes, **others: object) -> dict[str, object]:
    return {"file": "cells.zip", "folder": "cells", "sha256": hashlib.sha256(data).hexdigest(), **others}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ready(outcome: Prepared, folder: Path, how: str) -> None:
    assert (outcome.root, outcome.how) == (folder, how)
    assert outcome.splits == {"train": 4, "val": 2, "test": 2}
