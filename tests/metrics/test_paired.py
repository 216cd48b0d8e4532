import json
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import wilcoxon

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.metrics.paired import compare_columns, compare_many, holm
from seg_scse.metrics.statistics import mean_interval

SETTINGS = Bootstrap(resamples=2000)
RED, GREEN = 2, 3  # rows of the result: foreground, class 0, class 1, class 2


def two(images: int = 30, classes: int = 3, gain: float = 0.03, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a = random.beta(8, 2, (images, classes))
    return a, a + random.normal(gain, 0.05, a.shape)


def test_the_comparison_of_a_class_is_made_of_its_paired_differences() -> None:
    a, b = two()
    found, differences = compare_columns(a, b, None, SETTINGS)[RED], (b - a)[:, 1]
    assert (found.images, found.n, found.reason) == (30, 30, "")
    assert (found.mean_a, found.mean_b) == pytest.approx((a[:, 1].mean(), b[:, 1].mean()))
    assert found.difference == pytest.approx(differences.mean())
    expected = mean_interval(differences, None, SETTINGS)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.p == pytest.approx(wilcoxon(differences, method="exact").pvalue)
    assert (found.wins, found.ties, found.losses) == ((differences > 0).sum(), 0, (differences < 0).sum())
    assert found.sd == pytest.approx(differences.std(ddof=1))
    assert found.cohen_dz == pytest.approx(differences.mean() / differences.std(ddof=1))


def test_the_foreground_of_an_image_is_the_mean_over_the_classes_scored_in_both() -> None:
    a = np.array([[0.9, 0.2, 0.4], [0.9, 0.2, np.nan], [0.9, 0.4, 0.8], [0.9, np.nan, np.nan]])
    b = np.array([[0.9, 0.3, 0.6], [0.9, 0.3, 0.5], [0.9, np.nan, 0.7], [0.9, 0.5, np.nan]])
    foreground, background, red, green = compare_columns(a, b, None, SETTINGS)
    assert foreground.difference == pytest.approx(np.mean([0.15, 0.1, -0.1]))
    assert foreground.mean_a == pytest.approx(np.mean([0.3, 0.2, 0.8]))
    assert [row.n for row in (foreground, background, red, green)] == [3, 4, 2, 2]
    assert (foreground.wins, foreground.ties, foreground.losses) == (2, 0, 1)
    assert (background.wins, background.ties, background.losses) == (0, 4, 0)


def test_holm_corrects_over_the_foreground_and_its_classes_and_not_over_class_0() -> None:
    rows = compare_columns(*two(), None, SETTINGS)
    tested = [rows[0], rows[RED], rows[GREEN]]
    assert [row.p_holm for row in tested] == pytest.approx(holm([row.p for row in tested]))
    assert (rows[1].p, rows[1].p_holm, rows[1].reachable, rows[1].reason) == (None, None, None, "")
    assert rows[1].low is not None


def test_of_two_classes_the_foreground_is_the_class_and_is_tested_once() -> None:
    foreground, _, cell = compare_columns(*two(classes=2), None, SETTINGS)
    assert cell == foreground
    assert foreground.p_holm == foreground.p


def test_several_pairs_are_corrected_together() -> None:
    pairs = [two(classes=2, gain=gain, seed=seed) for seed, gain in enumerate([0.03, 0.02, 0.0])]
    together = [rows[0] for rows in compare_many(pairs, None, SETTINGS)]
    assert [row.p_holm for row in together] == pytest.approx(holm([row.p for row in together]))
    alone = [compare_columns(*pair, None, SETTINGS)[0].p for pair in pairs]
    assert [row.p for row in together] == alone


def test_eight_cases_cannot_pass_seven_tests_and_are_refused() -> None:
    a, b = two(images=8, classes=7, gain=0.5)
    rows = compare_columns(a, b, None, SETTINGS)
    tested = [rows[0], *rows[2:]]
    assert len(tested) == 7
    for row in tested:
        assert (row.p, row.p_holm) == (None, None)
        assert row.reachable == pytest.approx(7 * 2 / 2**8)
        assert row.reason == (
            "not tested: data with 8 differing units can give no p below 0.055 after Holm's correction over 7 tests, "
            "and 0.05 is needed"
        )
        assert row.low is not None, "the interval stays"
    assert all(row.p is not None for row in compare_columns(a[:, :6], b[:, :6], None, SETTINGS)[2:]), "6 tests can"


@pytest.mark.parametrize(("images", "tested"), [(5, False), (6, True)])
def test_one_test_needs_six_units(images: int, tested: bool) -> None:
    found = compare_columns(*two(images, classes=2, gain=0.5), None, SETTINGS)[0]
    assert (found.p is not None) == tested
    assert found.reachable == pytest.approx(2 / 2**images)
    if not tested:
        assert found.reason == ("not tested: data with 5 differing units can give no p below 0.062, and 0.05 is needed")


def test_the_level_sets_what_must_be_reached() -> None:
    a, b = two(7, classes=2, gain=0.5)
    assert compare_columns(a, b, None, Bootstrap(level=0.99, resamples=100))[0].p is None
    assert compare_columns(a, b, None, Bootstrap(level=0.9, resamples=100))[0].p is not None


def test_units_without_a_difference_are_ties_and_do_not_help_to_reach_significance() -> None:
    a, b = two(20, classes=2, gain=0.5)
    b[5:] = a[5:]
    found = compare_columns(a, b, None, SETTINGS)[0]
    assert (found.n, found.wins, found.ties, found.losses) == (20, 5, 15, 0)
    assert found.p is None
    assert "5 differing units" in found.reason


def test_a_class_with_few_images_is_refused_alone_and_still_counts_as_a_test() -> None:
    a, b = two(30, classes=4, gain=0.05)
    a[3:, 3] = np.nan
    rows = compare_columns(a, b, None, SETTINGS)
    assert rows[4].p is None
    assert rows[4].reachable == pytest.approx(2 / 2**3)
    assert rows[4].reason == (
        "no interval: only 3 images are scored in both, so that many resamples hold none; not tested: data with 3 "
        "differing units can give no p below 0.25 after Holm's correction over 4 tests, and 0.05 is needed"
    )
    smallest = min(row.p for row in rows if row.p is not None)
    assert min(row.p_holm for row in rows if row.p is not None) == pytest.approx(4 * smallest)


def test_patients_are_the_units_where_images_have_them() -> None:
    a, b = two(40, classes=2)
    patients = np.array([0, *range(8), *[8] * 11, *[9] * 20])
    groups = patients.tolist()
    found, means = compare_columns(a, b, groups, SETTINGS)[0], [(b - a)[patients == p, 1].mean() for p in range(10)]
    assert found.sd == pytest.approx(np.std(means, ddof=1))
    assert found.difference == pytest.approx((b - a)[:, 1].mean()), "the mean is over images"
    assert (found.images, found.n) == (40, 10)
    assert found.wins + found.losses == 10
    assert found.p == pytest.approx(wilcoxon(means, method="exact").pvalue)
    expected = mean_interval((b - a)[:, 1], groups, SETTINGS)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_smaller_distance_wins() -> None:
    a, b = two()
    usual, turned = (compare_columns(a, b, None, SETTINGS, lower_is_better=turn)[0] for turn in (False, True))
    assert (turned.wins, turned.losses) == (usual.losses, usual.wins)
    assert (turned.difference, turned.p, turned.rank_biserial) == (usual.difference, usual.p, usual.rank_biserial)


def test_the_other_way_round_everything_turns() -> None:
    a, b = two()
    there, back = (compare_columns(*pair, None, Bootstrap("percentile"))[0] for pair in ((a, b), (b, a)))
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert (back.p, back.rank_biserial) == pytest.approx((there.p, -there.rank_biserial))


def test_a_network_against_itself_has_no_difference_and_no_test() -> None:
    a, _ = two()
    for row in compare_columns(a, a, None, SETTINGS):
        assert (row.difference, row.low, row.high, row.ties) == (0, 0, 0, 30)
        assert (row.p, row.rank_biserial, row.cohen_dz) == (None, None, None)
    assert row.reason == "not tested: no unit differs"


@pytest.mark.parametrize(
    ("images", "groups", "reason"),
    [
        (0, None, "no image is scored in both"),
        (1, None, "an interval needs at least two images, not 1"),
        (2, ["a", "a"], "an interval needs at least two groups, not 1"),
    ],
)
def test_fewer_than_two_units_give_a_reason_and_no_interval(images: int, groups: list | None, reason: str) -> None:
    found = compare_columns(*two(images), groups, SETTINGS)[0]
    assert (found.low, found.high, found.p, found.sd) == (None, None, None, None)
    assert found.reason.startswith(reason)


def test_a_comparison_is_plain_numbers_for_a_results_file() -> None:
    a, b = two()
    a[2:, 2] = np.nan
    rows = [asdict(row) for row in compare_columns(a, b, None, SETTINGS)]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_nothing_warns_about_ties_zeros_or_small_samples() -> None:
    a, b = two(6)
    b[:3] = a[:3]
    b[3:] = a[3:] + 0.125
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_columns(a, b, None, SETTINGS)


def test_networks_without_a_difference_are_called_different_in_at_most_one_of_twenty_comparisons() -> None:
    random, alarms, studies = np.random.default_rng(2), 0, 400
    for _ in range(studies):
        a = random.beta(8, 2, (25, 4))
        b = a + random.standard_t(3, a.shape) * 0.03
        rows = compare_columns(a, b, None, Bootstrap("percentile", resamples=1))
        alarms += any(row.p_holm is not None and row.p_holm <= 0.05 for row in rows)
    assert alarms / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5
    assert alarms > 0


def test_other_images_are_refused() -> None:
    a, b = two()
    with pytest.raises(DataError, match=r"A has scores of \(30, 3\) images x classes, B of \(29, 3\)"):
        compare_columns(a, b[1:], None, SETTINGS)
