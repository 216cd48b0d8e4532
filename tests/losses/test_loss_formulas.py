import itertools

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from seg_scse.config.schema import LossConfig
from seg_scse.losses import build_loss

CLASSES = (2, 4)
REGION = {"dice": (0.5, 0.5), "jaccard": (1.0, 1.0), "tversky": (0.3, 0.7)}
EVERY_REGION_TERM = list(itertools.product(REGION, CLASSES))


def loss_of(name, num_classes, **config):
    return build_loss(LossConfig(terms={name: 1.0}, **config), num_classes)


def draw(num_classes, kind="random"):
    """Logits (2, C, 7, 9) and a uint8 target (2, 7, 9) with a fifth of the pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    channels = 1 if num_classes == 2 else num_classes
    logits = 2 * torch.randn(2, channels, 7, 9, generator=generator)
    target = {
        "random": torch.randint(0, num_classes, (2, 7, 9), generator=generator),
        "empty": torch.zeros(2, 7, 9),
        "full": torch.full((2, 7, 9), num_classes - 1),
    }[kind]
    target[torch.rand(2, 7, 9, generator=generator) < 0.2] = 255
    return logits.requires_grad_(), target.to(torch.uint8)


def value_and_gradient(loss, logits, target):
    total, _ = loss(logits, target)
    return total, torch.autograd.grad(total, logits)[0]


def valid_pairs(logits, target):
    """Logits (P, C) and target (P,) of the valid pixels, by hand."""
    flat = logits.detach().movedim(1, -1).flatten(0, 2)
    valid = target.flatten() != 255
    return flat[valid], target.flatten()[valid].long()


def foreground_probabilities(logits, target):
    """float64 probabilities (P, F) and one-hot truth (P, F) of the valid pixels."""
    flat, truth = valid_pairs(logits.double(), target)
    if flat.shape[1] == 1:
        return flat.sigmoid(), (truth == 1).double().unsqueeze(1)
    return flat.softmax(1)[:, 1:], F.one_hot(truth, flat.shape[1])[:, 1:].double()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ce_equals_torch_on_the_valid_pixels(smoothing):
    logits, target = draw(4)
    expected = F.cross_entropy(*valid_pairs(logits, target), label_smoothing=smoothing)
    assert loss_of("ce", 4, label_smoothing=smoothing)(logits, target)[0].item() == pytest.approx(expected.item())


def test_binary_ce_equals_torch_on_the_valid_pixels():
    logits, target = draw(2)
    flat, truth = valid_pairs(logits, target)
    expected = F.binary_cross_entropy_with_logits(flat[:, 0], truth.float())
    assert loss_of("ce", 2)(logits, target)[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("num_classes", CLASSES)
def test_weighted_ce_equals_torch_on_the_valid_pixels(num_classes):
    weights = (0.5, 2.0, 0.0, 3.0)[:num_classes]
    logits, target = draw(num_classes)
    flat, truth = valid_pairs(logits, target)
    if num_classes == 2:
        flat = torch.cat([torch.zeros_like(flat), flat], dim=1)
    expected = F.cross_entropy(flat, truth, weight=torch.tensor(weights))
    assert loss_of("ce", num_classes, class_weights=weights)(logits, target)[0].item() == pytest.approx(expected.item())


def test_binary_ce_with_smoothing_equals_two_class_softmax():
    logits, target = draw(2)
    flat, truth = valid_pairs(logits, target)
    expected = F.cross_entropy(torch.cat([torch.zeros_like(flat), flat], dim=1), truth, label_smoothing=0.3)
    assert loss_of("ce", 2, label_smoothing=0.3)(logits, target)[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["ce", "focal"])
def test_a_batch_of_weightless_classes_costs_nothing(name):
    total, gradient = value_and_gradient(loss_of(name, 2, class_weights=(0.0, 1.0)), *draw(2, "empty"))
    assert total == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("num_classes", CLASSES)
def test_focal_equals_its_formula(num_classes):
    weights = (0.5, 2.0, 1.0, 3.0)[:num_classes]
    logits, target = draw(num_classes)
    flat, truth = valid_pairs(logits.double(), target)
    probabilities = torch.cat([-flat, flat], 1).sigmoid() if num_classes == 2 else flat.softmax(1)
    p = probabilities.gather(1, truth.unsqueeze(1)).squeeze(1)
    w = torch.tensor(weights, dtype=torch.float64)[truth]
    expected = (w * (1 - p) ** 1.5 * -p.log()).sum() / w.sum()
    total, _ = loss_of("focal", num_classes, focal_gamma=1.5, class_weights=weights)(logits, target)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("num_classes", CLASSES)
def test_focal_with_gamma_0_is_ce(num_classes):
    logits, target = draw(num_classes)
    focal, _ = loss_of("focal", num_classes, focal_gamma=0.0)(logits, target)
    assert focal.item() == pytest.approx(loss_of("ce", num_classes)(logits, target)[0].item())


@pytest.mark.parametrize(("name", "num_classes"), EVERY_REGION_TERM)
def test_region_losses_equal_their_formula(name, num_classes):
    alpha, beta = REGION[name]
    logits, target = draw(num_classes)
    p, truth = foreground_probabilities(logits, target)
    tp, fp, fn = (p * truth).sum(0), (p * (1 - truth)).sum(0), ((1 - p) * truth).sum(0)
    expected = (1 - tp / (tp + alpha * fp + beta * fn)).mean()
    assert loss_of(name, num_classes)(logits, target)[0].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("name", "num_classes"), EVERY_REGION_TERM)
def test_an_empty_target_costs_the_mean_foreground_probability(name, num_classes):
    logits, target = draw(num_classes, "empty")
    p, _ = foreground_probabilities(logits, target)
    total, gradient = value_and_gradient(loss_of(name, num_classes), logits, target)
    assert total.item() == pytest.approx(p.sum(1).mean().item(), rel=1e-5)
    foreground = gradient if num_classes == 2 else gradient[:, 1:]
    assert (foreground.movedim(1, -1)[target != 255].abs() > 0).all()


def test_an_absent_class_is_charged_its_share_and_others_their_dice():
    logits, target = draw(4)
    target[target == 3] = 0
    p, truth = foreground_probabilities(logits, target)
    tp, fp, fn = (p * truth).sum(0), (p * (1 - truth)).sum(0), ((1 - p) * truth).sum(0)
    dice = 1 - 2 * tp / (2 * tp + fp + fn)
    total, gradient = value_and_gradient(loss_of("dice", 4), logits, target)
    assert total.item() == pytest.approx(((dice[0] + dice[1]) / 2 + p[:, 2].mean()).item(), rel=1e-5)
    assert (gradient[:, 3][target != 255] > 0).all()


def test_region_losses_pool_the_batch():
    logits, target = draw(2)
    target[1] = 0
    stacked = torch.cat(list(logits), dim=1).unsqueeze(0), torch.cat(list(target)).unsqueeze(0)
    joined, _ = loss_of("dice", 2)(*stacked)
    assert loss_of("dice", 2)(logits, target)[0].item() == pytest.approx(joined.item(), rel=1e-5)


@pytest.mark.parametrize("num_classes", CLASSES)
def test_dice_agrees_with_smp_where_all_classes_are_present(num_classes):
    mode, classes = ("binary", None) if num_classes == 2 else ("multiclass", [1, 2, 3])
    logits, target = draw(num_classes)
    theirs = smp.losses.DiceLoss(mode, classes=classes, ignore_index=255)(logits, target.long())
    assert loss_of("dice", num_classes)(logits, target)[0].item() == pytest.approx(theirs.item(), rel=1e-5)


def test_smp_dice_teaches_nothing_on_an_empty_target_where_ours_does():
    logits, target = draw(2, "empty")
    theirs = smp.losses.DiceLoss("binary", ignore_index=255)(logits, target.long())
    assert theirs == 0
    assert (torch.autograd.grad(theirs, logits)[0] == 0).all()
    gradient = value_and_gradient(loss_of("dice", 2), logits, target)[1]
    assert (gradient.squeeze(1)[target != 255] > 0).all()


@pytest.mark.parametrize("kind", ["random", "empty", "full"])
@pytest.mark.parametrize("num_classes", CLASSES)
def test_lovasz_agrees_with_the_authors_code_in_smp(num_classes, kind):
    mode = "binary" if num_classes == 2 else "multiclass"
    logits, target = draw(num_classes, kind)
    theirs = smp.losses.LovaszLoss(mode, ignore_index=255)(logits, target.long())
    total, gradient = value_and_gradient(loss_of("lovasz", num_classes), logits, target)
    assert total.item() == pytest.approx(theirs.item(), rel=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, logits)[0], rtol=1e-4, atol=1e-6)


def test_lovasz_of_a_hard_prediction_is_its_jaccard_loss():
    target = torch.tensor([[[1, 1, 1, 0, 0, 255]]], dtype=torch.uint8)
    predicted = torch.tensor([[[1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 1], [0, 0, 0, 0, 1, 0]]]).float().unsqueeze(2)
    # tp, fp, fn of class 0: 0, 1, 2; of class 1: 2, 1, 1; class 2 is not in the truth
    total, _ = loss_of("lovasz", 3)(100.0 * predicted, target)
    assert total.item() == pytest.approx(((1 - 0 / 3) + (1 - 2 / 4)) / 2)
