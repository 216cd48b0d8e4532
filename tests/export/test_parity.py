import math

import numpy as np
import torch
from torch import nn

from seg_scse.export.parity import compare
from seg_scse.inference.predictor import Predictor


class Red(nn.Module):
    """Answers with the first channel, moved."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, images):
        return images[:, :1] + self.by


def red(by):
    return Predictor(Red(by), nn.Identity(), torch.device("cpu"), "fp32", 32, 0.25, 2, 0.5)


def image(*, below):
    """40 x 40 pixels whose logit is 0.5 but for some at -0.01."""
    values = np.full((40, 40, 3), 0.5, np.float32)
    values[0, :below] = -0.01
    return values


def test_differences_are_the_largest_and_labels_are_counted_over_all_images():
    found = compare(red(0.0), Red(0.02), [image(below=7), image(below=0)])
    assert (found.images, found.different) == (2, 7)
    assert math.isclose(found.equal, 1 - 7 / 3200)
    assert math.isclose(found.logits, 0.02, rel_tol=1e-4)
    assert math.isclose(found.probabilities, 1 / (1 + math.exp(-0.01)) - 1 / (1 + math.exp(0.01)), rel_tol=1e-3)
    assert not found.holds


def test_networks_that_agree_to_rounding_hold_and_one_without_numbers_does_not():
    assert compare(red(0.0), Red(0.0009), [image(below=0)]).holds
    assert not compare(red(0.0), Red(0.0011), [image(below=0)]).holds
    found = compare(red(0.0), Red(float("nan")), [image(below=3)])
    assert math.isnan(found.logits)
    assert not found.holds
