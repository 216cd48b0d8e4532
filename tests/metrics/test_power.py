import math

import numpy as np
import pytest

from seg_scse.errors import ConfigError
from seg_scse.metrics.power import detectable_difference, expected_half_width, half_width, units_needed


@pytest.mark.parametrize(("units", "points"), [(20, 4.4), (60, 2.5), (100, 2.0), (520, 0.9)])
def test_the_half_width_at_a_spread_of_a_tenth_is_that_of_the_docs(units: int, points: float) -> None:
    assert round(100 * expected_half_width(0.1, units), 1) == points


def test_half_of_an_interval_is_its_half_width() -> None:
    assert half_width(0.7, 0.8) == pytest.approx(0.05)


@pytest.mark.parametrize("ends", [(None, None), (math.nan, math.nan), (0.1, None)])
def test_no_interval_has_no_half_width(ends: tuple) -> None:
    assert half_width(*ends) is None


@pytest.mark.parametrize(
    ("width", "units", "wanted", "needed"),
    [(0.04, 20, 0.02, 80), (0.03, 20, 0.02, 45), (0.02, 50, 0.02, 50), (0.01, 50, 0.02, 13), (0.0, 50, 0.02, 1)],
)
def test_half_the_width_needs_four_times_the_units(width: float, units: int, wanted: float, needed: int) -> None:
    assert units_needed(width, units, wanted) == needed


def test_units_needed_give_the_width_wanted_and_one_less_does_not() -> None:
    needed = units_needed(expected_half_width(0.1, 33), 33, 0.01)
    assert expected_half_width(0.1, needed) <= 0.01 < expected_half_width(0.1, needed - 1)


def test_a_detectable_difference_is_detected_in_four_of_five_studies() -> None:
    difference = detectable_difference(0.05, 100)
    assert difference == pytest.approx((1.959964 + 0.841621) * 0.005, rel=1e-6)
    means = np.random.default_rng(0).normal(difference, 0.05, (4000, 100)).mean(axis=1)
    assert (means > 1.96 * 0.005).mean() == pytest.approx(0.8, abs=0.02)


def test_more_power_and_a_higher_level_need_a_larger_difference() -> None:
    usual = detectable_difference(0.05, 100)
    assert detectable_difference(0.05, 100, power=0.9) > usual < detectable_difference(0.05, 100, level=0.99)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_half_width(-0.1, 20), "spread of -0.1 must be a number of at least 0"),
        (lambda: expected_half_width(math.nan, 20), "spread of nan"),
        (lambda: expected_half_width(0.1, 0), "units = 0 must be at least 1"),
        (lambda: expected_half_width(0.1, 20, level=1.0), "level = 1.0 must lie between"),
        (lambda: units_needed(0.1, 20, 0.0), "half-width wanted is 0.0: it must be above 0"),
        (lambda: detectable_difference(0.1, 20, power=0.0), "power = 0.0 must lie between"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
