import math

import numpy as np
import pytest

from seg_scse.errors import ConfigError
from seg_scse.metrics.power import detectable_difference


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
        (lambda: detectable_difference(-0.1, 20), "spread of -0.1 must be a number of at least 0"),
        (lambda: detectable_difference(math.nan, 20), "spread of nan"),
        (lambda: detectable_difference(0.1, 0), "units = 0 must be at least 1"),
        (lambda: detectable_difference(0.1, 20, level=1.0), "level = 1.0 must lie between"),
        (lambda: detectable_difference(0.1, 20, power=0.0), "power = 0.0 must lie between"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
