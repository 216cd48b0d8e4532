import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from seg_scse.errors import ConfigError, DataError
from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.metrics.crossed import Crossed, compare_crossed, correct
from seg_scse.metrics.power import detectable_crossed, needed

SETTINGS = Bootstrap(resamples=500)


def runs(
    gain: float = 0.01, seeds: int = 5, images: int = 40, spread: float = 0.01, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a = random.beta(8, 2, images) + random.normal(0, 0.01, (seeds, images))
    return a, a + gain + random.normal(0, 0.002, (seeds, 1)) + random.normal(0, spread, (seeds, images))


def compare(a: np.ndarray, b: np.ndarray, groups: list[str] | None = None, **options: bool) -> Crossed:
    return compare_crossed(a, b, groups, SETTINGS, **options)


def test_the_difference_is_the_mean_over_seeds_and_images() -> None:
    a, b = runs()
    found = compare(a, b)
    assert (found.seeds, found.images, found.units, found.reason) == (5, 40, 40, "")
    assert (found.baseline, found.mean) == pytest.approx((a.mean(), b.mean()))
    assert found.difference == pytest.approx((b - a).mean())
    assert found.by_seed == pytest.approx((b - a).mean(axis=1))
    units = (b - a).mean(axis=0)
    assert found.effect == pytest.approx(units.mean() / units.std(ddof=1))
    assert (found.improved, found.ties, found.worse) == ((units > 0).sum(), 0, (units < 0).sum())


def test_an_image_counts_where_it_is_scored_in_all_runs_of_both() -> None:
    a, b = runs(images=10)
    a[2, 1], b[0, 4] = np.nan, np.nan
    kept = [0, 2, 3, 5, 6, 7, 8, 9]
    found, expected = compare(a, b), compare(a[:, kept], b[:, kept])
    assert found.images == 8
    assert found == expected


def test_the_interval_adds_seeds_and_images_in_squares() -> None:
    a, b = runs(spread=0.03)
    found, d = compare(a, b), b - a
    rest = d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean()
    of_seeds = d.mean(axis=1).var(ddof=1) / 5
    of_images = max(d.mean(axis=0).var(ddof=1) / 40 - (rest**2).sum() / (4 * 39) / 200, 0)
    assert (found.seed_error, found.unit_error) == pytest.approx((of_seeds**0.5, of_images**0.5))
    width = (stats.t.isf(0.025, 4) ** 2 * of_seeds + stats.t.isf(0.025, 39) ** 2 * of_images) ** 0.5
    assert (found.low, found.high) == pytest.approx((d.mean() - width, d.mean() + width))


def test_the_second_interval_is_the_two_level_bootstrap() -> None:
    a, b = runs(seeds=10, images=80, spread=0.001)
    found, d = compare(a, b), b - a
    assert found.bootstrap_low < found.difference < found.bootstrap_high
    expected = 2 * 1.96 * d.mean(axis=1).std(ddof=1) / 10**0.5  # images hardly vary here
    assert found.bootstrap_high - found.bootstrap_low == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("gain", [0.0, 0.001, 0.002, 0.003, 0.004, 0.006])
def test_the_test_agrees_with_the_interval(gain: float) -> None:
    (found,) = correct([compare(*runs(gain=gain, seeds=4))], 0.95)
    assert (found.p <= 0.05) == (not found.low <= 0 <= found.high) == found.distinguishable


def test_the_same_runs_twice_are_not_distinguishable() -> None:
    a, _ = runs()
    (found,) = correct([compare(a, a)], 0.95)
    assert (found.difference, found.low, found.high, found.p, found.p_holm) == (0, 0, 0, 1, 1)
    assert (found.bootstrap_low, found.bootstrap_high, found.ties, found.effect) == (0, 0, 40, None)
    assert found.tested
    assert not found.distinguishable
    assert (found.detectable, found.needed) == (None, None)


def test_one_seed_has_no_interval_and_no_test() -> None:
    a, b = runs(seeds=1)
    (found,) = correct([compare(a, b)], 0.95)
    assert found.reason == "an interval over seeds needs at least two seeds, not 1"
    assert (found.low, found.bootstrap_low, found.p, found.p_holm, found.components) == (None,) * 5
    assert (found.tested, found.distinguishable) == (False, False)
    assert found.difference == pytest.approx((b - a).mean())


@pytest.mark.parametrize(
    ("kept", "groups", "reason"),
    [
        ([], None, "no image is scored in all 10 runs"),
        ([3], None, "an interval needs at least two images scored in all 10 runs, not 1"),
        ([3, 5], ["a"] * 40, "an interval needs at least two groups scored in all 10 runs, not 1"),
    ],
    ids=["none", "image", "group"],
)
def test_fewer_than_two_units_have_no_interval(kept: list[int], groups: list[str] | None, reason: str) -> None:
    a, b = runs()
    gone = np.setdiff1d(np.arange(40), kept)
    a[0, gone] = np.nan
    found = compare(a, b, groups)
    assert (found.images, found.reason, found.low) == (len(kept), reason, None)
    assert (found.difference is None) == (not kept)


def test_without_runs_there_is_no_difference() -> None:
    found = compare(np.zeros((0, 4)), np.zeros((0, 4)))
    assert (found.seeds, found.images, found.difference, found.by_seed) == (0, 0, None, ())
    assert found.reason == "an interval over seeds needs at least two seeds, not 0"


def test_groups_are_the_units_and_every_image_weighs_the_same() -> None:
    a, b = runs(images=30)
    groups = ["big"] * 15 + [f"p{n // 3}" for n in range(15)]
    found = compare(a, b, groups)
    assert (found.images, found.units) == (30, 6)
    assert found.difference == pytest.approx((b - a).mean())
    assert found.by_seed == pytest.approx((b - a).mean(axis=1))
    assert found.low < found.difference < found.high
    assert found.improved + found.ties + found.worse == 6
    assert found.seed_error == pytest.approx(np.std(found.by_seed, ddof=1) / 5**0.5)  # as of the weighted means


def test_images_of_one_patient_are_not_independent() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(8), 10)
    a = np.zeros((5, 80))
    b = a + random.normal(0, 0.05, 8)[patients] + random.normal(0, 0.01, (5, 80))
    grouped, alone = compare(a, b, patients.tolist()), compare(a, b)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_where_lower_is_better_the_difference_keeps_its_sign_and_the_effect_does_not() -> None:
    a, b = runs()
    usual, turned = compare(a, b), compare(a, b, lower_is_better=True)
    assert (turned.difference, turned.low) == (usual.difference, usual.low)
    assert (turned.improved, turned.worse) == (usual.worse, usual.improved)
    assert turned.effect == -usual.effect < 0


def test_holms_correction_is_over_all_declared_comparisons() -> None:
    results = [compare(*runs(gain=gain, seeds=4)) for gain in (0.004, 0.003, 0.0)] + [compare(*runs(seeds=1))]
    (alone,) = correct(results[:1], 0.95)
    found = correct(results, 0.95)
    assert found[0].p == alone.p_holm
    assert found[0].p_holm == pytest.approx(4 * found[0].p)
    assert found[1].p_holm == pytest.approx(3 * found[1].p)
    assert [row.tested for row in found] == [True, True, True, False]
    assert found[0].detectable > alone.detectable


def test_a_result_that_fails_after_the_correction_is_not_distinguishable() -> None:
    result = compare(*runs(gain=0.013, seeds=3))
    (alone,), among = correct([result], 0.95), correct([result] * 8, 0.95)
    assert alone.p < 0.05 < among[0].p_holm
    assert (alone.distinguishable, among[0].distinguishable) == (True, False)


def test_an_interval_of_a_lower_level_can_still_withhold_the_verdict() -> None:
    result = compare(*runs(gain=0.02))
    (found,) = correct([replace(result, low=-0.001)], 0.95)
    assert found.p_holm < 0.05
    assert not found.distinguishable


def test_the_plan_uses_the_strictest_level_of_the_correction() -> None:
    found = correct([compare(*runs())] * 3, 0.95)[0]
    assert found.detectable == detectable_crossed(found.components, 5, 40, 3, 0.95)
    assert found.needed == needed(found.components, 5, 40, 3, 0.95)
    assert found.needed.difference == 0.005
    assert correct([compare(*runs())], 0.95, difference=0.01)[0].needed.difference == 0.01


def test_the_same_scores_give_the_same_result_which_json_holds() -> None:
    first, second = (correct([compare(*runs())], 0.95)[0] for _ in range(2))
    assert json.dumps(asdict(first), allow_nan=False) == json.dumps(asdict(second), allow_nan=False)


def test_seeds_that_differ_widen_the_interval_and_a_test_over_images_would_not_see_them() -> None:
    random = np.random.default_rng(3)
    a, luck = runs(seeds=3)[0], np.array([[0.03], [0.01], [-0.004]])
    b = a + luck + random.normal(0, 0.005, a.shape)
    (found,) = correct([compare(a, b)], 0.95)
    assert found.p > 0.05
    assert stats.wilcoxon((b - a).mean(axis=0)).pvalue < 1e-6
    assert found.components.seed == pytest.approx(luck.std(ddof=1), rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: compare(a, b[:, 1:]), r"A has scores of \(5, 40\) seeds x images, B of \(5, 39\)"),
        (lambda a, b: compare(a[0], b[0]), r"A has scores of \(40,\) seeds x images"),
        (lambda a, b: compare(a, b + np.inf), "200 of 400 scores are infinite"),
        (lambda a, b: compare(a, b, ["x"]), "40 images have 1 groups"),
    ],
    ids=["images", "dimensions", "infinite", "groups"],
)
def test_scores_that_cannot_be_paired_are_refused(change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        change(*runs())


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"level = 95 must lie between 0 and 1"):
        correct([], 95)
