import numpy as np
import pytest
from sklearn.feature_selection import f_classif
from sklearn.metrics import roc_auc_score

from seg_scse.evaluation.gate_study import (
    ForegroundScore,
    Spread,
    auroc,
    eta_squared,
    group_tiles,
    mask_cells,
    profile,
)

BINARY = ("background", "cell")
MULTI = ("background", "axon", "myelin")


def spread(values: np.ndarray, gain: float = 1.0) -> Spread:
    made = Spread(gain)
    for part in np.array_split(values.astype(np.float32), 3):
        made.add(part)
    return made


@pytest.mark.parametrize("levels", [2, 5, 40, 10**9])
def test_auroc_equals_the_reference_with_and_without_ties(levels: int) -> None:
    random = np.random.default_rng(levels)
    scores = random.integers(0, levels, 500).astype(np.float32)
    positive = random.random(500) < 0.3
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auroc_is_1_for_the_truth_itself_0_for_its_inverse_and_one_half_for_a_constant() -> None:
    truth = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert auroc(truth.astype(float), truth) == 1.0
    assert auroc(1.0 - truth, truth) == 0.0
    assert auroc(np.full(truth.shape, 0.7), truth) == 0.5


@pytest.mark.parametrize("truth", [np.zeros(4, bool), np.ones(4, bool)])
def test_auroc_of_one_class_only_is_not_available(truth: np.ndarray) -> None:
    assert auroc(np.arange(4.0), truth) is None


def test_eta_squared_equals_the_analysis_of_variance() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 3, 60)
    values = random.normal(size=(60, 5)) + groups[:, None] * np.array([0.0, 0.1, 0.5, 1.0, 5.0])
    f, _ = f_classif(values, groups)
    between, within = 3 - 1, 60 - 3
    assert eta_squared(values, groups) == pytest.approx(f * between / (f * between + within))


def test_eta_squared_of_a_hand_computed_case() -> None:
    # channel 0: means 1 and 3 around 2, SS_between 4, SS_total 8; channel 1: between groups only; channel 2: constant
    values = np.array([[0.0, 1, 0.3], [2, 1, 0.3], [2, 4, 0.3], [4, 4, 0.3]], np.float32)
    shares = eta_squared(values, np.array([0, 0, 1, 1]))
    assert shares[:2].tolist() == [0.5, 1.0]
    assert np.isnan(shares[2])


def test_spread_over_parts_is_that_of_all_values() -> None:
    values = np.random.default_rng(0).random(1000)
    found = spread(values).summary()
    exact = values.astype(np.float32).astype(np.float64)
    assert found["mean"] == pytest.approx(exact.mean())
    assert found["std"] == pytest.approx(exact.std())
    assert found["low"] == pytest.approx((exact < 0.01).mean())
    assert found["high"] == pytest.approx((exact > 0.99).mean())
    assert found["flags"] == []


@pytest.mark.parametrize(
    ("values", "gain", "flags"),
    [
        ([0.001, 0.999, 0.5], 1.0, ["saturated"]),
        ([0.001, 0.001, 0.5, 0.5], 1.0, []),  # exactly half of them is not more than half
        ([0.999, 0.999, 0.998], 1.0, ["saturated", "constant"]),
        ([1.001, 1.001, 1.002], 2.0, ["constant"]),
        ([1.0, 1.015, 0.985], 2.0, ["constant"]),  # 0.012 is below a hundredth of the range 2
        ([1.0, 1.015, 0.985], 1.0, ["saturated"]),
        ([1.99, 1.99, 0.1], 2.0, ["saturated"]),
        ([0.015, 0.015, 1.0], 2.0, ["saturated"]),
        ([0.999, 0.999, 0.1], 2.0, []),
        ([0.45, 0.5, 0.55], 1.0, []),
    ],
)
def test_flags_depend_on_the_range_of_the_gate(values: list[float], gain: float, flags: list[str]) -> None:
    assert spread(np.array(values), gain).summary()["flags"] == flags


def test_mask_cells_are_shares_of_the_labelled_area() -> None:
    truth = np.array([[1, 1, 0, 0], [1, 0, 255, 255], [2, 2, 255, 255], [2, 2, 255, 0]], np.uint8)
    shares, known = mask_cells(truth, 4, (2, 2), 3)
    assert shares[:, 0, 0].tolist() == [0.25, 0.75, 0.0]
    assert shares[:, 0, 1].tolist() == [1.0, 0.0, 0.0]
    assert shares[:, 1, 0].tolist() == [0.0, 0.0, 1.0]
    assert known.tolist() == [[True, False], [True, False]]  # half labelled is not more than half


def test_padding_around_a_small_image_is_not_scored() -> None:
    _, known = mask_cells(np.ones((2, 3), np.uint8), 4, (4, 4), 2)
    assert known.sum() == 6
    score = ForegroundScore(BINARY)
    truth = np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
    score.add(truth.astype(np.float32), truth, 4, (4, 4))
    assert score.summary() == {"foreground": {"mean": 1.0, "images": 1, "undefined": 0}}


def test_gate_that_equals_the_truth_has_auroc_1_at_half_the_resolution() -> None:
    truth = np.kron(np.array([[1, 0], [0, 0]]), np.ones((2, 2))).astype(np.uint8)
    score = ForegroundScore(BINARY)
    score.add(np.array([[0.9, 0.1], [0.1, 0.2]], np.float32), truth, 4, (2, 2))
    score.add(np.array([[0.1, 0.9], [0.9, 0.8]], np.float32), truth, 4, (2, 2))
    score.add(np.array([[0.1, 0.9], [0.9, 0.8]], np.float32), np.zeros_like(truth), 4, (2, 2))
    assert score.summary()["foreground"] == {"mean": 0.5, "images": 2, "undefined": 1}


def test_each_class_of_several_is_scored_against_all_else() -> None:
    truth = np.array([[0, 1], [2, 2]], np.uint8)
    score = ForegroundScore(MULTI)
    score.add(np.array([[0.5, 0.1], [0.9, 0.8]], np.float32), truth, 2, (2, 2))
    means = {name: found["mean"] for name, found in score.summary().items()}
    assert means == {"foreground": pytest.approx(2 / 3), "axon": 0.0, "myelin": 1.0}


def test_tiles_of_two_classes_are_divided_at_the_terciles_of_the_foreground_share() -> None:
    pixels = np.array([[100 - share, share] for share in (0, 50, 10, 40, 20, 30)])
    groups = group_tiles(pixels, BINARY)
    assert [groups.names[index] for index in groups.of] == [
        f"{word} foreground" for word in ("little", "much", "little", "much", "medium", "medium")
    ]
    assert groups.sizes() == [2, 2, 2]
    assert "little <= 0.167 < medium <= 0.333 < much" in groups.rule


def test_groups_without_tiles_are_left_out() -> None:
    groups = group_tiles(np.array([[10, 0], [10, 0], [10, 0]]), BINARY)
    assert groups.names == ("little foreground",)
    assert group_tiles(np.array([[0, 0]]), BINARY).sizes() == [1]  # a tile that is ignored altogether


def test_tiles_of_several_classes_are_divided_by_the_dominant_one() -> None:
    groups = group_tiles(np.array([[90, 4, 6], [50, 30, 20], [100, 0, 0], [0, 1, 9]]), MULTI)
    assert [groups.names[index] for index in groups.of] == ["myelin", "axon", "no foreground", "myelin"]


def test_profile_is_mean_and_spread_of_each_group() -> None:
    groups = group_tiles(np.array([[90, 4, 6], [0, 1, 9], [50, 30, 20]]), MULTI)
    mean, std = profile(np.array([[0.2, 0.4], [0.6, 0.4], [0.9, 0.1]], np.float32), groups)
    assert groups.names == ("axon", "myelin")
    assert mean == pytest.approx(np.array([[0.9, 0.1], [0.4, 0.4]]), abs=1e-6)
    assert std == pytest.approx(np.array([[0.0, 0.0], [0.2, 0.0]]), abs=1e-6)
