import pytest

from seg_scse.config.schema import EvaluationConfig
from seg_scse.data.files.raster import Place
from seg_scse.errors import ConfigError, DataError
from seg_scse.inference.spacing import (
    Spacing,
    sample_spacings,
    trained_spacing,
    training_resample,
    typical_spacing,
)

from .drawn import drawn


def place(unit: str, *spacing: float) -> Place:
    return Place("EPSG:32750", None, spacing, unit)


def test_the_configured_spacing_rules_over_the_files() -> None:
    data = drawn(2, places=[place("m", 10.0, 10.0), None])
    settings = EvaluationConfig(spacing=(0.5, 0.25), unit="mm")
    assert sample_spacings(settings, data, [0, 1]) == [Spacing(0.5, 0.25, "mm")] * 2


def test_the_files_tell_the_spacing_of_each_sample() -> None:
    data = drawn(3, places=[place("mm", 0.7, 0.8), None, place("mm", 0.5, 0.5)])
    assert sample_spacings(EvaluationConfig(), data, [2, 0]) == [Spacing(0.5, 0.5, "mm"), Spacing(0.7, 0.8, "mm")]


def test_without_a_length_a_pixel_is_one_pixel() -> None:
    data = drawn(3, places=[place("degree", 1e-4, 1e-4), None, place("unknown", 3.0, 3.0)])
    assert sample_spacings(EvaluationConfig(), data, [0, 1, 2]) == [Spacing(1.0, 1.0, "px")] * 3


def test_samples_of_two_units_are_refused_by_name_with_the_cure() -> None:
    data = drawn(3, places=[place("m", 10.0, 10.0), place("m", 20.0, 20.0), None])
    assert [spacing.height for spacing in sample_spacings(EvaluationConfig(), data, [0, 1])] == [10.0, 20.0]
    with pytest.raises(DataError, match=r"files of s00 give .* in m, those of s02 in px.*evaluation\.spacing=\[1,1\]"):
        sample_spacings(EvaluationConfig(), data, [0, 1, 2])


def test_the_typical_spacing_is_the_median_of_each_side() -> None:
    places = [place("mm", 0.5, 2.0), place("mm", 0.7, 1.0), place("mm", 0.6, 9.0)]
    assert typical_spacing(places) == Spacing(0.6, 2.0, "mm")
    assert typical_spacing([place("m", 10.0, 10.0)]) == Spacing(10.0, 10.0, "m")


@pytest.mark.parametrize("others", [[None], [place("m", 1.0, 1.0)], [place("degree", 1.0, 1.0)]])
def test_there_is_no_typical_spacing_of_images_without_one_unit(others: list[Place | None]) -> None:
    assert typical_spacing([place("mm", 1.0, 1.0), *others]) is None
    assert typical_spacing(others if others[0] is None else []) is None


def test_a_checkpoint_tells_the_spacing_that_slices_are_brought_to() -> None:
    assert training_resample({"spacing": [0.6, 0.8, "mm"]}) == (0.6, 0.8)
    assert trained_spacing({"spacing": [0.6, 0.8, "mm"]}) == Spacing(0.6, 0.8, "mm")
    assert trained_spacing({"spacing": None}) is trained_spacing({}) is None


@pytest.mark.parametrize(("state", "found"), [({}, "none"), ({"spacing": [10.0, 10.0, "m"]}, "10 x 10 m")])
def test_a_checkpoint_without_millimetres_is_refused_with_the_cure(state: dict[str, object], found: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"no size in mm of the training pixels \({found}\)\. Give the size, such as"
    ):
        training_resample(state)
