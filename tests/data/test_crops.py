"""Crops around classes: how many hold a rare class, where the pixel lies in them, and that draws are pure."""

from collections import Counter

import numpy as np
import pytest

from seg_scse.config.schema import IGNORE_INDEX, AugmentationConfig
from seg_scse.data import places as places_module
from seg_scse.data.crops import Placement, start_around
from seg_scse.data.dataset import TrainingSet
from seg_scse.data.places import MOST_PLACES, Places, find_places, remembered_places
from seg_scse.data.transforms import build_transform

from .numeric import drawn, prepare, write

SIDE, CROP = 400, 40


def counts_of(mask):
    return {int(v): int(n) for v, n in zip(*np.unique(mask, return_counts=True), strict=True)}


class Scene:
    """One large image; class 1 everywhere in the right half, class 2 in a few pixels, some ignored."""

    def __init__(self, size=(SIDE, SIDE)):
        self.labels = np.zeros(size, np.uint8)
        self.labels[:, size[1] // 2 :] = 1
        self.labels[20:24, 30:34] = 2
        self.labels[-9:] = IGNORE_INDEX

    def image(self, index):
        return np.zeros((*self.labels.shape, 1), np.uint8)

    def mask(self, index):
        return self.labels

    def places(self, index):
        table, counts = find_places(self.labels, counts_of(self.labels)), counts_of(self.labels)
        pixels = {k: table[table[:, 0] == k, 1:] for k in np.unique(table[:, 0]).tolist()}
        return Places(pixels, {k: counts[k] for k in pixels})


def crops_of(placement, preset="none", size=(SIDE, SIDE), draws=300):
    transform = build_transform(AugmentationConfig(preset=preset), CROP)
    dataset = TrainingSet(Scene(size), [0], transform, 7, placement)
    return [dataset[(0, draw, 0)]["mask"].numpy() for draw in range(draws)]


def share(crops, label):
    return np.mean([(crop == label).any() for crop in crops])


@pytest.mark.parametrize("preset", ["none", "flips"])
def test_every_second_crop_and_more_holds_a_class_that_random_crops_hardly_show(preset):
    assert share(crops_of(None, preset), 2) < 0.05
    # half of the crops are placed, and a third of those around class 2
    assert 0.11 < share(crops_of(Placement("class", 0.5), preset), 2) < 0.25
    assert 0.26 < share(crops_of(Placement("class", 1.0), preset), 2) < 0.42


def test_most_placed_crops_still_hold_their_class_after_rotation_and_scale():
    assert share(crops_of(Placement("class", 1.0), "light"), 2) > 0.2


def test_foreground_crops_hold_foreground_in_proportion_to_its_pixels():
    crops = crops_of(Placement("foreground", 1.0))
    assert all(((crop == 1) | (crop == 2)).any() for crop in crops)
    assert share(crops, 2) < 0.05
    assert share(crops_of(Placement("foreground", 0.0)), 1) < 0.7


def test_classes_are_drawn_evenly_with_background():
    placement, scene = Placement("class", 1.0), Scene()
    places = scene.places(0)
    drawn_labels = Counter(
        int(scene.labels[placement.pixel(places, np.random.default_rng([1, i]))]) for i in range(900)
    )
    assert set(drawn_labels) == {0, 1, 2}
    assert all(250 < count < 350 for count in drawn_labels.values())


def test_the_share_is_the_share_of_placed_crops():
    placement, places = Placement("foreground", 0.3), Scene().places(0)
    placed = [placement.pixel(places, np.random.default_rng([2, i])) is not None for i in range(1000)]
    assert 0.25 < np.mean(placed) < 0.35


def test_an_image_without_foreground_is_cropped_anywhere():
    places = Places({0: np.zeros((1, 2), np.int32)}, {0: 9})
    assert Placement("foreground", 1.0).pixel(places, np.random.default_rng(0)) is None
    assert Placement("class", 1.0).pixel(Places({}, {}), np.random.default_rng(0)) is None


@pytest.mark.parametrize("pixel", [0, 3, 50, 96, 99])
def test_a_pixel_lies_anywhere_in_its_crop_and_the_crop_in_the_image(pixel):
    rng = np.random.default_rng(3)
    starts = {start_around(pixel, 100, 30, rng) for _ in range(2000)}
    assert starts == {s for s in range(71) if s <= pixel < s + 30}


@pytest.mark.parametrize("size", [(30, 300), (300, 30), (25, 35), (40, 40), (41, 40)])
def test_sides_smaller_than_the_crop_are_taken_whole(size):
    for crop in crops_of(Placement("class", 1.0), size=size, draws=40):
        assert crop.shape == (CROP, CROP)
        assert (crop != IGNORE_INDEX).any(axis=0).sum() == min(CROP, size[1])


def test_a_placed_draw_depends_on_seed_and_key_only():
    first, second = (crops_of(Placement("class", 0.7), draws=20) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({crop.tobytes() for crop in first}) > 3  # most hold one class only


def test_only_the_window_is_read():
    class Guarded:
        shape, dtype = (100_000, 100_000), np.dtype(np.uint8)

        def __init__(self, bands=()):
            self.shape = (100_000, 100_000, *bands)

        def __getitem__(self, window):
            sizes = [part.stop - part.start for part in window]
            assert max(sizes) <= 2 * CROP
            return np.full((*sizes, *self.shape[2:]), 3, np.uint8)

        def __array__(self, *_):
            raise AssertionError("the whole image was read")

    transform = build_transform(AugmentationConfig(preset="flips"), CROP)
    image, mask = transform(Guarded((5,)), Guarded(), 1, (70_000, 99_999))
    assert (image == 3).all()
    assert mask.shape == (CROP, CROP)


@pytest.mark.parametrize("strip_pixels", [1 << 22, 1000])
def test_places_are_evenly_spread_pixels_of_each_class(monkeypatch, strip_pixels):
    monkeypatch.setattr("seg_scse.data.bands.STRIP_PIXELS", strip_pixels)
    mask = Scene().labels
    table = find_places(mask, counts_of(mask))
    assert all(mask[row, column] == label for label, row, column in table)
    numbers = Counter(table[:, 0].tolist())
    assert numbers[2] == 16
    assert MOST_PLACES / 2 < numbers[0] <= MOST_PLACES
    assert MOST_PLACES / 2 < numbers[1] <= MOST_PLACES
    assert IGNORE_INDEX not in numbers
    rows = table[table[:, 0] == 1, 1]
    assert np.histogram(rows, 4, (0, SIDE - 9))[0].min() > len(rows) / 5


def test_places_are_found_once_and_kept(tmp_path, monkeypatch):
    mask, calls = Scene().labels, []
    original = places_module.find_places
    monkeypatch.setattr(places_module, "find_places", lambda *args: calls.append(1) or original(*args))
    first, second = (remembered_places(tmp_path / "a.places", mask, counts_of(mask)) for _ in range(2))
    assert len(calls) == 1
    assert first.pixels.keys() == second.pixels.keys() == {0, 1, 2}
    assert all(np.array_equal(first.pixels[k], second.pixels[k]) for k in first.pixels)
    assert first.counts == {k: n for k, n in counts_of(mask).items() if k != IGNORE_INDEX}
    (tmp_path / "a.places").write_bytes(b"1234567")
    assert remembered_places(tmp_path / "a.places", mask, counts_of(mask)).counts == first.counts


@pytest.mark.parametrize("number", [0.5, None])
def test_places_of_a_store_are_those_of_its_masks(tmp_path, number):
    gigabytes = number and number * 20 * 24 * 3 / 1e9
    store = prepare(write(tmp_path / "d", drawn("uint16", 1)), 1, cache_gb=gigabytes)
    mask, places = np.asarray(store.mask(1)), store.places(1)
    assert places.counts == counts_of(mask)
    for label, pixels in places.pixels.items():
        assert (mask[pixels[:, 0], pixels[:, 1]] == label).all()
        assert len({tuple(pixel) for pixel in pixels.tolist()}) == len(pixels) == places.counts[label]
