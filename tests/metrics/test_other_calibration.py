"""Calibration beside torchmetrics: equal with as many bins. docs/metrics.md."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from seg_scse.metrics.probabilities import RELIABILITY_BINS, ProbabilityTable, count_probabilities

ROUNDING = 3.1e-5


def test_ece_of_two_classes_equals_torchmetrics_pooled_over_the_images():
    random, table, drawn = np.random.default_rng(0), ProbabilityTable(["background", "cell"]), []
    for name in "ab":
        probabilities = random.random((40, 50)).astype(np.float32)
        truth = (random.random((40, 50)) < probabilities**1.5).astype(np.uint8)
        labels = (probabilities > 0.5).astype(np.uint8)
        table.add(name, count_probabilities(probabilities[None], labels, truth, 2))
        drawn.append((torch.from_numpy(probabilities), torch.from_numpy(truth).long()))
    pair = [torch.cat(maps) for maps in zip(*drawn, strict=True)]
    theirs = binary_calibration_error(*pair, n_bins=RELIABILITY_BINS).item()
    ours = table.describe("exclude")["curves"][0]["ece"]
    assert ours == pytest.approx(theirs, abs=ROUNDING)
    by_image = np.mean([binary_calibration_error(*images, n_bins=RELIABILITY_BINS).item() for images in drawn])
    assert abs(by_image - theirs) > ROUNDING, "a mean of the images' errors is another number"


def test_ece_of_several_classes_is_that_of_the_most_probable_one_as_in_torchmetrics():
    random = np.random.default_rng(0)
    probabilities = torch.from_numpy(random.standard_normal((1, 4, 40, 50)).astype(np.float32)).softmax(1)
    confidence, labels = (part[0].numpy() for part in probabilities.max(1))
    truth = np.where(random.random(labels.shape) < 0.5, labels, 0).astype(np.uint8)
    table = ProbabilityTable(list("abcd"))
    table.add("a", count_probabilities(confidence[None], labels.astype(np.uint8), truth, 4))
    target = torch.from_numpy(truth).long()[None]
    theirs = multiclass_calibration_error(probabilities, target, num_classes=4, n_bins=RELIABILITY_BINS).item()
    assert table.describe("exclude")["curves"][0]["ece"] == pytest.approx(theirs, abs=ROUNDING)
