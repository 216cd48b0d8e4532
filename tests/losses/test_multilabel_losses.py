"""Losses where a pixel may have several labels: by hand, against PyTorch, and as many problems of two classes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seg_scse.config.schema import LossConfig
from seg_scse.errors import ConfigError
from seg_scse.losses import SegmentationLoss, build_loss

TERMS = ("ce", "dice", "jaccard", "focal", "tversky", "lovasz")
LABELS = 3
NONE, FIRST, SECOND, BOTH, IGNORED = 0, 1, 2, 3, 255


def loss_of(name, labels=LABELS, **config):
    return build_loss(LossConfig(terms={name: 1.0}, **config), labels + 1, "multilabel")


def drawn(labels=LABELS, shape=(2, 7, 9), seed=0, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], labels, *shape[1:], generator=generator)
    target = torch.randint(0, 2**labels, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = IGNORED
    return logits.requires_grad_(), target.to(torch.uint8)


def bits_of(target, labels=LABELS):
    planes = (target[:, None].numpy() >> np.arange(labels).reshape(1, -1, 1, 1)) & 1
    return torch.from_numpy(planes).bool()


def value(loss, logits, target):
    return float(loss(logits, target)[0].detach())


def pixels(*columns):
    """Logits (1, F, 1, P) from one tuple of logits per pixel."""
    return torch.tensor(columns, dtype=torch.float64).T[None, :, None]


def row(*values):
    return torch.tensor([[values]], dtype=torch.uint8)


def log_loss(p):
    return -math.log(p)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def test_ce_by_hand():
    logits, target = pixels((1.0, -2.0), (0.5, 3.0), (9.0, 9.0)), row(FIRST, BOTH, IGNORED)
    terms = [log_loss(sigmoid(1.0)), log_loss(sigmoid(2.0)), log_loss(sigmoid(0.5)), log_loss(sigmoid(3.0))]
    assert value(loss_of("ce", 2), logits, target) == pytest.approx(sum(terms) / 4, rel=1e-12)


def test_ce_with_weights_by_hand():
    """Class 0 weighs each label's absence, class k the presence of label k."""
    logits, target = pixels((1.0, -2.0), (0.5, 3.0)), row(FIRST, BOTH)
    losses = [log_loss(sigmoid(1.0)), log_loss(sigmoid(2.0)), log_loss(sigmoid(0.5)), log_loss(sigmoid(3.0))]
    weights = [4.0, 0.5, 4.0, 7.0]  # there, absent, there, there
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert value(loss_of("ce", 2, class_weights=(0.5, 4.0, 7.0)), logits, target) == pytest.approx(expected, rel=1e-12)


def test_dice_jaccard_and_tversky_by_hand():
    """Label 1 is on two of three pixels, label 2 on none: it is charged its mean probability."""
    logits, target = pixels((1.0, -2.0), (0.5, 3.0), (-1.0, 0.0), (9.0, 9.0)), row(FIRST, FIRST, NONE, IGNORED)
    tp = sigmoid(1.0) + sigmoid(0.5)
    fp, fn = sigmoid(-1.0), 2 - tp
    absent = (sigmoid(-2.0) + sigmoid(3.0) + sigmoid(0.0)) / 3
    for name, alpha, beta in (("dice", 0.5, 0.5), ("jaccard", 1.0, 1.0), ("tversky", 0.3, 0.7)):
        expected = 1 - tp / (tp + alpha * fp + beta * fn) + absent
        assert value(loss_of(name, 2), logits, target) == pytest.approx(expected, rel=1e-6)


def test_focal_by_hand():
    logits, target = pixels((1.0, -2.0)), row(FIRST)
    expected = sum((1 - sigmoid(z)) ** 2 * log_loss(sigmoid(z)) for z in (1.0, 2.0)) / 2
    assert value(loss_of("focal", 2), logits, target) == pytest.approx(expected, rel=1e-9)


def test_lovasz_by_hand():
    """Label 1: margins 1.5 (missed) and 0.2, label 2: margin 0.5 of a pixel without it."""
    logits, target = pixels((-0.5, -0.5), (0.8, -2.0)), row(FIRST, FIRST)
    first = 1.5 / 2 + 0.2 / 2  # each of the two pixels of the class takes half of the Jaccard index
    second = 0.5  # the first false positive of an absent label takes all of it
    assert value(loss_of("lovasz", 2), logits, target) == pytest.approx((first + second) / 2, rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ce_is_the_bce_of_torch(smoothing):
    logits, target = drawn()
    valid = (target != IGNORED)[:, None].expand(-1, LABELS, -1, -1)
    truth = bits_of(target).float() * (1 - smoothing) + smoothing / 2
    expected = F.binary_cross_entropy_with_logits(logits[valid], truth[valid])
    assert value(loss_of("ce", label_smoothing=smoothing), logits, target) == pytest.approx(
        float(expected.detach()), rel=1e-6
    )


@pytest.mark.parametrize("name", TERMS)
def test_one_label_is_the_loss_of_two_classes(name):
    logits, target = drawn(1)
    config = LossConfig(terms={name: 1.0}, class_weights=(0.5, 3.0), label_smoothing=0.05)
    results = []
    for task in ("multiclass", "multilabel"):
        total = SegmentationLoss(config, 2, task)(logits, target)[0]
        results.append((total.detach(), torch.autograd.grad(total, logits)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", TERMS)
def test_labels_are_as_many_problems_of_two_classes(name):
    logits, target = drawn(shape=(2, 9, 11))
    bits = bits_of(target)
    each = []
    for label in range(LABELS):
        alone = bits[:, label].to(torch.uint8)
        alone[target == IGNORED] = IGNORED
        binary = build_loss(LossConfig(terms={name: 1.0}), 2)
        each.append(value(binary, logits[:, label : label + 1], alone))
    assert value(loss_of(name), logits, target) == pytest.approx(sum(each) / LABELS, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_an_ignored_pixel_has_no_gradient_and_every_label_of_a_valid_one_has(name):
    logits, target = drawn(ignored=0.3)
    total, _ = loss_of(name)(logits, target)
    gradient = torch.autograd.grad(total, logits)[0]
    ignored = (target == IGNORED)[:, None].expand_as(gradient)
    assert torch.count_nonzero(gradient[ignored]) == 0
    if name != "lovasz":  # which leaves pixels beyond the margin alone
        assert torch.count_nonzero(gradient[~ignored]) == (~ignored).sum()


@pytest.mark.parametrize("name", TERMS)
def test_what_the_logits_of_ignored_pixels_are_changes_nothing(name):
    logits, target = drawn(ignored=0.3)
    other = torch.where((target == IGNORED)[:, None], 50.0, logits)
    assert value(loss_of(name), logits, target) == value(loss_of(name), other, target)


@pytest.mark.parametrize("name", TERMS)
def test_a_batch_of_ignored_pixels_has_no_loss_and_no_gradient(name):
    logits, target = drawn(ignored=2.0)
    total, _ = loss_of(name)(logits, target)
    assert float(total.detach()) == 0.0
    assert torch.count_nonzero(torch.autograd.grad(total, logits)[0]) == 0


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_the_slopes(name):
    logits, target = drawn(2, (1, 3, 4), seed=3)
    loss = loss_of(name, 2)
    assert torch.autograd.gradcheck(lambda x: loss(x, target)[0], logits.detach().double().requires_grad_())


@pytest.mark.parametrize("name", TERMS)
def test_a_perfect_prediction_costs_nothing_and_a_wrong_label_something(name):
    _, target = drawn(ignored=0.1)
    right = torch.where(bits_of(target), 40.0, -40.0)
    assert value(loss_of(name), right, target) == pytest.approx(0.0, abs=1e-6)
    wrong = right.clone()
    wrong[:, 1] *= -1
    assert value(loss_of(name), wrong, target) > 0.2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_seven_labels_fit_into_a_byte(dtype):
    logits, target = drawn(7, ignored=0.2)
    assert value(loss_of("dice", 7), torch.where(bits_of(target, 7), 40.0, -40.0), target.to(dtype)) < 1e-6
    assert value(loss_of("dice", 7), logits, target.to(dtype)) > 0.3


def test_logits_of_another_number_of_labels_are_refused():
    logits, target = drawn(3)
    with pytest.raises(ValueError, match=r"expected logits \(N, 2, H, W\)"):
        loss_of("ce", 2)(logits, target)


def test_class_weights_are_one_for_absence_and_one_for_each_label():
    with pytest.raises(ConfigError, match=r"loss\.class_weights has 3 numbers for 4 classes: give one per class"):
        loss_of("ce", class_weights=(1.0, 2.0, 3.0))
