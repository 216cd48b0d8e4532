from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from seg_scse.metrics import signed_rank as module
from seg_scse.metrics.signed_rank import holm, signed_rank


def counted_out(differences: np.ndarray) -> float:
    """Two-sided p-value by the definition: all signs of the ranks."""
    ranks = rankdata(np.abs(differences))
    sums = np.array([sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
                     for signs in product([0, 1], repeat=len(ranks))])  # fmt: skip
    positive = ranks[differences > 0].sum()
    return min(1.0, 2 * min((sums <= positive).mean(), (sums >= positive).mean()))


@pytest.mark.parametrize("n", [1, 2, 7, 25, 100])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_exact_p_value_is_that_of_scipy(n: int, shift: float) -> None:
    data = np.random.default_rng(n).normal(shift, 1, n)
    assert signed_rank(data).p == pytest.approx(wilcoxon(data, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_with_shared_ranks_it_is_that_of_all_signs(seed: int) -> None:
    data = np.random.default_rng(seed).integers(-3, 5, 11).astype(float)
    kept = data[data != 0]
    found = signed_rank(data)
    assert found.p == pytest.approx(counted_out(kept), rel=1e-9)
    assert found.n == len(kept), "differences of 0 are left out"


@pytest.mark.parametrize("digits", [1, 6])
def test_for_many_differences_it_is_that_of_scipys_approximation(digits: int) -> None:
    data = np.random.default_rng(0).normal(0.1, 1, 250).round(digits)
    expected = wilcoxon(data, zero_method="wilcox", method="asymptotic").pvalue
    assert signed_rank(data).p == pytest.approx(expected, rel=1e-9)


def test_the_approximation_is_near_the_exact_value_where_it_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(1).normal(0.2, 1, 100)
    exact = signed_rank(data).p
    monkeypatch.setattr(module, "EXACT", 99)
    approximate = signed_rank(data).p
    assert approximate != exact
    assert approximate == pytest.approx(exact, abs=3e-3)


@pytest.mark.parametrize("n", [1, 5, 8, 100])
def test_differences_of_one_sign_reach_the_smallest_p_value(n: int) -> None:
    found = signed_rank(np.full(n, -0.25))
    assert found.p == pytest.approx(found.smallest) == pytest.approx(2 / 2**n)
    assert found.effect == -1


def test_the_effect_is_the_difference_of_the_rank_sums_as_a_share() -> None:
    assert signed_rank(np.array([0.1, 0.3, -0.2, 0.0])).effect == pytest.approx((1 + 3 - 2) / 6)


def test_without_a_difference_nothing_can_be_shown() -> None:
    assert signed_rank(np.array([0.0, 1e-17, -1e-17])) == (0, 1.0, 1.0, None)
    assert signed_rank(np.array([])) == (0, 1.0, 1.0, None)


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03, 0.9]) == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
