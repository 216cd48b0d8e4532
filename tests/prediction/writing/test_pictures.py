"""Images under the colours of their classes."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from seg_scse.prediction.writing import pictures
from seg_scse.prediction.writing.pictures import write_overlay
from seg_scse.report.overlays import bit_layer, label_layer


@dataclass
class Drawn:
    """An image whose red is its row and whose green is its column, modulo 256."""

    shape: tuple[int, int, int]
    read: list[int] = field(default_factory=list)

    def display(self, rows, columns, step=1):
        self.read.append(rows.stop - rows.start)
        grid = np.mgrid[rows.start : rows.stop : step, columns.start : columns.stop : step] % 256
        return np.stack([*grid, np.zeros_like(grid[0])], axis=2).astype(np.uint8)


def labels_of(shape: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[shape[0] // 4 : shape[0] // 2, shape[1] // 4 :] = 3
    labels[: shape[0] // 8] = 255
    return labels


def cut(labels: np.ndarray, height: int) -> list[np.ndarray]:
    return [labels[row : row + height] for row in range(0, len(labels), height)]


@pytest.mark.parametrize(("task", "layer"), [("multiclass", label_layer), ("multilabel", bit_layer)])
def test_classes_lie_over_the_image(tmp_path, task, layer):
    labels, image = labels_of((70, 90)), Drawn((70, 90, 3))
    write_overlay(tmp_path / "a.png", image, cut(labels, 33), task=task)
    below = Image.fromarray(image.display(slice(0, 70), slice(0, 90))).convert("RGBA")
    expected = Image.alpha_composite(below, layer(labels).convert("RGBA")).convert("RGB")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


@pytest.mark.parametrize("shape", [(1000, 640), (333, 1001), (65, 64), (64, 64)], ids=str)
def test_a_scene_is_reduced_alike_down_and_across(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(pictures, "LONGEST", 64)
    monkeypatch.setattr(pictures, "_ROWS", 50)
    step = -(-max(shape) // 64)
    image, labels = Drawn((*shape, 3)), labels_of(shape)
    write_overlay(tmp_path / "a.png", image, cut(labels, 77))
    below = Image.fromarray(image.display(slice(0, shape[0]), slice(0, shape[1]), step)).convert("RGBA")
    expected = Image.alpha_composite(below, label_layer(labels[::step, ::step]).convert("RGBA")).convert("RGB")
    with Image.open(tmp_path / "a.png") as picture:
        assert max(picture.size) <= 64
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_a_scene_is_read_by_rows(tmp_path):
    image = Drawn((5000, 40, 3))
    write_overlay(tmp_path / "a.png", image, cut(np.zeros((5000, 40), np.uint8), 384))
    assert max(image.read) <= 600
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (14, 1667)


def test_strips_of_another_image_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the strips end at row 30"):
        write_overlay(tmp_path / "a.png", Drawn((40, 20, 3)), [np.zeros((30, 20), np.uint8)])
    assert not list(tmp_path.iterdir())
