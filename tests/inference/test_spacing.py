import pytest

from seg_scse.config.schema import EvaluationConfig
from seg_scse.data.files.raster import Place
from seg_scse.errors import DataError
from seg_scse.inference.spacing import Spacing, sample_spacings

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
