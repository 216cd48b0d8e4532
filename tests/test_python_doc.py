"""The code of docs/python.md runs from top to bottom, and prints what the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from .test_hub import pixels, write_run

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page names."""
    for number, name in enumerate(("nuclei", "nuclei_seed1")):
        write_run(tmp_path / "runs" / name, seed=number, classes=("background", "nucleus"))
    write_run(tmp_path / "runs" / "mangroves", 4, bands=("red", "green", "blue", "nir"))
    for name in ("scans", "scenes"):
        (tmp_path / name).mkdir()
    Image.fromarray(pixels()).save(tmp_path / "scans" / "new.png")
    profile = {"driver": "GTiff", "height": 45, "width": 70, "count": 4, "dtype": "uint8", "crs": "EPSG:32750"}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 9_000_000)
    with rasterio.open(tmp_path / "scenes" / "coast.tif", "w", **profile, transform=transform) as scene:
        scene.write(pixels(4).transpose(2, 0, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_page_runs_and_prints_what_it_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, "python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "('red', 'green', 'blue') ('background', 'nucleus')\n('nucleus',)\n" in printed
    assert "runs/nuclei" not in printed
    assert "<Trained nuclei + nuclei_seed1: 2 networks, classes background, nucleus;" in printed
    assert "unknown key `evaluation.trehshold`; did you mean `threshold`?" in printed
    assert "torch.Size([1, " in printed
    assert np.asarray(Image.open(place / "mask.png")).shape == (45, 70)
    with rasterio.open(place / "maps" / "coast.tif") as written, rasterio.open(place / "scenes" / "coast.tif") as scene:
        assert (written.crs, written.transform, written.shape) == (scene.crs, scene.transform, scene.shape)
        assert np.array_equal(written.read(1), names["load"]("runs/mangroves").predict("scenes/coast.tif"))  # type: ignore[operator]
