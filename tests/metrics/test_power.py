import math

import numpy as np
import pytest

from seg_scse.errors import ConfigError
from seg_scse.metrics.power import detectable_crossed, detectable_difference, needed
from seg_scse.metrics.two_way import Components, mean_squares, p_value, spread_of

COMPONENTS = Components(seed=0.004, image=0.02, interaction=0.04)


def test_a_detectable_difference_is_detected_in_four_of_five_studies() -> None:
    difference = detectable_difference(0.05, 100)
    assert difference == pytest.approx((1.959964 + 0.841621) * 0.005, rel=1e-6)
    means = np.random.default_rng(0).normal(difference, 0.05, (4000, 100)).mean(axis=1)
    assert (means > 1.96 * 0.005).mean() == pytest.approx(0.8, abs=0.02)


def test_more_power_and_a_higher_level_need_a_larger_difference() -> None:
    usual = detectable_difference(0.05, 100)
    assert detectable_difference(0.05, 100, power=0.9) > usual < detectable_difference(0.05, 100, level=0.99)


@pytest.mark.parametrize(
    ("components", "seeds", "units"),
    [
        (Components(0.01, 0.005, 0.005), 2, 50),
        (Components(0.0005, 0.05, 0.01), 3, 15),
        (COMPONENTS, 3, 50),
        (COMPONENTS, 10, 133),
    ],
    ids=["seeds", "images", "few", "many"],
)
def test_a_detectable_difference_over_seeds_is_found_in_four_of_five_studies(
    components: Components, seeds: int, units: int
) -> None:
    random = np.random.default_rng(0)
    difference, found = detectable_crossed(components, seeds, units, tests=4), 0
    for _ in range(800):
        table = difference + random.normal(0, components.seed, (seeds, 1)) + random.normal(0, components.image, units)
        table = table + random.normal(0, components.interaction, (seeds, units))
        found += p_value(table.mean(), spread_of(mean_squares(table), seeds, units)) <= 0.05 / 4
    assert found / 800 == pytest.approx(0.8, abs=0.045)


def test_the_seeds_needed_are_the_fewest_that_find_the_difference() -> None:
    plan = needed(COMPONENTS, 5, 133, tests=3, difference=0.01)
    assert plan.difference == 0.01
    assert (
        detectable_crossed(COMPONENTS, plan.seeds, 133, 3)
        <= 0.01
        < detectable_crossed(COMPONENTS, plan.seeds - 1, 133, 3)
    )
    assert (
        detectable_crossed(COMPONENTS, 5, plan.images, 3)
        <= 0.01
        < detectable_crossed(COMPONENTS, 5, plan.images - 1, 3)
    )


def test_no_number_of_seeds_is_enough_where_the_images_leave_the_difference_in_doubt() -> None:
    assert needed(Components(0.001, 0.05, 0.001), 5, 50).seeds is None
    assert needed(Components(0.001, 0.05, 0.001), 5, 50).images == 888


def test_no_number_of_images_is_enough_where_the_seeds_leave_the_difference_in_doubt() -> None:
    plan = needed(Components(0.01, 0.001, 0.02), 3, 50)
    assert plan.images is None
    assert plan.seeds == 37


def test_two_seeds_and_two_units_are_the_fewest_needed() -> None:
    plan = needed(Components(0.0, 0.0, 1e-9), 5, 50)
    assert (plan.seeds, plan.images) == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detectable_difference(-0.1, 20), "spread of -0.1 must be a number of at least 0"),
        (lambda: detectable_difference(math.nan, 20), "spread of nan"),
        (lambda: detectable_difference(0.1, 0), "units = 0 must be at least 1"),
        (lambda: detectable_difference(0.1, 20, level=1.0), "level = 1.0 must lie between"),
        (lambda: detectable_difference(0.1, 20, power=0.0), "power = 0.0 must lie between"),
        (lambda: detectable_crossed(COMPONENTS, 1, 20), "seeds = 1 must be at least 2"),
        (lambda: detectable_crossed(COMPONENTS, 3, 1), "units = 1 must be at least 2"),
        (lambda: detectable_crossed(COMPONENTS, 3, 20, 0), "tests = 0 must be at least 1"),
        (lambda: detectable_crossed(COMPONENTS, 3, 20, power=1.0), "power = 1.0 must lie between"),
        (lambda: detectable_crossed(Components(0.1, -1.0, 0.1), 3, 20), "spread of -1.0 must be"),
        (lambda: needed(COMPONENTS, 3, 20, level=0.0), "level = 0.0 must lie between"),
        (lambda: needed(COMPONENTS, 3, 20, difference=0.0), "difference = 0.0 must be above 0"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
