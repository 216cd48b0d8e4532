import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.tally import BandRow, SplitRow, count_everything, present_classes
from seg_scse.data.files.raster import Place

from .facts import pair


def test_classes_are_counted_by_split_in_pixels_and_images() -> None:
    pairs = [
        pair("a", "train", class_pixels={0: 15, 1: 5}),
        pair("b", "train", class_pixels={0: 20}),
        pair("c", "test", class_pixels={0: 8, 1: 8, 255: 4}),
    ]
    tally = count_everything(pairs, DataConfig())
    background, foreground = tally.classes
    assert (background.name, foreground.name) == ("background", "foreground")
    assert foreground.pixels == {"train": 5, "test": 8}
    assert foreground.images == {"train": 1, "test": 1}
    assert background.images == {"train": 2, "test": 1}
    assert tally.splits == {"train": SplitRow(2, 40, 0, 1), "test": SplitRow(1, 20, 4, 0)}


def test_bands_are_measured_over_valid_pixels_only() -> None:
    pairs = [
        pair("a", valid=10, sums=(10.0,), squares=(20.0,), minima=(-1.0,), maxima=(3.0,)),
        pair("b", valid=30, sums=(90.0,), squares=(400.0,), minima=(0.5,), maxima=(9.0,)),
        pair("c", valid=0, sums=(0.0,), squares=(0.0,), minima=(float("inf"),), maxima=(float("-inf"),)),
    ]
    tally = count_everything(pairs, DataConfig(channels="gray"))
    assert tally.bands == (BandRow("gray", 2.5, pytest.approx((420 / 40 - 6.25) ** 0.5), -1.0, 9.0),)


def test_sizes_types_and_places_are_counted() -> None:
    place = Place("EPSG:32750", None, (10.0, 10.0), "m")
    pairs = [pair("a", place=place), pair("b", place=place, shape=(100, 2, 3)), pair("c", dtype="uint16")]
    tally = count_everything(pairs, DataConfig())
    assert tally.sizes == {(4, 5): 2, (100, 2): 1}
    assert tally.size_range == ((4, 5), (4, 5), (100, 2))
    assert tally.dtypes == {"uint8": 2, "uint16": 1}
    assert tally.places == {("EPSG:32750", 10.0, 10.0, "m"): 2}
    assert tally.unplaced == 1


def test_samples_that_were_not_divided_have_a_column_of_their_own() -> None:
    assert list(count_everything([pair("a", None), pair("b", None)], DataConfig()).splits) == ["undivided"]


def test_nothing_is_counted_of_no_samples() -> None:
    tally = count_everything([], DataConfig())
    assert (tally.size_range, tally.bands, tally.splits) == (None, (), {})


def test_ignored_pixels_are_no_class() -> None:
    entry = pair("a", class_pixels={0: 1, 2: 5, 255: 14})[1]
    assert present_classes(entry) == {0, 2}
    assert present_classes(entry, 1) == {2}
