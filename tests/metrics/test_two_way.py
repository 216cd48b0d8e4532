import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from seg_scse.metrics.two_way import (
    SMALLEST,
    Components,
    MeanSquares,
    Spread,
    components_of,
    linearised,
    mean_squares,
    p_value,
    spread_of,
)

VAN_DYKE = MeanSquares(2 * 0.06281749, 2 * 0.09984808, 2 * 0.0399716)
"""Of the differences of two modalities, 5 readers and 114 cases: twice MS(TR), MS(TC) and MS(TRC) of Chakraborty's
RJafroc for the Van Dyke data with the Wilcoxon area."""


def table(seeds: int = 4, units: int = 9, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (
        random.normal(0.01, 0.02, (seeds, 1)) + random.normal(0, 0.03, units) + random.normal(0, 0.01, (seeds, units))
    )


def with_mean_squares(found: MeanSquares, mean: float, seeds: int, units: int) -> np.ndarray:
    drawn = np.random.default_rng(1).normal(0, 1, (seeds, units))
    rows, columns = (drawn.mean(axis=axis, keepdims=True) - drawn.mean() for axis in (1, 0))
    parts = (rows, columns, drawn - drawn.mean() - rows - columns)
    scales = np.sqrt(np.array(found) / np.array(mean_squares(drawn)))
    return mean + sum(scale * part for scale, part in zip(scales, parts, strict=True))


def explained(y: np.ndarray, *factors: np.ndarray) -> float:
    columns = [np.ones((len(y), 1))] + [(factor[:, None] == np.unique(factor)).astype(float) for factor in factors]
    design = np.hstack(columns)
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(((fitted - y.mean()) ** 2).sum())


def test_the_mean_squares_are_those_of_a_least_squares_fit() -> None:
    values = table()
    y, seed, unit = values.ravel(), np.repeat(np.arange(4), 9), np.tile(np.arange(9), 4)
    of_seeds, of_units = explained(y, seed), explained(y, unit)
    rest = ((y - y.mean()) ** 2).sum() - explained(y, seed, unit)
    assert mean_squares(values) == pytest.approx((of_seeds / 3, of_units / 8, rest / 24))


def test_the_standard_error_of_a_published_reader_study_is_reproduced() -> None:
    values = with_mean_squares(VAN_DYKE, -0.043800322, 5, 114)
    spread = spread_of(mean_squares(values), 5, 114)
    assert (0.043800322 / spread.total) ** 2 == pytest.approx(4.4563187, rel=1e-6)  # F of the publication
    assert (spread.seed_df, spread.unit_df) == (4, 113)


def test_the_benchmark_reproduces_the_p_value_of_the_published_reader_study() -> None:
    place = Path(__file__).parents[2] / "benchmarks" / "ablation.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_ablation", place)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.hillis(with_mean_squares(VAN_DYKE, -0.043800322, 5, 114)) == pytest.approx(0.051665686, rel=1e-6)


def test_the_components_of_a_large_drawn_table_are_those_it_was_drawn_with() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 0.02, (300, 1)) + random.normal(0, 0.05, 300) + random.normal(0, 0.1, (300, 300))
    found = components_of(mean_squares(values), 300, 300)
    assert (found.seed, found.image, found.interaction) == pytest.approx((0.02, 0.05, 0.1), rel=0.15)


def test_a_component_below_zero_counts_as_zero() -> None:
    assert components_of(MeanSquares(1.0, 1.0, 4.0), 3, 10) == Components(0.0, 0.0, 2.0)
    assert spread_of(MeanSquares(1.0, 1.0, 4.0), 3, 10).units == 0.0


def test_the_interval_over_seeds_alone_is_that_of_students_t() -> None:
    spread = Spread(0.01, 0.0, 2, 99)
    assert spread.half_width(0.05) == pytest.approx(0.01 * stats.t.isf(0.025, 2))
    assert p_value(0.03, spread) == pytest.approx(2 * stats.t.sf(3, 2), rel=1e-9)


def test_the_interval_over_units_alone_is_that_of_students_t() -> None:
    spread = Spread(0.0, 0.01, 1, 14)
    assert spread.half_width(0.1) == pytest.approx(0.01 * stats.t.isf(0.05, 14))
    assert p_value(-0.02, spread) == pytest.approx(2 * stats.t.sf(2, 14), rel=1e-9)


def test_the_half_widths_of_seeds_and_units_add_in_squares() -> None:
    seeds, units = 0.01 * stats.t.isf(0.025, 2), 0.02 * stats.t.isf(0.025, 30)
    assert Spread(0.01, 0.02, 2, 30).half_width(0.05) == pytest.approx(math.hypot(seeds, units))


def test_seeds_that_agree_by_chance_do_not_make_the_interval_shorter_than_the_rest_allows() -> None:
    found = MeanSquares(seed=0.1, unit=4.0, rest=4.0)
    rest = math.sqrt(4.0 / (3 * 20)) * stats.t.isf(0.025, 2 * 19)
    assert spread_of(found, 3, 20).half_width(0.05) == pytest.approx(rest)
    wide = spread_of(MeanSquares(seed=8.0, unit=4.0, rest=4.0), 3, 20)
    assert wide.half_width(0.05) == pytest.approx(math.sqrt(8.0 / 60) * stats.t.isf(0.025, 2))


@pytest.mark.parametrize("mean", [0.001, 0.01, 0.05, 0.3])
def test_the_p_value_is_the_one_whose_interval_just_reaches_zero(mean: float) -> None:
    spread = Spread(0.004, 0.006, 2, 40)
    assert spread.half_width(p_value(mean, spread)) == pytest.approx(mean)


def test_a_mean_of_zero_without_spread_has_p_one_and_another_the_smallest() -> None:
    assert p_value(0.0, Spread(0.0, 0.0, 2, 9)) == 1.0
    assert p_value(0.1, Spread(0.0, 0.0, 2, 9)) == SMALLEST


def test_the_mean_of_linearised_units_is_the_mean_over_images() -> None:
    by_unit, images = np.array([[0.1, 0.4], [0.3, 0.2]]), np.array([3.0, 1.0])
    found = linearised(by_unit, images)
    assert found.mean(axis=1) == pytest.approx([(3 * 0.1 + 0.4) / 4, (3 * 0.3 + 0.2) / 4])
    assert linearised(by_unit, np.array([2.0, 2.0])) == pytest.approx(by_unit)
