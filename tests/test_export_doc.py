"""The recipe of docs/export.md gives the label maps of the package, by NumPy and ONNX Runtime alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_scse import load
from seg_scse.evaluation.loaded import load_run
from seg_scse.export.exporting import onnx_file

from .test_hub import MULTILABEL, pixels, write_run

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
SCALE = {"low": [100.0, 200.0], "high": [2000.0, 3000.0]}
CASES: dict[str, Any] = {
    "labels of two scaled bands": {
        **MULTILABEL, "channels": 2, "state": SCALE, "bands": ["nir", "swir"], "scale": {"method": "percentile"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe() -> Callable[[str, np.ndarray], np.ndarray]:
    (code,) = (
        code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "def predict" in code
    )
    assert not re.search("torch|seg_scse", code)
    names: dict[str, Any] = {}
    exec(compile(code, "export.md", "exec"), names)
    predict: Callable[[str, np.ndarray], np.ndarray] = names["predict"]
    return predict


@pytest.mark.parametrize("case", CASES)
def test_the_recipe_of_the_page_needs_nothing_but_the_file(tmp_path: Path, recipe: Any, case: str) -> None:
    run = write_run(tmp_path / "run", **CASES[case])
    bands = len(load(run).bands)
    images = [pixels(bands, size, np.uint8 if bands == 3 else np.uint16) for size in ((20, 70), (45, 70))]
    model = load(run, device="cpu")
    threshold = float(np.median(model.predict_probabilities(images[1])))
    model = load(run, device="cpu", threshold=threshold)
    file = onnx_file(load_run(run, "best", [f"evaluation.threshold={threshold}"]))
    for image in images:
        labels, expected = recipe(str(file), image), model.predict(image)
        assert labels.shape == image.shape[:2]
        assert len(np.unique(expected)) > 1
        assert np.mean(labels != expected) < 1e-3  # but for probabilities that are the threshold to rounding


def test_the_three_classes_of_the_page_are_the_most_probable(tmp_path: Path, recipe: Any) -> None:
    run = write_run(tmp_path / "run", classes=("background", "round", "long"))
    image = pixels(size=(33, 64))
    labels = recipe(str(onnx_file(load_run(run, "best"))), image)
    assert np.mean(labels != load(run, device="cpu", blend="gaussian").predict(image)) < 1e-3
