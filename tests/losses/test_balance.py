import math

import pytest
import torch

from seg_scse.config.schema import LossConfig
from seg_scse.errors import ConfigError
from seg_scse.losses import answer_counts, build_loss, class_weights, weights_text

PIXELS = (9000, 900, 100)
METHODS = ("inverse", "sqrt_inverse", "effective")


def ratios(weights):
    return [weight / weights[0] for weight in weights]


def test_inverse_weights_are_as_one_over_the_pixels():
    assert ratios(class_weights(PIXELS, "inverse")) == pytest.approx([1, 10, 90])


def test_sqrt_inverse_weights_are_as_one_over_their_root():
    assert ratios(class_weights(PIXELS, "sqrt_inverse")) == pytest.approx([1, math.sqrt(10), math.sqrt(90)])


def test_effective_weights_are_those_of_the_paper_with_the_mean_as_volume():
    beta = 1 - 3 / 10_000
    expected = [(1 - beta) / (1 - beta**n) for n in PIXELS]
    assert ratios(class_weights(PIXELS, "effective")) == pytest.approx(ratios(expected))


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_over_the_pixels_is_1_and_the_size_of_the_data_does_not_matter(method):
    weights = class_weights(PIXELS, method)
    assert sum(n * weight for n, weight in zip(PIXELS, weights, strict=True)) == pytest.approx(sum(PIXELS))
    assert class_weights([1000 * n for n in PIXELS], method) == pytest.approx(weights, rel=1e-3)
    assert list(weights) == sorted(weights)


def test_none_is_1_for_all():
    assert class_weights(PIXELS, "none") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_a_pixel_weighs_0_and_is_named(method):
    weights = class_weights((600, 0, 400), method)
    assert weights[1] == 0.0
    assert weights[0] > 0
    assert weights[2] > weights[0]
    text = weights_text(("background", "tumour", "vessel"), weights, method)
    assert text.startswith(f"loss.class_balance={method}: weights background 0.")
    assert text.endswith(
        "tumour 0, vessel 1.25 (no pixel of tumour in the training masks: ce and focal leave it out)"
    ) or (method != "inverse")
    assert "no pixel" not in weights_text(("a", "b"), (1.0, 2.0), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pixels", [(1, 1), (1, 10**10), (3, 0)])
def test_extreme_counts_give_finite_weights(method, pixels):
    assert all(math.isfinite(weight) and weight >= 0 for weight in class_weights(pixels, method))


def test_masks_without_a_class_are_refused():
    with pytest.raises(ConfigError, match=r"^loss\.class_balance=inverse: the training masks hold no pixel of a class"):
        class_weights((0, 0), "inverse")


def test_two_classes_use_both_weights():
    weights = class_weights((900, 100), "inverse")
    assert weights == pytest.approx((1000 / 1800, 1000 / 200))
    logits, target = torch.zeros(1, 1, 1, 10), torch.zeros(1, 1, 10, dtype=torch.uint8)
    logits[..., 0] = -3.0
    target[..., 0] = 1
    config = LossConfig(terms={"ce": 1.0}, class_balance="inverse")
    total = build_loss(config, 2, weights=weights)(logits, target)[0]
    # with inverse weights both classes have half of the say
    expected = (math.log(2) + math.log(1 + math.exp(3))) / 2
    assert total.item() == pytest.approx(expected, rel=1e-6)


def test_answers_of_labels_are_counted_with_their_absence():
    # 100 valid pixels, 70 in none, label 1 on 20, label 2 on 15: 5 in both
    assert answer_counts((70, 20, 15), 100) == (200 - 35, 20, 15)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"^loss\.class_weights has 2 numbers for 3 classes"):
        build_loss(LossConfig(), 3, weights=(1.0, 2.0))
