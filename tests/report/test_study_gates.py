"""Figures of the gates of a study: shared colours, small files, what is said where there is no gate."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report import study_gates as module
from seg_scse.report.study_gate_parts import GateFigure, GateRow, GateStage
from seg_scse.report.study_gates import draw_gates, read_gate_pictures

RANDOM = np.random.default_rng(0)
VIRIDIS = colormaps["viridis"].resampled(20)


def stage(spatial: float | None = 0.4, channel: float | None = 0.6, site: str = "decoder.5") -> GateStage:
    """A stage with even gates over 16 x 16 cells, of which 12 x 16 lie in the image."""
    shape = (12, 16)
    gates = None if spatial is None else np.full(shape, spatial, np.float32)
    channels = None if channel is None else np.full(8, channel, np.float32)
    return GateStage(site, (16, 16), 1.0, np.ones(shape), np.full(shape, 0.5), channels, gates)


def figure(*rows: GateRow) -> GateFigure:
    truth = np.zeros((24, 32), np.uint8)
    truth[4:12, 6:20] = 1
    image = RANDOM.integers(0, 255, (24, 32, 3), np.uint8)
    return GateFigure("a $x$ image", "The whole image.", image, truth, "multiclass", rows)


def row(*stages: GateStage, name: str = "scse-add") -> GateRow:
    prediction = np.zeros((24, 32), np.uint8)
    prediction[6:14, 6:20] = 1
    return GateRow(name, ("scse gates", "seed 0, epoch 3"), prediction, 32, stages)


def pixels_of(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3)


def count(data: bytes, value: float) -> int:
    """Pixels in the colour of a gate, as nearly as a palette of 256 colours has it."""
    colour = np.array(VIRIDIS(value)[:3]) * 255
    return int((np.abs(pixels_of(data) - colour).max(1) <= 4).sum())


def test_a_gate_has_the_same_colour_in_every_row() -> None:
    one = draw_gates(figure(row(stage(0.4)), row(stage(0.92), name="other")))
    two = draw_gates(figure(row(stage(0.4)), row(stage(0.4), name="other")))
    assert count(one, 0.4) > 15_000
    assert count(one, 0.92) > 15_000
    assert count(two, 0.4) > 1.8 * count(one, 0.4)
    assert count(two, 0.92) < 3_000


def test_scale_reaches_to_the_largest_value_that_any_gate_can_take() -> None:
    doubled = replace(stage(0.8), gain=2.0)
    assert figure(row(stage()), row(doubled)).gain == 2.0
    data = draw_gates(figure(row(doubled)))
    assert count(data, 0.8 / 2) > 15_000
    assert count(data, 0.8) < 3_000


def test_what_a_variant_does_not_have_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "_absent", lambda _axes, text: said.append(text))
    draw_gates(figure(row(stage(spatial=None)), row(stage(channel=None)), row(stage(spatial=None, channel=None))))
    assert said == [
        "no spatial gate",
        "no separate channel gate",
        "no separate gates:\nsee after / before",
        "no separate channel gate",
    ]


def test_picture_that_takes_too_many_bytes_is_drawn_smaller() -> None:
    noisy = replace(figure(row(stage())), image=RANDOM.integers(0, 255, (24, 32, 3), np.uint8))
    full = draw_gates(noisy, most=10**7)
    small = draw_gates(noisy, most=len(full) * 3 // 5)
    assert len(small) <= len(full) * 3 // 5
    assert Image.open(io.BytesIO(small)).width < Image.open(io.BytesIO(full)).width


def test_study_of_nine_variants_with_ten_stages_fits_into_150_kb() -> None:
    maps = [RANDOM.uniform(0, 1, (64, 64)).astype(np.float32) for _ in range(2)]
    rough = [replace(stage(site=f"decoder.{at}"), cells=(64, 64), before=maps[0], after=maps[1], spatial=maps[at % 2])
             for at in range(10)]  # fmt: skip
    assert len(draw_gates(figure(*(row(*rough, name=f"variant-{at}") for at in range(9))))) <= module.MOST_BYTES


def test_cells_beyond_the_border_are_cut() -> None:
    left, right, bottom, top = module._extent(stage(), 32)
    assert (left, top) == (-0.5, -0.5)
    assert (right, bottom) == (31.5, 23.5)


def test_study_without_pictures_has_none(tmp_path: Path) -> None:
    assert read_gate_pictures(tmp_path) == []


def test_damaged_index_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "index.json").write_text('{"images": [{"file": "../x.png", "id": "a", "caption": ""}]}')
    with pytest.raises(DataError, match=r"gates/index\.json(.|\n)*`seg-scse ablate` draws what is in this folder"):
        read_gate_pictures(tmp_path)
