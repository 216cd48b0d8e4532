"""The closed form of cross-entropy and soft counts: against autograd, in both memory formats, in pieces and whole."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from seg_scse.config.schema import LossConfig
from seg_scse.losses import SegmentationLoss, build_loss, softmax
from seg_scse.losses.fusible import FusibleStatistics
from seg_scse.losses.softmax import ChunkedStatistics, softmax_statistics

FORMS = {"chunked": ChunkedStatistics.apply, "fusible": FusibleStatistics.apply}
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last}
CASES = list(itertools.product(FORMS, FORMATS, (0.0, 0.1)))
CLASSES = 5


def drawn(shape=(3, 6, 7), dtype=torch.float64, memory="first", ignored=0.2):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(shape[0], CLASSES, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = 255
    return logits.to(dtype).to(memory_format=FORMATS[memory]).requires_grad_(), target.to(torch.uint8)


def by_autograd(logits, target, smoothing):
    valid = target != 255
    losses = F.cross_entropy(logits, target.long(), ignore_index=255, reduction="none", label_smoothing=smoothing)
    p = logits.softmax(1) * valid.unsqueeze(1)
    truth = target.unsqueeze(1) == torch.arange(CLASSES).view(1, -1, 1, 1)
    return losses, (p * truth).sum((0, 2, 3)), p.sum((0, 2, 3))


def scalar(results, target):
    """Any function of the results in which each has its own slope, and ignored pixels none."""
    losses, own, predicted = results
    slopes = torch.linspace(0.3, 2.0, losses.numel(), dtype=losses.dtype).view_as(losses) * (target != 255)
    ramp = torch.arange(1, CLASSES + 1, dtype=own.dtype)
    return (losses * slopes).sum() + (own * ramp).square().sum() + (predicted * ramp.flip(0)).sin().sum()


@pytest.fixture
def tiny_pieces(monkeypatch):
    """Pieces of 4 pixels: several in each sample, and a last one that is shorter."""
    monkeypatch.setattr(softmax, "PIECE", {"cpu": 4 * CLASSES})


@pytest.mark.parametrize(("form", "memory", "smoothing"), CASES)
def test_values_and_gradients_are_those_of_autograd(form, memory, smoothing, tiny_pieces):
    logits, target = drawn(memory=memory)
    expected = by_autograd(logits, target, smoothing)
    found = FORMS[form](logits, target, smoothing)
    valid = target != 255
    torch.testing.assert_close(found[0][valid], expected[0][valid])
    torch.testing.assert_close(found[1:], expected[1:])
    gradient = torch.autograd.grad(scalar(found, target), logits)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(scalar(expected, target), logits)[0])
    assert torch.count_nonzero(gradient.movedim(1, -1)[~valid]) == 0


@pytest.mark.parametrize(("form", "memory", "smoothing"), CASES)
def test_gradients_are_the_slopes(form, memory, smoothing):
    logits, target = drawn((2, 3, 2), memory=memory)
    assert torch.autograd.gradcheck(lambda z: scalar(FORMS[form](z, target, smoothing), target), (logits,))


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_has_the_dtype_and_memory_format_of_the_logits(dtype, memory):
    logits, target = drawn(dtype=dtype, memory=memory)
    results = softmax_statistics(logits, target, 0.0)
    assert {result.dtype for result in results} == {torch.float32}
    gradient = torch.autograd.grad(scalar(results, target), logits)[0]
    assert gradient.dtype == dtype
    assert gradient.is_contiguous(memory_format=FORMATS[memory])


@pytest.mark.parametrize("pixels", [1, 5, 42, 100, 10_000])
def test_pieces_of_any_size_give_the_same(pixels, monkeypatch):
    logits, target = drawn()
    whole = softmax_statistics(logits, target, 0.1)
    monkeypatch.setattr(softmax, "PIECE", {"cpu": pixels * CLASSES})
    torch.testing.assert_close(softmax_statistics(logits, target, 0.1), whole)


def test_logits_in_no_memory_format_are_read_right():
    logits, target = drawn((2, 6, 12))
    sliced = logits[..., ::2]
    gradients = [
        torch.autograd.grad(scalar(statistics(sliced, target[..., ::2], 0.0), target[..., ::2]), logits)[0]
        for statistics in (softmax_statistics, by_autograd)
    ]
    torch.testing.assert_close(*gradients)


def test_huge_logits_stay_finite():
    logits, target = drawn(dtype=torch.float32)
    logits = (1e4 * logits).detach().requires_grad_()
    for form in FORMS.values():
        results = form(logits, target, 0.0)
        assert all(result.isfinite().all() for result in results)
        assert torch.autograd.grad(scalar(results, target), logits)[0].isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_reading_gives_the_terms_that_each_has_alone(smoothing):
    logits, target = drawn(dtype=torch.float32)
    names = ("ce", "focal", "dice", "lovasz")
    together = build_loss(LossConfig(terms=dict.fromkeys(names, 1.0), label_smoothing=smoothing), CLASSES)
    _, parts = together(logits, target)
    for name in names:
        alone = SegmentationLoss(LossConfig(terms={name: 1.0}, label_smoothing=smoothing), CLASSES)
        assert parts[name].item() == pytest.approx(alone(logits, target)[0].item(), rel=1e-6)
