import numpy as np
import pytest
import scipy.stats

from seg_scse.errors import ConfigError, DataError
from seg_scse.metrics import bootstrap as engine
from seg_scse.metrics.bootstrap import Bootstrap, bootstrap, count_units, missing_reason, unit_sums

BCA, PERCENTILE = Bootstrap("bca"), Bootstrap("percentile")


def skewed(count: int, seed: int = 0, columns: int = 1) -> np.ndarray:
    """Values like Dice: most near 0.8, some far below."""
    return np.random.default_rng(seed).beta(8, 2, (count, columns))


def with_counts(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values))])


def mean(totals: np.ndarray) -> np.ndarray:
    """Means of all columns but the last, which counts; NaN where nothing was counted."""
    known = totals[:, -1:] > 0
    return np.where(known, totals[:, :-1] / np.where(known, totals[:, -1:], 1), np.nan)


def ends(values: np.ndarray, settings: Bootstrap) -> tuple[float, float]:
    found = bootstrap(with_counts(values), mean, settings)
    return float(found.low[0]), float(found.high[0])


@pytest.mark.parametrize(("method", "name"), [("bca", "BCa"), ("percentile", "percentile")])
def test_intervals_of_a_mean_agree_with_scipy(method: str, name: str) -> None:
    data = skewed(40)[:, 0]
    expected = scipy.stats.bootstrap(
        (data,), np.mean, n_resamples=10_000, method=name, random_state=np.random.default_rng(0)
    ).confidence_interval
    found = ends(data, Bootstrap(method, resamples=10_000))
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9), "of the same draws"
    if method == "bca":
        assert found[1] < ends(data, Bootstrap("percentile", resamples=10_000))[1] - 5e-4, "BCa is another interval"


def test_the_bca_interval_of_a_ratio_agrees_with_scipy() -> None:
    random = np.random.default_rng(4)
    true = random.gamma(0.7, 900, 30)
    found = true * random.beta(6, 2, 30)
    expected = scipy.stats.bootstrap(
        (found, true),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=10_000,
        method="BCa",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    result = bootstrap(
        np.column_stack([found, true]), lambda totals: totals[:, :1] / totals[:, 1:], Bootstrap(resamples=10_000)
    )
    assert (result.low[0], result.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-9), (
        "of the same draws"
    )
    assert result.estimate[0] == pytest.approx(found.sum() / true.sum())


def test_the_percentile_interval_is_that_of_the_definition_in_loops() -> None:
    data, random = skewed(9)[:, 0], np.random.default_rng(3)
    means = [data[random.integers(0, 9, 9)].mean() for _ in range(300)]
    expected = np.quantile(means, [0.05, 0.95])
    assert ends(data, Bootstrap("percentile", 0.9, 300, 3)) == pytest.approx(expected, abs=1e-12)


def test_a_95_percent_bca_interval_of_30_skewed_scores_covers_the_mean_about_as_often() -> None:
    data = skewed(30, seed=5, columns=600)
    found = bootstrap(with_counts(data), mean, Bootstrap(resamples=2000))
    assert 0.90 <= ((found.low <= 0.8) & (found.high >= 0.8)).mean() <= 0.98


def test_images_of_a_patient_need_patients_as_units() -> None:
    random = np.random.default_rng(6)
    patients = np.repeat(random.normal(0.8, 0.1, (20, 400)), 10, axis=0)
    data = with_counts(patients + random.normal(0, 0.05, patients.shape))
    groups = np.repeat(np.arange(20), 10).tolist()
    covered = {}
    for name, units in (("grouped", groups), ("alone", None)):
        found = bootstrap(unit_sums(data, units), mean, Bootstrap(resamples=1000))
        covered[name] = ((found.low <= 0.8) & (found.high >= 0.8)).mean()
    assert covered["grouped"] > 0.88
    assert covered["alone"] < 0.65, "ten alike images are not ten images"


@pytest.mark.parametrize("settings", [BCA, PERCENTILE])
def test_equal_values_have_an_interval_of_exactly_no_width(settings: Bootstrap) -> None:
    found = bootstrap(with_counts(np.full(7, 0.1)), mean, settings)
    assert found.low[0] == found.high[0] == found.estimate[0]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.7)])
def test_resamples_that_equal_the_estimate_but_for_rounding_count_half(low: float, high: float) -> None:
    ends_found = ends(np.array([low, high] * 10), BCA)
    assert sum(ends_found) == pytest.approx(low + high), "symmetric data give a symmetric interval"
    assert ends_found[0] == pytest.approx(low + 0.3 * (high - low))


@pytest.mark.parametrize(("holders", "reliable"), [(1, False), (3, False), (4, False), (5, True), (20, True)])
def test_a_class_in_too_few_units_has_an_estimate_and_no_interval(holders: int, reliable: bool) -> None:
    holds = np.arange(60) < holders
    sums = np.column_stack([np.where(holds, skewed(60)[:, 0], 0.0), holds])
    for settings in (BCA, PERCENTILE):
        found = bootstrap(sums, mean, settings)
        assert found.estimate[0] == pytest.approx(skewed(60)[:holders, 0].mean())
        assert found.undefined[0] == pytest.approx((1 - holders / 60) ** 60, abs=0.02)
        assert np.isfinite([found.low[0], found.high[0]]).all() == reliable


def test_undefined_resamples_are_left_out_of_the_quantiles() -> None:
    data, holds = skewed(60)[:, 0], np.arange(60) < 5
    found = bootstrap(np.column_stack([np.where(holds, data, 0.0), holds]), mean, PERCENTILE)
    random, means = np.random.default_rng(0), []
    for _ in range(PERCENTILE.resamples):
        drawn = random.integers(0, 60, 60)
        if (drawn < 5).any():
            means.append(data[drawn[drawn < 5]].mean())
    assert found.undefined[0] == pytest.approx(1 - len(means) / PERCENTILE.resamples)
    assert found.undefined[0] > 0.004
    assert (found.low[0], found.high[0]) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-12)


@pytest.mark.parametrize("units", [0, 1])
def test_fewer_than_two_units_have_no_interval(units: int) -> None:
    found = bootstrap(with_counts(skewed(units)), mean, BCA)
    assert np.isnan([found.low[0], found.high[0], found.undefined[0]]).all()
    assert np.isnan(found.estimate[0]) == (units == 0)


def test_the_result_depends_on_the_seed_and_not_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = skewed(37)
    whole, other = ends(data, BCA), ends(data, Bootstrap(seed=1))
    assert ends(data, BCA) == whole != other
    monkeypatch.setattr(engine, "CHUNK", 100)
    assert ends(data, BCA) == pytest.approx(whole, abs=1e-12)


def test_no_more_draws_than_the_chunk_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNK", 1000)
    held = []

    def statistic(totals: np.ndarray) -> np.ndarray:
        held.append(len(totals))
        return mean(totals)

    bootstrap(with_counts(skewed(10)), statistic, Bootstrap("percentile", resamples=1050))
    assert held == [1, *[100] * 10, 50], "the estimate, then resamples of 10 units each"


def test_the_level_sets_the_width() -> None:
    data = np.random.default_rng(0).normal(0.5, 0.1, 60)
    widths = [np.ptp(ends(data, Bootstrap(level=level))) for level in (0.5, 0.95)]
    assert widths == pytest.approx([2 * z * data.std() / 60**0.5 for z in (0.674, 1.96)], rel=0.05)


def test_units_are_summed_in_order_of_first_appearance() -> None:
    values = np.arange(8.0).reshape(4, 2)
    assert unit_sums(values, ["b", "a", "b", "c"]).tolist() == [[4, 6], [2, 3], [6, 7]]
    assert unit_sums(values, None) is values
    assert (count_units(4, ["b", "a", "b", "c"]), count_units(4, None)) == (3, 4)


def test_a_missing_group_is_refused() -> None:
    with pytest.raises(DataError, match="2 images have 1 groups: give one for each"):
        unit_sums(np.ones((2, 1)), ["a"])


@pytest.mark.parametrize(
    ("units", "grouped", "runs", "reason"),
    [
        (1, False, None, "an interval needs at least two images, not 1"),
        (0, True, 3, "an interval needs at least two groups, not 0"),
        (2, False, 1, "an interval over runs needs at least two runs, not 1"),
        (2, False, None, ""),
        (2, True, 2, ""),
    ],
)
def test_the_reason_names_what_is_too_few(units: int, grouped: bool, runs: int | None, reason: str) -> None:
    assert missing_reason(units, grouped, runs) == reason


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "basic"}, "method = 'basic' is no kind of interval: use bca or percentile"),
        ({"level": 1.0}, "level = 1.0 must lie between 0 and 1"),
        ({"resamples": 0}, "resamples = 0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bootstrap(**values)
