import itertools

import pytest
import torch
from torch.overrides import TorchFunctionMode

from seg_scse.config.schema import LossConfig
from seg_scse.errors import ConfigError
from seg_scse.losses import SegmentationLoss, build_loss

TERMS = ("ce", "dice", "jaccard", "focal", "tversky", "lovasz")
CLASSES = (2, 4)
EVERY_TERM = list(itertools.product(TERMS, CLASSES))


def loss_of(name, num_classes, **config):
    return build_loss(LossConfig(terms={name: 1.0}, **config), num_classes)


def weighted_and_smoothed(name, num_classes):
    """A term with settings that change some of them; `build_loss` refuses those that this one does not know."""
    weights = tuple(range(1, num_classes + 1))
    return SegmentationLoss(LossConfig(terms={name: 1.0}, class_weights=weights, label_smoothing=0.1), num_classes)


def draw_logits(num_classes, shape=(2, 7, 9), scale=2.0, dtype=torch.float32, seed=0):
    count, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    channels = 1 if num_classes == 2 else num_classes
    return (scale * torch.randn(count, channels, height, width, generator=generator, dtype=dtype)).requires_grad_()


def draw_target(num_classes, shape=(2, 7, 9), kind="random", dtype=torch.uint8):
    if kind == "random":
        generator = torch.Generator().manual_seed(1)
        target = torch.randint(0, num_classes, shape, generator=generator)
        target[torch.rand(shape, generator=generator) < 0.2] = 255
        return target.to(dtype)
    value = {"empty": 0, "full": num_classes - 1, "ignored": 255}[kind]
    return torch.full(shape, value, dtype=dtype)


def value_and_gradient(loss, logits, target):
    total, _ = loss(logits, target)
    return total, torch.autograd.grad(total, logits)[0]


class Recorder(TorchFunctionMode):
    """Size in bytes of the result of every torch function; for those in the graph, whether autocast was on."""

    def __init__(self):
        super().__init__()
        self.bytes, self.autocast = [], []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes.append(result.numel() * result.element_size())
            if result.requires_grad:
                self.autocast.append(torch.is_autocast_enabled("cpu"))
        return result


@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 7, 9), (1, 1, 1), (2, 1, 1)])
@pytest.mark.parametrize("kind", ["random", "empty", "full", "ignored"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_every_term_is_finite_with_finite_gradients(name, num_classes, dtype, kind, shape):
    logits = draw_logits(num_classes, shape).detach().to(dtype).requires_grad_()
    total, gradient = value_and_gradient(loss_of(name, num_classes), logits, draw_target(num_classes, shape, kind))
    assert total.dtype == torch.float32
    assert total.shape == ()
    assert torch.isfinite(total)
    assert total >= 0
    assert gradient.dtype == dtype
    assert torch.isfinite(gradient).all()
    if kind == "ignored":
        assert total == 0
        assert (gradient == 0).all()
    elif shape == (2, 7, 9):
        assert (gradient != 0).any()


@pytest.mark.parametrize("confident", [1e3, -1e3, 6e4])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_saturated_logits_give_finite_gradients(name, num_classes, gamma, confident):
    logits = (draw_logits(num_classes).detach().sign() * confident).half().requires_grad_()
    loss = loss_of(name, num_classes, focal_gamma=gamma, tversky_alpha=1.0, tversky_beta=0.0)
    total, gradient = value_and_gradient(loss, logits, draw_target(num_classes))
    assert torch.isfinite(total)
    assert total >= 0
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_a_perfect_prediction_costs_nothing(name, num_classes):
    target = draw_target(num_classes)
    if num_classes == 2:
        logits = 80.0 * (target.unsqueeze(1) == 1).float() - 40.0
    else:
        logits = 80.0 * (target.unsqueeze(1) == torch.arange(num_classes).view(1, -1, 1, 1)).float()
    total, _ = loss_of(name, num_classes)(logits, target)
    assert 0 <= total < 1e-6


@pytest.mark.parametrize("kind", ["random", "empty", "full"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", TERMS)
def test_half_precision_logits_stay_near_float32_on_large_masks(name, dtype, kind):
    logits = draw_logits(2, (4, 512, 512), scale=1.0).detach()
    target = draw_target(2, (4, 512, 512), kind)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        half, _ = loss_of(name, 2)(logits.to(dtype), target)
        full, _ = loss_of(name, 2)(logits, target)
    assert half.dtype == full.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), abs=1e-3, rel=1e-3)


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_autocast_changes_nothing(name, num_classes):
    logits, target = draw_logits(num_classes), draw_target(num_classes)
    expected, _ = loss_of(name, num_classes)(logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16), Recorder() as recorder:
        total, _ = loss_of(name, num_classes)(logits, target)
    assert total == expected
    assert len(recorder.autocast) > 3
    assert not any(recorder.autocast)


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_ignored_pixels_have_no_gradient_and_change_nothing(name, num_classes):
    loss = weighted_and_smoothed(name, num_classes)
    logits, target = draw_logits(num_classes), draw_target(num_classes)
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    total, gradient = value_and_gradient(loss, logits, target)
    assert (gradient[ignored] == 0).all()
    for value in (-1e4, 0.0, 1e4):
        changed = logits.detach().masked_fill(ignored, value).requires_grad_()
        other_total, other_gradient = value_and_gradient(loss, changed, target)
        assert other_total == total
        assert torch.equal(other_gradient, gradient)


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_gradients_equal_finite_differences(name, num_classes):
    logits = draw_logits(num_classes, (2, 3, 4), dtype=torch.float64)
    loss = weighted_and_smoothed(name, num_classes)
    for kind in ("random", "empty", "full"):
        target = draw_target(num_classes, (2, 3, 4), kind)
        assert torch.autograd.gradcheck(lambda x, target=target: loss(x, target)[0], (logits,))


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_float32_equals_float64(name, num_classes):
    logits, target = draw_logits(num_classes, (2, 40, 50)), draw_target(num_classes, (2, 40, 50))
    single, _ = loss_of(name, num_classes)(logits, target)
    double, _ = loss_of(name, num_classes)(logits.double(), target)
    assert double.dtype == torch.float64
    assert single.item() == pytest.approx(double.item(), rel=1e-5)


@pytest.mark.parametrize(("name", "num_classes"), EVERY_TERM)
def test_target_dtype_and_memory_layout_do_not_matter(name, num_classes):
    loss, logits, target = loss_of(name, num_classes), draw_logits(num_classes), draw_target(num_classes)
    expected, _ = loss(logits, target)
    assert loss(logits, target.long())[0] == expected
    other = logits.detach().to(memory_format=torch.channels_last)
    assert loss(other, target)[0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_total_is_the_weighted_sum_of_the_parts():
    weights = dict(zip(TERMS, (1.0, 2.0, 0.5, 3.0, 0.25, 4.0), strict=True))
    logits, target = draw_logits(4), draw_target(4)
    total, parts = build_loss(LossConfig(terms=weights), 4)(logits, target)
    assert list(parts) == list(weights)
    for name, part in parts.items():
        assert part == loss_of(name, 4)(logits, target)[0]
        assert part.shape == ()
        assert not part.requires_grad
    assert total.item() == pytest.approx(sum(weights[name] * part.item() for name, part in parts.items()))
    assert total.requires_grad


def test_the_loss_has_no_state_to_save():
    loss = build_loss(LossConfig(class_weights=(1.0, 2.0)), 2)
    assert list(loss.state_dict()) == []
    assert list(loss.parameters()) == []


@pytest.mark.parametrize("name", TERMS)
def test_no_tensor_is_larger_than_the_float32_logits(name):
    logits, target = draw_logits(20, (2, 16, 16)), draw_target(20, (2, 16, 16))
    with Recorder() as recorder:
        loss_of(name, 20)(logits, target)
    assert max(recorder.bytes) <= logits.numel() * 4


@pytest.mark.parametrize(
    ("num_classes", "logits_shape", "target_shape", "message"),
    [
        (2, (1, 2, 4, 4), (1, 4, 4), r"^logits \(1, 2, 4, 4\) do not fit a target \(1, 4, 4\) with 2 classes: .*1, H"),
        (3, (1, 1, 4, 4), (1, 4, 4), r"with 3 classes: expected logits \(N, 3, H, W\) and a target \(N, H, W\)$"),
        (2, (1, 1, 4, 4), (1, 4, 5), "do not fit a target"),
        (2, (2, 1, 4, 4), (1, 4, 4), "do not fit a target"),
        (2, (1, 1, 4, 4), (1, 1, 4, 4), "do not fit a target"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(num_classes, logits_shape, target_shape, message):
    with pytest.raises(ValueError, match=message):
        loss_of("ce", num_classes)(torch.zeros(logits_shape), torch.zeros(target_shape, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, r"^loss\.class_weights has 2 numbers for 3 classes: give one per class"),
        ({"class_weights": (0.0,) * 3}, r"^loss\.class_weights=\[0\.0, 0\.0, 0\.0\]: at least one must be above 0"),
        ({"terms": {"tversky": 1}, "tversky_alpha": 0, "tversky_beta": 0}, "are both 0: no error would count; raise"),
    ],
)
def test_a_loss_that_cannot_teach_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        build_loss(LossConfig(**config), 3)


@pytest.mark.parametrize(
    ("settings", "term", "message"),
    [
        (
            {"hardest": 0.1},
            "dice",
            r"loss\.hardest=0\.1 changes nothing: it is for ce and focal, .* are dice\.",
        ),
        ({"class_balance": "inverse"}, "lovasz", r"loss\.class_balance=inverse changes nothing"),
        ({"class_weights": (1.0, 2.0)}, "tversky", r"loss\.class_weights=\(1\.0, 2\.0\) changes nothing"),
        (
            {"label_smoothing": 0.1},
            "focal",
            r"loss\.label_smoothing=0\.1 changes nothing: it is for ce, .* focal\.",
        ),
    ],
)
def test_a_setting_for_a_term_that_is_not_there_is_refused(settings, term, message):
    with pytest.raises(ConfigError, match=message):
        loss_of(term, 2, **settings)
    build_loss(LossConfig(terms={term: 1.0, "ce": 1.0}, **settings), 2)
