"""Overlap scores beside those of other libraries: equal, or different for a reason that docs/metrics.md gives."""

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torchmetrics.functional.classification as tm_classification
import torchmetrics.functional.segmentation as tm_segmentation
from monai.metrics import ConfusionMatrixMetric, DiceMetric, MeanIoU, compute_dice
from sklearn import metrics as sklearn_metrics
from torch.nn.functional import one_hot
from torchmetrics import segmentation as tm

from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.scores import averages, image_scores, per_image_scores, score_table

TISSUE = ("background", "gland", "stroma")
K = len(TISSUE)

# torchmetrics warns of a change of its default, whatever the argument is.
pytestmark = pytest.mark.filterwarnings("ignore:DiceScore metric currently defaults:UserWarning")


def draw(seed, ignore=False):
    random = np.random.default_rng(seed)
    truth = random.integers(0, K, (16, 20)).astype(np.uint8)
    prediction = np.where(random.random(truth.shape) < 0.7, truth, random.integers(0, K, truth.shape)).astype(np.uint8)
    if ignore:
        truth[random.random(truth.shape) < 0.2] = 255
    return prediction, truth


FULL = [draw(seed) for seed in range(4)]
"""Every class is in every image."""
IGNORING = [draw(seed, ignore=True) for seed in range(4)]
LACKING = [FULL[0], (FULL[1][0] % 2, FULL[1][1] % 2), (FULL[2][0], FULL[2][1] % 2)]
"""In the second image stroma is in neither map, in the third only in the prediction."""


def table_of(pairs):
    table = CountsTable(K)
    for index, (prediction, truth) in enumerate(pairs):
        table.add(str(index), count_pixels(prediction, truth, K))
    return table


def ours(pairs, empty="exclude"):
    return score_table(table_of(pairs), TISSUE, empty)


def by_class(scores):
    return [scores[name] for name in TISSUE]


def tensors(pairs):
    """Prediction and truth, int64 (N, H, W)."""
    return tuple(torch.from_numpy(np.stack(maps)).long() for maps in zip(*pairs, strict=True))


def one_hots(pairs):
    """Prediction and truth, int64 (N, K, H, W)."""
    return tuple(one_hot(maps, K).movedim(-1, 1) for maps in tensors(pairs))


def updated(metric, pairs, form=tensors):
    (metric.update if isinstance(metric, tm.MeanIoU | tm.DiceScore) else metric)(*form(pairs))
    return metric


SMP = {
    "iou": smp.metrics.iou_score,
    "dice": smp.metrics.f1_score,
    "precision": smp.metrics.precision,
    "recall": smp.metrics.recall,
    "specificity": smp.metrics.specificity,
    "accuracy": smp.metrics.accuracy,
}


def smp_stats(pairs, ignore_index=None):
    return smp.metrics.get_stats(*tensors(pairs), mode="multiclass", num_classes=K, ignore_index=ignore_index)


@pytest.mark.parametrize("name", SMP)
@pytest.mark.parametrize(("pairs", "ignore_index"), [(FULL, None), (IGNORING, 255)], ids=["full", "ignoring"])
def test_scores_equal_smp_where_all_classes_are_present(name, pairs, ignore_index):
    stats, found = smp_stats(pairs, ignore_index), ours(pairs)
    for averaging, reduction in (("pooled", "macro"), ("per_image", "macro-imagewise")):
        theirs = SMP[name](*stats, reduction=reduction).item()
        assert np.mean(by_class(found[f"{name}_{averaging}"])) == pytest.approx(theirs, abs=1e-6)
    if name in ("dice", "iou", "precision", "recall"):
        mine = averages(table_of(pairs), TISSUE, "exclude")
        for averaging, reduction in (("pooled", "micro"), ("per_image", "micro-imagewise")):
            theirs = SMP[name](*stats, reduction=reduction).item()
            assert mine[f"{name}_{averaging}"]["micro_all"] == pytest.approx(theirs, abs=1e-6)


def test_smp_counts_an_absent_class_as_1_where_we_leave_it_out():
    # A class that is not there lifts smp's macro scores: zero_division is 1.
    pairs = LACKING[1:2]
    gland, background = (ours(pairs)["iou_pooled"][name] for name in ("gland", "background"))
    assert ours(pairs)["iou_pooled"]["stroma"] is None
    theirs = smp.metrics.iou_score(*smp_stats(pairs), reduction="macro").item()
    assert theirs == pytest.approx((background + gland + 1) / 3)
    assert ours(pairs)["iou_pooled"]["foreground"] == pytest.approx(gland)


def test_smp_per_image_is_our_policy_one_but_for_classes_that_are_nowhere():
    theirs = smp.metrics.f1_score(*smp_stats(LACKING), reduction="macro-imagewise").item()
    assert np.mean(by_class(ours(LACKING, "one")["dice_per_image"])) == pytest.approx(theirs, abs=1e-6)


def test_smp_weighted_needs_weights_and_divides_them_twice_per_image():
    stats, table = smp_stats(FULL), table_of(FULL)
    arrays = table.arrays()
    shares = (arrays.tp + arrays.fn).sum(axis=0) / (arrays.tp + arrays.fn).sum()
    mine = averages(table, TISSUE, "exclude")
    theirs = smp.metrics.iou_score(*stats, reduction="weighted", class_weights=list(shares)).item()
    assert mine["iou_pooled"]["weighted_all"] == pytest.approx(theirs, abs=1e-6)
    theirs = smp.metrics.iou_score(*stats, reduction="weighted-imagewise", class_weights=list(shares)).item()
    assert mine["iou_per_image"]["weighted_all"] / K == pytest.approx(theirs, abs=1e-6)


def test_mean_iou_of_torchmetrics_equals_ours_also_with_absent_classes():
    for pairs in (FULL, LACKING):
        metric = updated(tm.MeanIoU(num_classes=K, per_class=True, input_format="index"), pairs)
        np.testing.assert_allclose(metric.compute(), by_class(ours(pairs)["iou_per_image"]), atol=1e-6)


def test_functional_mean_iou_of_torchmetrics_gives_minus_1_to_an_absent_class():
    theirs = tm_segmentation.mean_iou(*tensors(LACKING), num_classes=K, per_class=True, input_format="index")
    assert theirs[1, 2] == -1  # and its mean over images takes the -1 for a score
    column = image_scores(table_of(LACKING), "exclude")["iou"]
    assert np.isnan(column[1, 2])
    np.testing.assert_allclose(np.where(np.isnan(column), -1, column), theirs, atol=1e-6)


def test_dice_of_torchmetrics_averages_over_the_classes_of_an_image_first():
    # So does `foreground` in the rows of per_image.csv; `dice_per_image` averages over the images first.
    metric = updated(tm.DiceScore(K, include_background=False, average="macro", input_format="index"), LACKING)
    rows = [row["dice_foreground"] for row in per_image_scores(table_of(LACKING), TISSUE, "exclude")]
    assert metric.compute().item() == pytest.approx(np.mean(rows), abs=1e-6)
    assert abs(ours(LACKING)["dice_per_image"]["foreground"] - np.mean(rows)) > 0.05
    metric = updated(tm.DiceScore(K, include_background=False, average="macro", input_format="index"), FULL)
    assert metric.compute().item() == pytest.approx(ours(FULL)["dice_per_image"]["foreground"], abs=1e-6)


@pytest.mark.parametrize(("level", "averaging"), [("samplewise", "per_image"), ("global", "pooled")])
@pytest.mark.parametrize(("background", "over"), [(True, "all"), (False, "foreground")])
def test_micro_dice_of_torchmetrics_equals_ours(level, averaging, background, over):
    metric = tm.DiceScore(K, background, average="micro", aggregation_level=level, input_format="index")
    mine = averages(table_of(LACKING), TISSUE, "exclude")[f"dice_{averaging}"][f"micro_{over}"]
    assert updated(metric, LACKING).compute().item() == pytest.approx(mine, abs=1e-6)


def test_weighted_dice_of_torchmetrics_weighs_within_each_image_and_ours_in_the_whole_set():
    mine = averages(table_of(LACKING), TISSUE, "exclude")
    pooled = tm.DiceScore(K, average="weighted", aggregation_level="global", input_format="index")
    assert updated(pooled, LACKING).compute().item() == pytest.approx(mine["dice_pooled"]["weighted_all"], abs=1e-6)
    theirs = updated(tm.DiceScore(K, average="weighted", input_format="index"), LACKING).compute().item()
    arrays, column = table_of(LACKING).arrays(), image_scores(table_of(LACKING), "exclude")["dice"]
    weights = arrays.tp + arrays.fn
    assert theirs == pytest.approx((np.nan_to_num(column) * weights).sum(1) @ (1 / weights.sum(1)) / 3, abs=1e-6)
    assert abs(theirs - mine["dice_per_image"]["weighted_all"]) > 0.001


@pytest.mark.parametrize("pairs", [FULL, IGNORING], ids=["full", "ignoring"])
def test_classification_scores_of_torchmetrics_equal_the_pooled_ones(pairs):
    functions = {
        "iou": tm_classification.multiclass_jaccard_index,
        "dice": tm_classification.multiclass_f1_score,
        "precision": tm_classification.multiclass_precision,
        "recall": tm_classification.multiclass_recall,
        "specificity": tm_classification.multiclass_specificity,
    }
    for name, function in functions.items():
        theirs = function(*tensors(pairs), K, average="none", ignore_index=255)
        np.testing.assert_allclose(theirs, by_class(ours(pairs)[f"{name}_pooled"]), atol=1e-6)


def test_accuracy_of_a_class_is_its_recall_in_torchmetrics():
    # Ours counts the pixels on which class and not-class are right, as smp, MONAI and Taha and Hanbury do.
    theirs = tm_classification.multiclass_accuracy(*tensors(FULL), K, average="none")
    np.testing.assert_allclose(theirs, by_class(ours(FULL)["recall_pooled"]), atol=1e-6)
    assert min(by_class(ours(FULL)["accuracy_pooled"])) > theirs.max() + 0.03


def test_an_absent_class_scores_0_in_torchmetrics_by_class_and_nothing_here():
    pairs = LACKING[1:2]
    theirs = tm_classification.multiclass_jaccard_index(*tensors(pairs), K, average="none")
    assert theirs[2] == 0
    assert ours(pairs)["iou_pooled"]["stroma"] is None
    theirs = tm_classification.multiclass_jaccard_index(*tensors(pairs), K, average="macro").item()
    assert np.mean(by_class(ours(pairs)["iou_pooled"])[:2]) == pytest.approx(theirs, abs=1e-6), "their mean agrees"


def test_recall_of_a_class_without_a_true_pixel_is_0_in_torchmetrics_and_nothing_here():
    # Stroma is predicted and never true: that is an error of precision; there is nothing to recall.
    pairs = LACKING[2:]
    assert tm_classification.multiclass_recall(*tensors(pairs), K, average="none")[2] == 0
    assert ours(pairs)["recall_pooled"]["stroma"] is None
    assert ours(pairs)["precision_pooled"]["stroma"] == 0


@pytest.mark.parametrize(("name", "metric"), [("dice", DiceMetric), ("iou", MeanIoU)])
def test_monai_equals_ours_by_class_where_the_truth_holds_every_class(name, metric):
    found = updated(metric(reduction="mean_batch"), FULL, one_hots)
    np.testing.assert_allclose(found.aggregate(), by_class(ours(FULL)[f"{name}_per_image"]), atol=1e-6)


@pytest.mark.parametrize(("name", "metric"), [("dice", DiceMetric), ("iou", MeanIoU)])
def test_false_positives_of_a_class_that_is_not_there_are_free_in_monai(name, metric):
    # By default MONAI leaves out every image whose truth lacks the class, so the third image's false stroma is free.
    theirs = updated(metric(reduction="mean_batch"), LACKING, one_hots).aggregate()[2].item()
    column = image_scores(table_of(LACKING), "exclude")[name][:, 2]
    assert theirs == pytest.approx(column[0], abs=1e-6)
    assert column[2] == 0
    assert ours(LACKING)[f"{name}_per_image"]["stroma"] == pytest.approx(column[0] / 2)


def test_monai_without_ignore_empty_is_our_policy_one():
    theirs = updated(DiceMetric(reduction="mean_batch", ignore_empty=False), LACKING, one_hots).aggregate()
    np.testing.assert_allclose(theirs, by_class(ours(LACKING, "one")["dice_per_image"]), atol=1e-6)


def test_the_default_mean_of_monai_averages_over_the_classes_of_an_image_first():
    theirs = updated(DiceMetric(ignore_empty=False), LACKING, one_hots).aggregate().item()
    rows = image_scores(table_of(LACKING), "one")["dice"].mean(axis=1)
    assert theirs == pytest.approx(rows.mean(), abs=1e-6)


def test_monai_gives_0_to_a_set_without_anything_to_score_and_we_nothing():
    pairs = [(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))]
    assert updated(DiceMetric(include_background=False), pairs, one_hots).aggregate() == 0
    assert ours(pairs)["dice_per_image"]["foreground"] is None


def test_ignored_pixels_of_others_need_one_form_of_maps():
    prediction, truth = (torch.from_numpy(labels).long()[None, None] for labels in IGNORING[0])
    theirs = compute_dice(prediction, truth, num_classes=K, ignore_index=255)[0]
    np.testing.assert_allclose(theirs, by_class(ours(IGNORING[:1])["dice_per_image"]), atol=1e-6)
    hot = [one_hot(maps[:, 0].clamp(max=K - 1), K).movedim(-1, 1) for maps in (prediction, truth)]
    assert not np.allclose(compute_dice(*hot, ignore_index=255)[0], theirs, atol=0.01)
    with pytest.raises(ValueError, match="not supported for 'multilabel' mode"):
        smp.metrics.get_stats(*hot, mode="multilabel", ignore_index=255)


def test_confusion_matrix_scores_of_monai_equal_ours():
    names = {
        "sensitivity": "recall",
        "specificity": "specificity",
        "precision": "precision",
        "accuracy": "accuracy",
        "f1 score": "dice",
        "threat score": "iou",
    }
    for by_image, averaging in ((True, "per_image"), (False, "pooled")):
        metric = ConfusionMatrixMetric(metric_name=list(names), compute_sample=by_image, reduction="mean_batch")
        for name, theirs in zip(names.values(), updated(metric, FULL, one_hots).aggregate(), strict=True):
            np.testing.assert_allclose(theirs, by_class(ours(FULL)[f"{name}_{averaging}"]), atol=1e-6)


SKLEARN = {
    "dice": sklearn_metrics.f1_score,
    "iou": sklearn_metrics.jaccard_score,
    "precision": sklearn_metrics.precision_score,
    "recall": sklearn_metrics.recall_score,
}


def flat(pairs):
    """Truth and prediction of the pixels that are not ignored."""
    prediction, truth = (np.concatenate([labels.ravel() for labels in maps]) for maps in zip(*pairs, strict=True))
    return truth[truth != 255], prediction[truth != 255]


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_scikit_learn_equals_the_pooled_averages(name, average):
    for labels, over in (([0, 1, 2], "all"), ([1, 2], "foreground")):
        theirs = SKLEARN[name](*flat(IGNORING), labels=labels, average=average)
        mine = averages(table_of(IGNORING), TISSUE, "exclude")[f"{name}_pooled"][f"{average}_{over}"]
        assert mine == pytest.approx(theirs, abs=1e-9)


def test_scikit_learn_gives_0_for_0_by_0_which_lowers_its_mean():
    pairs = [(LACKING[1][1], FULL[1][1])]  # no stroma is predicted: its precision is 0 / 0
    theirs = sklearn_metrics.precision_score(*flat(pairs), average=None, zero_division=0)
    mine = ours(pairs)["precision_pooled"]
    np.testing.assert_allclose(theirs, [mine["background"], mine["gland"], 0])
    assert mine["stroma"] is None
    assert mine["foreground"] == mine["gland"] > theirs[1:].mean()


def test_accuracy_over_all_classes_is_the_micro_average_of_dice():
    theirs = sklearn_metrics.accuracy_score(*flat(IGNORING))
    assert averages(table_of(IGNORING), TISSUE, "exclude")["dice_pooled"]["micro_all"] == pytest.approx(theirs)
