from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, precision_recall_curve
from torchmetrics.classification import BinaryCalibrationError, MulticlassCalibrationError

from seg_scse.errors import DataError
from seg_scse.inference.labelling import decide
from seg_scse.metrics import probabilities
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.probabilities import (
    CURVES,
    THRESHOLDS,
    ProbabilityTable,
    best_threshold,
    count_probabilities,
)
from seg_scse.metrics.scores import score_table

BINARY = ("background", "cell")
LABELS = ("none", "red", "green", "blue")


def binary_image(seed: int, size: tuple[int, int] = (60, 70)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (1, H, W), labels at 0.5 and a truth that they predict too boldly; some of it is ignored."""
    random = np.random.default_rng(seed)
    found = random.beta(0.4, 0.6, (1, *size)).astype(np.float32)
    truth = (random.random(size) < 0.15 + 0.6 * found[0]).astype(np.uint8)
    truth[random.random(size) < 0.1] = 255
    return found, (found[0] > 0.5).astype(np.uint8), truth


def labels_image(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    found = random.beta(0.5, 0.5, (3, 40, 30)).astype(np.float32)
    present = random.random(found.shape) < 0.1 + 0.7 * found
    truth = (present * np.array([1, 2, 4])[:, None, None]).sum(0).astype(np.uint8)
    truth[:2] = 255
    return found, decide(torch.from_numpy(found), 0.5, True).labels, truth


def table_of(images: Sequence[tuple], classes: Sequence[str] = BINARY, task: str = "multiclass") -> ProbabilityTable:
    table = ProbabilityTable(classes, task)
    for index, (found, labels, truth) in enumerate(images):
        table.add(f"s{index}", count_probabilities(found, labels, truth, len(classes), task))
    return table


def counts_at(threshold: float, images: Sequence[tuple], classes: Sequence[str], task: str) -> CountsTable:
    counts = CountsTable(len(classes), task)
    for index, (found, _, truth) in enumerate(images):
        labels = decide(torch.from_numpy(found), threshold, task == "multilabel").labels
        counts.add(f"s{index}", count_pixels(labels, truth, len(classes), task))
    return counts


def test_a_bin_holds_what_is_above_its_lower_edge_up_to_its_upper_one() -> None:
    edges = np.arange(257, dtype=np.float32) / 256
    values = np.concatenate([edges, np.nextafter(edges[:-1], np.float32(1))])[None, None]
    counts = count_probabilities(values, np.ones(values.shape[1:], np.uint8), np.ones(values.shape[1:], np.uint8), 2)
    expected = np.full(256, 2)  # its upper edge and the number above its lower one
    expected[0] += 1  # and 0 itself
    assert counts.pixels[0, 1].tolist() == expected.tolist()
    assert not counts.pixels[0, 0].any()


def test_values_that_are_no_probability_go_to_the_ends() -> None:
    values = np.array([[[np.nan, -0.1, 1.0000001, 1.0]]], np.float32)
    truth = np.zeros((1, 4), np.uint8)
    pixels = count_probabilities(values, truth, truth, 2).pixels[0, 0]
    assert (pixels[0], pixels[255], pixels.sum()) == (2, 2, 4)


@pytest.mark.parametrize("strip", [1 << 17, 1000])
def test_every_pixel_that_is_not_ignored_is_counted_once(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probabilities, "STRIP_PIXELS", strip)
    found, labels, truth = binary_image(0)
    pixels = count_probabilities(found, labels, truth, 2).pixels[0]
    valid = truth != 255
    bins = np.maximum(np.ceil(found[0].astype(np.float64) * 256) - 1, 0)
    for value in (0, 1):
        assert pixels[value].tolist() == np.bincount(bins[truth == value].astype(int), minlength=256).tolist()
    assert pixels.sum() == valid.sum() < truth.size


@pytest.mark.parametrize(
    ("make", "classes", "task"), [(binary_image, BINARY, "multiclass"), (labels_image, LABELS, "multilabel")]
)
def test_scores_at_a_threshold_are_those_of_the_label_maps_to_the_pixel(make, classes, task) -> None:
    images = [make(seed) for seed in range(3)]
    found = table_of(images, classes, task).describe("exclude")["curves"]
    assert [curve["name"] for curve in found] == list(classes[1:])
    for place in (0, 24, 49, 98):
        threshold = THRESHOLDS[place]
        expected = score_table(counts_at(threshold, images, classes, task), classes, "exclude")
        for curve in found:
            assert curve["thresholds"][place] == threshold
            for name in CURVES:
                assert curve[name][place] == expected[name][curve["name"]], (name, threshold)


def test_the_thresholds_are_multiples_of_1_256_next_to_each_percent() -> None:
    assert len(set(THRESHOLDS)) == 99
    assert THRESHOLDS[49] == 0.5
    assert np.abs(np.array(THRESHOLDS) - np.arange(1, 100) / 100).max() <= 1 / 512
    assert all(float(threshold * 256).is_integer() for threshold in THRESHOLDS)


@pytest.mark.parametrize(("empty", "value"), [("exclude", 1.0), ("one", 1.0), ("zero", 0.5)])
def test_the_policy_for_empty_masks_rules_at_each_threshold(empty: str, value: float) -> None:
    sure, nothing = np.full((1, 4, 4), 0.9, np.float32), np.full((1, 4, 4), 0.3, np.float32)
    ones, zeros = np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    table = table_of([(sure, ones, ones), (nothing, zeros, zeros)])
    scores = table.scores("dice_per_image", [0.25, 0.5, 0.9921875], empty)
    assert scores.tolist() == [0.5, value, 0.0 if empty != "one" else 0.5]


def test_precision_and_recall_over_the_threshold_are_those_of_scikit_learn() -> None:
    images = [binary_image(seed) for seed in range(2)]
    curve = table_of(images).describe("exclude")["curves"][0]
    found, truth = (np.concatenate([one[place].ravel() for one in images]) for place in (0, 2))
    valid = truth != 255
    # scikit-learn predicts at or above a threshold; counted from above, that is above the one before it
    precision, recall, at = precision_recall_curve(truth[valid], found[valid])
    for place in range(0, 99, 7):
        after = int(np.searchsorted(at, np.float32(curve["thresholds"][place]), side="right"))
        assert curve["precision_pooled"][place] == pytest.approx(precision[after], abs=1e-12)
        assert curve["recall_pooled"][place] == pytest.approx(recall[after], abs=1e-12)


def test_calibration_error_and_brier_score_of_two_classes_are_those_of_the_libraries() -> None:
    images = [binary_image(seed) for seed in range(3)]
    curve = table_of(images).describe("exclude")["curves"][0]
    found, truth = (np.concatenate([one[place].ravel() for one in images]) for place in (0, 2))
    metric = BinaryCalibrationError(n_bins=16, norm="l1", ignore_index=255)
    assert curve["kind"] == "class"
    assert curve["ece"] == pytest.approx(
        float(metric(torch.from_numpy(found), torch.from_numpy(truth).int())), abs=3.1e-5
    )
    assert 0.05 < curve["ece"] < 0.5
    valid = truth != 255
    assert curve["brier"] == pytest.approx(brier_score_loss(truth[valid], found[valid].astype(float)), abs=2e-6)


def test_calibration_of_a_network_that_is_always_sure_is_not_blurred_by_the_bins() -> None:
    found = np.full((1, 100, 100), 1e-6, np.float32)
    found[:, :50] = 1 - 1e-6
    truth = (found[0] > 0.5).astype(np.uint8)
    curve = table_of([(found, truth, truth)]).describe("exclude")["curves"][0]
    assert curve["ece"] < 3.1e-5
    assert curve["brier"] < 1e-8
    wrong = table_of([(found, truth, 1 - truth)]).describe("exclude")["curves"][0]
    assert (wrong["ece"], wrong["brier"]) == (pytest.approx(1, abs=3.1e-5), pytest.approx(1, abs=6.2e-5))


def test_calibration_error_of_several_classes_is_that_of_the_chosen_class() -> None:
    random = torch.Generator().manual_seed(0)
    every = (2 * torch.randn(5, 80, 90, generator=random)).softmax(0)
    truth = torch.where(torch.rand(80, 90, generator=random) < 0.5, every.argmax(0), 2).to(torch.uint8)
    truth[:5] = 255
    decision = decide(every, 0.5, False)
    classes = tuple("abcde")
    table = table_of([(decision.confidence.numpy(), decision.labels, truth.numpy())], classes)
    (curve,) = table.describe("exclude")["curves"]
    metric = MulticlassCalibrationError(5, n_bins=16, norm="l1", ignore_index=255)
    assert curve["ece"] == pytest.approx(float(metric(every[None], truth[None].int())), abs=3.1e-5)
    assert (curve["name"], curve["kind"], curve["thresholds"]) == ("most probable class", "confidence", [])
    assert all(curve[name] == [] for name in CURVES)
    right = int(((decision.labels == truth.numpy()) & (truth.numpy() != 255)).sum())
    assert sum(curve["positive"]) == right
    assert sum(curve["negative"]) == 75 * 90 - right


def test_calibration_by_hand() -> None:
    # bin 4 of 16: 0.3 and 0.3, of which one comes true; bin 15: 0.96, which does; bin 15 again: 1.0, which does not
    found = np.array([[[0.3, 0.3, 0.96, 1.0, 0.7]]], np.float32)
    truth = np.array([[0, 1, 1, 0, 255]], np.uint8)
    curve = table_of([(found, (found[0] > 0.5).astype(np.uint8), truth)]).describe("exclude")["curves"][0]
    assert curve["ece"] == pytest.approx((abs(0.6 - 1) + abs(1.96 - 1)) / 4, abs=3.1e-5)
    assert curve["brier"] == pytest.approx((0.3**2 + 0.7**2 + 0.04**2 + 1) / 4, abs=6.1e-5)


def test_without_a_valid_pixel_there_is_no_calibration_and_no_score() -> None:
    ignored = np.full((3, 3), 255, np.uint8)
    found = np.full((1, 3, 3), 0.7, np.float32)
    table = table_of([(found, np.ones((3, 3), np.uint8), ignored)])
    curve = table.describe("one")["curves"][0]
    assert (curve["ece"], curve["brier"], set(curve["dice_per_image"]), set(curve["dice_pooled"])) == (
        None,
        None,
        {None},
        {None},
    )
    with pytest.raises(DataError, match=r"no value at any threshold: the 1 images hold none of cell"):
        best_threshold(table, "dice_per_image", "exclude")


@pytest.mark.parametrize("name", ["dice_per_image", "iou_pooled"])
def test_the_best_threshold_scores_highest_of_all(name: str) -> None:
    images = [binary_image(seed) for seed in range(3)]
    threshold, score = best_threshold(table_of(images), name, "exclude")
    scores = [
        score_table(counts_at(k / 256, images, BINARY, "multiclass"), BINARY, "exclude")[name]["foreground"]
        for k in range(1, 256)
    ]
    assert score == max(scores)
    assert scores[round(threshold * 256) - 1] == score
    assert threshold != 0.5


def test_one_threshold_is_chosen_for_all_labels_by_their_mean() -> None:
    images = [labels_image(seed) for seed in range(2)]
    threshold, score = best_threshold(table_of(images, LABELS, "multilabel"), "dice_per_image", "exclude")
    at = score_table(counts_at(threshold, images, LABELS, "multilabel"), LABELS, "exclude")
    assert score == pytest.approx(at["dice_per_image"]["foreground"], abs=1e-12)


def test_of_equally_good_thresholds_that_next_to_a_half_is_chosen() -> None:
    found = np.array([[[0.1, 0.1, 0.9, 0.9]]], np.float32)
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    assert best_threshold(table_of([(found, truth, truth)]), "dice_pooled", "exclude") == (0.5, 1.0)
    found[0, 0, :2] = 0.6
    threshold, _ = best_threshold(table_of([(found, truth, truth)]), "dice_pooled", "exclude")
    assert threshold == 154 / 256, "the first above 0.6"


def test_several_classes_have_no_threshold_to_choose() -> None:
    with pytest.raises(DataError, match="predicted without a threshold"):
        best_threshold(ProbabilityTable(("a", "b", "c")), "dice_per_image", "exclude")


def test_an_image_is_added_once_and_with_the_histograms_of_the_table() -> None:
    table = table_of([binary_image(0)])
    assert table.ids == ("s0",)
    with pytest.raises(DataError, match="sample 's0' was counted twice"):
        table.add("s0", count_probabilities(*binary_image(1), 2))
    with pytest.raises(DataError, match=r"sample 'x' has 3 histograms, the table is of 1 \(cell\)"):
        table.add("x", count_probabilities(*labels_image(0), 4, "multilabel"))


def test_shapes_that_do_not_fit_are_refused() -> None:
    found, labels, truth = binary_image(0)
    with pytest.raises(DataError, match=r"shape \(1, 60, 70\), labels \(60, 70\): with 3 classes \(multilabel\)"):
        count_probabilities(found, labels, truth, 3, "multilabel")
    with pytest.raises(DataError, match=r"they must have \(1, 60, 71\)"):
        count_probabilities(found, labels, np.zeros((60, 71), np.uint8), 2)
