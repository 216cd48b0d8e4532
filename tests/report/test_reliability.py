import numpy as np
import pytest

from seg_scse.report.charts import across, line, upwards
from seg_scse.report.probabilities import Curve, Probabilities
from seg_scse.report.reading import read_results
from seg_scse.report.reliability import calibrations


def curve(**changes) -> Curve:
    negative, positive = np.zeros(256, int), np.zeros(256, int)
    negative[:16], positive[:16] = 90, 10  # first bin of 16: a tenth is true
    negative[240:], positive[240:] = 0, 5
    values = {"name": "nucleus", "kind": "class", "negative": negative.tolist(), "positive": positive.tolist()}
    return Curve.model_validate(values | {"ece": 0.25, "brier": 0.125} | changes)


def drawn(make_run, found: Curve, **changes):
    results = read_results(make_run(**changes) / "results.json")
    (calibration,) = calibrations(results, Probabilities(bins=256, curves=(found,)))
    return calibration


def test_reliability_shows_the_observed_share_of_each_bin_that_holds_a_pixel(make_run):
    (chart,) = drawn(make_run, curve()).charts
    first = (across(8 / 256), upwards(0.1))
    last = (across(248 / 256), upwards(1.0))
    assert chart.lines[0].dots == (first, last)
    assert [bar.title for bar in chart.bars] == [
        "0 to 0.0625: 1\u202f600 pixels, 10.0% true",
        "0.9375 to 1: 80 pixels, 100.0% true",
    ]
    assert chart.bars[0].height > chart.bars[1].height > 0
    assert chart.diagonal


def test_calibration_is_summed_up_in_numbers(make_run):
    assert drawn(make_run, curve()).calibration == "ECE 0.2500, Brier score 0.1250, 1\u202f680 pixels"


TUNED = {
    "thresholds": [0.25, 0.5, 0.75],
    "dice_per_image": [0.7, 0.75, None],
    "dice_pooled": [0.7, 0.8, 0.6],
    "iou_per_image": [0.5, 0.6, 0.5],
    "iou_pooled": [0.5, 0.6, 0.5],
    "precision_pooled": [0.5, 0.75, None],
    "recall_pooled": [1.0, 0.5, 0.25],
}


def test_scores_over_the_threshold_and_the_place_of_the_one_used(make_run):
    thresholds, shares, precision_recall, _ = drawn(make_run, curve(**TUNED)).charts
    assert thresholds.marker == shares.marker == across(0.5)
    assert [found.label for found in thresholds.lines] == [
        "Dice per image",
        "Dice pooled",
        "IoU per image",
        "IoU pooled",
    ]
    first = thresholds.lines[0].path
    assert first == f"M{across(0.25):g} {upwards(0.7):g}L{across(0.5):g} {upwards(0.75):g}"  # None ends the curve
    assert [found.label for found in shares.lines] == ["precision pooled", "recall pooled"]
    assert shares.lines[1].path.startswith(f"M{across(0.25):g} {upwards(1.0):g}L{across(0.5):g} {upwards(0.5):g}")
    assert precision_recall.lines[1].dots == ((across(0.5), upwards(0.75)),)


@pytest.mark.parametrize(("split", "hindsight"), [("test", True), ("val", False)])
def test_the_best_threshold_of_a_test_split_is_called_hindsight(make_run, split, hindsight):
    sentence = drawn(make_run, curve(**TUNED | {"dice_per_image": [0.8, 0.75, 0.6]}), split=split).threshold
    assert sentence.startswith("The threshold used is 0.5; the highest Dice per image here, 0.8000, is at 0.25.")
    assert ("hindsight" in sentence) == hindsight


def test_a_confidence_has_reliability_alone(make_run):
    found = drawn(make_run, curve(kind="confidence", name="most probable class"))
    (chart,) = found.charts
    assert chart.y_label == "share that is right"
    assert found.threshold.startswith("Each pixel takes its most probable class: there is no threshold to choose")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positive": [1, 2]}, "same number of bins"),
        ({**TUNED, "dice_pooled": [0.5]}, r"\['dice_pooled'\] must have a value for each of the 3 thresholds"),
        ({"negative": [-1] * 256}, "greater than or equal to 0"),
    ],
)
def test_curves_that_do_not_fit_together_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        curve(**changes)


def test_histograms_of_another_number_of_bins_are_refused():
    with pytest.raises(ValueError, match="every histogram must have 128 bins"):
        Probabilities(bins=128, curves=(curve(),))


def test_a_line_is_interrupted_where_a_value_is_missing():
    found = line("a", [(0, 0), (0.5, None), (0.5, 1), (1, 1)], dots=True)
    assert found.path == "M42 196M196 10L350 10"
    assert found.dots == ((42, 196), (196, 10), (350, 10))
    assert line("a", [(5, 20)], (0, 10), (10, 20)).path == "M196 10"
