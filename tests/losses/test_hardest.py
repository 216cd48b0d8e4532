"""Only the hardest pixels count: how many, which, with ties, weights and ignored pixels, and what flows back."""

import math

import pytest
import torch
import torch.nn.functional as F

from seg_scse.config.schema import LossConfig
from seg_scse.losses import build_loss
from seg_scse.losses.pixels import hardest_of, pixel_mean


def topk_of_nnunet(logits, target, percent):
    """nnU-Net's TopKLoss: the mean of the k per cent largest cross-entropies, k rounded down."""
    losses = F.cross_entropy(logits, target, reduction="none").flatten()
    return losses.topk(int(losses.numel() * percent / 100), sorted=False).values.mean()


def loss_of(hardest, name="ce", num_classes=4, **config):
    return build_loss(LossConfig(terms={name: 1.0}, hardest=hardest, **config), num_classes)


def drawn(shape=(2, 10, 10), classes=4, ignored=0.0):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(shape[0], classes, *shape[1:], generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = 255
    return logits.requires_grad_(), target.to(torch.uint8)


def both(loss, logits):
    return loss.item(), torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("percent", [10, 25, 100])
def test_value_and_gradient_are_those_of_nnunet(percent):
    logits, target = drawn()
    found = both(loss_of(percent / 100)(logits, target)[0], logits)
    expected = both(topk_of_nnunet(logits, target.long(), percent), logits)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("terms", [("ce",), ("focal",), ("ce", "dice")])
def test_ignored_pixels_are_neither_counted_nor_kept(terms):
    logits, target = drawn(ignored=0.4)
    names = dict.fromkeys(terms, 1.0)
    loss = build_loss(LossConfig(terms=names, hardest=0.1), 4)
    total, parts = loss(logits, target)
    gradient = torch.autograd.grad(total, logits)[0]
    valid = target != 255
    losses = F.cross_entropy(logits.movedim(1, -1)[valid], target[valid].long(), reduction="none")
    if terms == ("focal",):
        losses = (1 - (-losses).exp()) ** 2 * losses
    kept = losses.topk(math.ceil(0.1 * int(valid.sum()))).values.mean()
    assert parts[terms[0]].item() == pytest.approx(kept.item(), rel=1e-5)
    assert torch.count_nonzero(gradient.movedim(1, -1)[~valid]) == 0


def test_only_the_hardest_pixels_get_a_gradient():
    logits, target = drawn()
    gradient = both(loss_of(0.1)(logits, target)[0], logits)[1]
    losses = F.cross_entropy(logits, target.long(), reduction="none")
    touched = gradient.abs().sum(1) > 0
    assert touched.sum() == 20
    assert losses[touched].min() > losses[~touched].max()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_gradients_are_the_slopes(num_classes):
    generator = torch.Generator().manual_seed(1)
    channels = 1 if num_classes == 2 else num_classes
    logits = torch.randn(1, channels, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, num_classes, (1, 4, 5), generator=generator)
    target[0, 0, 0] = 255
    loss = loss_of(0.3, num_classes=num_classes, class_weights=(0.5, 2.0, 1.0, 0.0)[:num_classes])
    assert torch.autograd.gradcheck(lambda z: loss(z, target)[0], (logits,))


@pytest.mark.parametrize(
    ("count", "share", "places"), [(100, 0.07, 7), (30, 0.11, 4), (7, 0.001, 1), (10, 0.7, 7), (3, 1.0, 3)]
)
def test_the_number_of_places_is_the_share_rounded_up(count, share, places):
    kept = hardest_of(torch.arange(float(count)), torch.ones(count, dtype=torch.bool), share)
    assert kept.tolist() == [0.0] * (count - places) + [1.0] * places


def test_ties_share_the_places_that_are_left():
    values = torch.tensor([3.0, 1.0, 2.0, 2.0, 2.0, 0.0])
    kept = hardest_of(values, torch.ones(6, dtype=torch.bool), 0.5)
    torch.testing.assert_close(kept, torch.tensor([1.0, 0.0, 2 / 3, 2 / 3, 2 / 3, 0.0]))
    assert pixel_mean(values, torch.ones(6), 0.5).item() == pytest.approx((3 + 2 + 2) / 3)


def test_pixels_that_cost_nothing_fill_the_places_but_ignored_ones_do_not():
    values, counted = torch.tensor([0.0, 0.0, 5.0, 0.0]), torch.tensor([True, True, True, False])
    torch.testing.assert_close(hardest_of(values, counted, 0.6), torch.tensor([0.5, 0.5, 1.0, 0.0]))


def test_the_weight_takes_part_in_the_order_and_in_the_mean():
    losses, weights = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 1.0, 1.0, 0.0])
    # three pixels have a weight; of them two count: 10 * 1 and 1 * 3
    assert pixel_mean(losses, weights, 0.5).item() == pytest.approx((10 * 1 + 1 * 3) / (10 + 1))


def test_a_batch_without_a_counted_pixel_costs_nothing():
    logits, target = drawn(ignored=2.0)
    value, gradient = both(loss_of(0.2)(logits, target)[0], logits)
    assert value == 0
    assert (gradient == 0).all()


def test_of_labels_each_answer_is_counted_by_itself():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(1, 3, 4, 5, generator=generator), torch.randint(0, 8, (1, 4, 5), generator=generator)
    bits = torch.stack([(target[0] >> label) & 1 for label in range(3)]).unsqueeze(0).float()
    expected = F.binary_cross_entropy_with_logits(logits, bits, reduction="none").flatten().topk(6).values.mean()
    loss = build_loss(LossConfig(terms={"ce": 1.0}, hardest=0.1), 4, "multilabel")
    assert loss(logits, target)[0].item() == pytest.approx(expected.item())
