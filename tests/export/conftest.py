"""What the tests of exports share."""

from pathlib import Path
from typing import Any

import pytest

from seg_scse.export.exporting import Request, export

from .saved import CLASSIC, saved_run


@pytest.fixture(scope="session")
def saved(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small classic U-Net with gates and deep supervision."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    return saved_run(folder, discs, *CLASSIC, "model.attention.type=scse", "model.deep_supervision=1")


@pytest.fixture(scope="session")
def exported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of that run's ONNX file."""
    out = tmp_path_factory.mktemp("exported") / "net.onnx"
    return export(saved, "best", [], Request("onnx", out=out, split="test"))
