"""Several maps of logits: their shares, and what the target is at each size."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from seg_scse.config.schema import LossConfig
from seg_scse.losses import build_loss
from seg_scse.losses.levels import level_shares, target_at


def drawn(sides, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = 1 if classes == 2 else classes
    levels = [torch.randn(2, channels, side, side, generator=generator, requires_grad=True) for side in sides]
    target = torch.randint(0, classes, (2, sides[0], sides[0]), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    return levels, target.to(torch.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shares_halve_and_add_up_to_1(count):
    shares = level_shares(count)
    assert sum(shares) == pytest.approx(1.0)
    assert [b / a for a, b in itertools.pairwise(shares)] == pytest.approx([0.5] * (count - 1))


def test_shares_of_three_by_hand():
    assert level_shares(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("terms", [{"ce": 1.0, "dice": 2.0}, {"focal": 1.0}, {"lovasz": 1.0}])
def test_the_loss_of_levels_is_the_weighted_sum_of_each_ones(terms, classes):
    levels, target = drawn((16, 8, 4), classes)
    loss = build_loss(LossConfig(terms=terms), classes)
    total, parts = loss(levels, target)
    each = [loss(level, target_at(target, *level.shape[2:])) for level in levels]
    shares = (4 / 7, 2 / 7, 1 / 7)
    assert total.item() == pytest.approx(sum(s * t.item() for s, (t, _) in zip(shares, each, strict=True)), rel=1e-5)
    for name, part in parts.items():
        assert part.item() == pytest.approx(
            sum(s * p[name].item() for s, (_, p) in zip(shares, each, strict=True)), rel=1e-5
        )
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(total, levels))


def test_one_level_is_the_plain_loss_to_the_bit():
    (level,), target = drawn((16,))
    loss = build_loss(LossConfig(), 4)
    assert torch.equal(loss([level], target)[0], loss(level, target)[0])
    assert torch.equal(loss((level,), target)[0], loss(level, target)[0])


@pytest.mark.parametrize("size", [(6, 8), (3, 4), (5, 3), (1, 1), (13, 7), (12, 16), (24, 20)])
def test_the_target_takes_the_pixel_that_each_centre_lies_in(size):
    target = torch.randint(0, 9, (2, 12, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = F.interpolate(target.unsqueeze(1).double(), size, mode="nearest-exact").squeeze(1).to(torch.uint8)
    assert torch.equal(target_at(target, *size), expected)


def test_at_half_the_size_it_is_the_lower_right_pixel_and_at_a_third_the_middle_one():
    target = torch.arange(36).view(1, 6, 6)
    assert target_at(target, 3, 3)[0].tolist() == [[7, 9, 11], [19, 21, 23], [31, 33, 35]]
    assert target_at(target, 2, 2)[0].tolist() == [[7, 10], [25, 28]]


def test_ignored_pixels_stay_ignored_at_each_size():
    levels, target = drawn((8, 4))
    target[:, 1::2, 1::2] = 255  # all that the coarser level would take
    total, _ = build_loss(LossConfig(), 4)(levels, target)
    fine, coarse = torch.autograd.grad(total, levels)
    assert fine.abs().sum() > 0
    assert (coarse == 0).all()


def test_labels_have_levels_too():
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 3, side, side, generator=generator) for side in (8, 4)]
    target = torch.randint(0, 8, (2, 8, 8), generator=generator).to(torch.uint8)
    loss = build_loss(LossConfig(), 4, "multilabel")
    each = [loss(level, target_at(target, *level.shape[2:]))[0].item() for level in levels]
    assert loss(levels, target)[0].item() == pytest.approx(each[0] * 2 / 3 + each[1] / 3, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 4, 4, 4), (2, 4, 4)])
def test_a_level_that_does_not_fit_is_refused(shape):
    (level,), target = drawn((8,))
    with pytest.raises(ValueError, match=r"do not fit a target \(2, 8, 8\) with 4 classes"):
        build_loss(LossConfig(), 4)([level, torch.zeros(shape)], target)


def test_the_first_level_must_have_the_size_of_the_target():
    levels, target = drawn((8, 4))
    with pytest.raises(ValueError, match=r"^logits \(2, 4, 4, 4\) do not fit a target \(2, 8, 8\)"):
        build_loss(LossConfig(), 4)(levels[::-1], target)
