import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seg_scse import distributed
from seg_scse.config import load_config
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.data.standardize import Standardizer
from seg_scse.inference.counting import count_split
from seg_scse.inference.predictor import Predictor
from seg_scse.training.panel import SIDE, Panel, PanelImage, reduce_labels, small, spread


@pytest.fixture(scope="module")
def data(tiny: list[str]) -> PreparedData:
    return prepare_data(load_config(None, tiny).data)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Four colour images of 1200 x 640 with labels that overlap: the left half is 1, the upper quarter 2."""
    root = tmp_path_factory.mktemp("large")
    for folder in ("images", "masks/red", "masks/green"):
        (root / folder).mkdir(parents=True)
    for index in range(4):
        image = np.zeros((640, 1200, 3), np.uint8)
        image[:, :600, 0], image[:160, :, 1] = 200, 150
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(image[..., 0]).save(root / "masks" / "red" / f"{index}.png")
        Image.fromarray(image[..., 1]).save(root / "masks" / "green" / f"{index}.png")
    settings = [
        f"data.root={root}",
        "data.classes=[none, red, green]",
        "data.task=multilabel",
        "data.masks=masks/{class}",
        "data.mask.encoding=files",
        "data.split.train=0.5",
        "data.split.val=0.5",
        "data.split.test=0.0",
    ]
    return prepare_data(load_config(None, settings).data)


def truth(data: PreparedData, index: int) -> np.ndarray:
    return np.array(data.store.mask(index))


def test_images_are_spread_evenly_over_the_split() -> None:
    assert spread(list(range(100, 200)), 4) == [112, 137, 162, 187]
    assert spread([5, 6, 7], 4) == [5, 6, 7]
    assert spread([5, 6, 7], 3) == [5, 6, 7]
    assert spread([5, 6, 7], 1) == [6]
    assert spread([5, 6, 7], 0) == spread([], 4) == []


def test_the_same_images_are_kept_at_each_epoch_in_the_order_of_the_split(data: PreparedData) -> None:
    val = data.manifest.indices("val")
    panel, ids = Panel(data, val, 2), [data.manifest.samples[index].id for index in spread(val, 2)]
    for order in (val, val[::-1]):
        for index in order:
            panel.on_image(index, truth(data, index))
        found = panel.collect()
        assert [image.id for image in found] == ids
    assert panel.collect() == ()  # an epoch that is not validated has none


def test_an_image_comes_with_truth_prediction_and_dice(data: PreparedData) -> None:
    (index, *_) = val = data.manifest.indices("val")
    panel = Panel(data, val, len(val))
    labels = truth(data, index)
    half = labels * (np.cumsum(labels).reshape(labels.shape) <= labels.sum() // 2)
    panel.on_image(index, half)
    (image,) = panel.collect()
    assert image.image.shape == (*labels.shape, 3)
    assert image.image.dtype == np.uint8
    assert np.array_equal(image.image[..., 0], np.asarray(data.store.image(index))[..., 0])
    assert np.array_equal(image.truth, labels)
    assert np.array_equal(image.labels, half)
    assert image.dice == pytest.approx(2 * half.sum() / (half.sum() + labels.sum()))


def test_an_image_without_foreground_has_no_score(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    index = data.manifest.indices("val")[0]
    empty = np.zeros_like(truth(data, index))
    monkeypatch.setattr(type(data.store), "mask", lambda *_: empty)
    panel = Panel(data, [index], 1)
    panel.on_image(index, empty)
    assert panel.collect()[0].dice is None


def test_validation_fills_the_panel(data: PreparedData) -> None:
    standardize = Standardizer((0.5,) * 3, (0.5,) * 3)
    predictor = Predictor.from_config(
        load_config(None, []), nn.Conv2d(3, 1, 1), standardize, torch.device("cpu"), "fp32"
    )
    val = data.manifest.indices("val")
    panel = Panel(data, val, 2)
    count_split(predictor, data, val, 2, on_image=panel.on_image)
    assert [image.id for image in panel.collect()] == [data.manifest.samples[index].id for index in panel.indices]


def test_large_images_are_reduced_and_labels_stay_labels(large: PreparedData) -> None:
    val = large.manifest.indices("val")
    panel = Panel(large, val, 1)
    labels = truth(large, panel.indices[0])
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    panel.on_image(panel.indices[0], labels)
    (image,) = panel.collect()
    assert image.truth.shape == image.labels.shape == image.image.shape[:2] == (170, SIDE)
    assert image.task == "multilabel"
    assert image.dice == 1.0
    for row, column in ((20, 80), (20, 240), (120, 80), (120, 240)):
        expected = labels[row * 640 // 170, column * 1200 // SIDE]
        assert image.truth[row, column] == expected
        assert image.image[row, column].tolist() == [200 * (expected & 1), 150 * (expected >> 1), 0]


@pytest.mark.parametrize("size", [(10, 7), (7, 10), (1, 900)])
def test_reduced_labels_are_nearest_to_the_centres(size: tuple[int, int]) -> None:
    labels = np.arange(size[0] * size[1], dtype=np.int64).reshape(size)
    assert np.array_equal(reduce_labels(labels, *size), labels)
    assert reduce_labels(labels, 1, 1)[0, 0] == labels[size[0] // 2, size[1] // 2]


def test_small_images_keep_their_size_and_narrow_ones_a_pixel() -> None:
    assert small(48, 56) == (48, 56)
    assert small(20_000, 10_000) == (SIDE, SIDE // 2)
    assert small(10_000, 3) == (SIDE, 1)


def test_images_of_several_processes_come_together_in_the_order_of_the_split(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    val = data.manifest.indices("val")
    panels = [Panel(data, val, 3), Panel(data, val, 3)]
    for place, index in enumerate(val):
        panels[place % 2].on_image(index, truth(data, index))
    shards = [dict(panel._found) for panel in panels]
    monkeypatch.setattr(distributed, "gather", lambda _: shards)
    for panel in panels:
        found = panel.collect()
        assert all(isinstance(image, PanelImage) for image in found)
        assert [image.id for image in found] == [data.manifest.samples[index].id for index in val]


def test_image_and_truth_are_read_once(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = type(data.store).image
    monkeypatch.setattr(type(data.store), "image", lambda self, index: read.append(index) or original(self, index))
    index = data.manifest.indices("val")[0]
    panel = Panel(data, [index], 1)
    for _ in range(3):
        panel.on_image(index, truth(data, index))
    assert read == [index]


def test_no_panel_is_kept_where_none_is_wanted(data: PreparedData) -> None:
    val = data.manifest.indices("val")
    panel = Panel(data, val, 0)
    panel.on_image(val[0], truth(data, val[0]))
    assert panel.collect() == ()
