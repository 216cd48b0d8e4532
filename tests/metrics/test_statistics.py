import numpy as np
import pytest
import scipy.stats

from seg_scse.errors import ConfigError, DataError
from seg_scse.metrics import bootstrap as engine
from seg_scse.metrics.statistics import mean_interval, paired_interval


def values(count: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.02, 0.05, count)


def brute_force(differences: np.ndarray, units: list[list[int]], resamples: int, seed: int) -> tuple[float, float]:
    """The definition in loops: draw units with replacement, and average everything that was drawn."""
    random = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = [units[random.integers(0, len(units))] for _ in units]
        members = [index for unit in drawn for index in unit]
        means.append(sum(differences[index] for index in members) / len(members))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def test_the_interval_is_that_of_the_definition_in_loops() -> None:
    data = values()
    interval = paired_interval(data, resamples=400, seed=7)
    assert interval.mean == pytest.approx(data.mean(), abs=1e-15)
    expected = brute_force(data, [[index] for index in range(len(data))], 400, 7)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
    assert (interval.n, interval.reason) == (12, "")


def test_groups_are_resampled_as_wholes_and_weigh_by_their_images() -> None:
    data, groups = values(), list("aaaabbbcddee")
    units = [[index for index, group in enumerate(groups) if group == name] for name in "abcde"]
    interval = paired_interval(data, groups, resamples=400, seed=7)
    assert (interval.low, interval.high) == pytest.approx(brute_force(data, units, 400, 7), abs=1e-12)
    assert interval.n == 5
    assert interval.mean == pytest.approx(data.mean()), "the mean is over images, not over groups"


def test_copies_of_an_image_in_one_group_do_not_narrow_the_interval() -> None:
    data = values()
    copied = paired_interval(np.repeat(data, 10), np.repeat(np.arange(12), 10).tolist())
    alone = paired_interval(data)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_the_interval_agrees_with_scipy() -> None:
    data = values(60)
    expected = scipy.stats.bootstrap(
        (data,), np.mean, n_resamples=20_000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    interval = paired_interval(data, resamples=20_000)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=3e-4)


def test_a_95_percent_interval_covers_the_truth_about_95_percent_of_the_time() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        interval = paired_interval(random.normal(0.01, 0.1, 60), resamples=500)
        covered += interval.low <= 0.01 <= interval.high
    assert 0.92 <= covered / 400 <= 0.97


def test_the_level_sets_the_width() -> None:
    data = values(60)
    widths = [paired_interval(data, level=level) for level in (0.5, 0.95)]
    assert [interval.high - interval.low for interval in widths] == pytest.approx(
        [2 * 0.674 * data.std() / 60**0.5, 2 * 1.96 * data.std() / 60**0.5], rel=0.05
    )


def test_the_result_depends_on_the_seed_and_not_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = values(37)
    whole = paired_interval(data, resamples=1000)
    assert paired_interval(data, resamples=1000) == whole
    assert paired_interval(data, resamples=1000, seed=1) != whole
    monkeypatch.setattr(engine, "CHUNK", 100)
    again = paired_interval(data, resamples=1000)
    assert (again.low, again.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


def test_a_mean_has_the_interval_of_its_settings() -> None:
    data = values(30) ** 2
    percentile, bca = (mean_interval(data, None, engine.Bootstrap(method)) for method in ("percentile", "bca"))
    assert percentile == paired_interval(data)
    assert bca.high > percentile.high, "BCa follows the long upper tail"
    assert bca.mean == percentile.mean


def test_no_difference_at_all_has_an_interval_of_exactly_zero() -> None:
    interval = paired_interval([0.0] * 5)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("data", "groups", "mean", "n", "unit"),
    [([], None, None, 0, "images"), ([0.5], None, 0.5, 1, "images"), ([0.5, 0.7], ["a", "a"], 0.6, 1, "groups")],
)
def test_fewer_than_two_units_give_no_interval_but_a_reason(data, groups, mean, n, unit) -> None:
    interval = paired_interval(data, groups)
    assert (interval.mean, interval.low, interval.high, interval.n) == (mean, None, None, n)
    assert interval.reason == f"an interval needs at least two {unit}, not {n}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.1, float("nan")],), DataError, "must be finite: leave out the images without a score"),
        (([0.1, 0.2], ["a"]), DataError, "2 images have 1 groups"),
        (([0.1, 0.2], None, 0), ConfigError, "resamples = 0"),
        (([0.1, 0.2], None, 10, 0, 1.0), ConfigError, "level = 1.0"),
    ],
)
def test_what_cannot_be_resampled_is_refused(arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        paired_interval(*arguments)
