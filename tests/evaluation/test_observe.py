from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.attention.probe import gates_by_site
from seg_scse.config.schema import ModelConfig
from seg_scse.data.standardize import Standardizer
from seg_scse.evaluation.observe import Window, choose_window, class_activation, observe
from seg_scse.inference.predictor import Predictor
from seg_scse.models import build_model

SIDE = 32


class Plain(nn.Module):
    """A block without separable gates that changes nothing."""

    kind, channels, hidden = "plain", 8, 0

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


def make_predictor(kind: str = "scse", classes: int = 2) -> Predictor:
    torch.manual_seed(0)
    attention = {"type": kind, "sites": ["decoder.4", "decoder.5"]}
    small = {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": (32, 16, 16, 8, 8)}
    config = ModelConfig.model_validate({**small, "attention": attention})
    model = build_model(config, 1, classes).eval()
    return Predictor(model, Standardizer([0.5], [0.2]), torch.device("cpu"), "fp32", SIDE, 0.25, 4, 0.5)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 1), dtype=np.uint8)


def blank(height: int, width: int, *boxes: tuple[slice, slice]) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    for number, box in enumerate(boxes):
        labels[box] = 1 + number % 2
    return labels


def test_window_lies_around_the_largest_object() -> None:
    small, large = (slice(2, 6), slice(2, 6)), (slice(60, 70), slice(40, 60))
    assert choose_window(blank(100, 90, small, large), SIDE) == Window(49, 34, SIDE, SIDE, "component")


def test_window_stays_inside_the_image() -> None:
    corner = (slice(92, 100), slice(0, 6))
    assert choose_window(blank(100, 90, corner), SIDE) == Window(68, 0, SIDE, SIDE, "component")


def test_window_is_in_the_centre_where_nothing_was_predicted() -> None:
    assert choose_window(blank(100, 90), SIDE) == Window(34, 29, SIDE, SIDE, "centre")


def test_window_takes_an_axis_whole_that_is_smaller_than_the_tile() -> None:
    assert choose_window(blank(20, 90, (slice(0, 4), slice(80, 88))), SIDE) == Window(0, 58, 20, SIDE, "component")
    assert choose_window(blank(20, 30), SIDE) == Window(0, 0, 20, 30, "whole")


def test_touching_objects_count_as_one() -> None:
    pair = blank(100, 90, (slice(10, 14), slice(10, 14)), (slice(14, 18), slice(14, 18)))  # by a corner, two classes
    alone = blank(100, 90, (slice(80, 85), slice(60, 65)))
    assert choose_window(pair | alone, SIDE).y == 0


def test_observation_holds_the_gates_and_maps_of_the_tile() -> None:
    predictor = make_predictor()
    image = picture(80, 70)
    seen = observe(predictor, image)
    window = seen.window
    assert (window.height, window.width) == (SIDE, SIDE)
    tile = window.of(image)
    assert np.array_equal(seen.prediction, predictor.labels(predictor.probabilities(tile)))
    gate = gates_by_site(predictor.model)["decoder.5"]
    maps: list[Tensor] = []
    handle = gate.register_forward_hook(lambda _module, args, y: maps.extend((args[0], y)))
    predictor.probabilities(tile)
    handle.remove()
    x, y = maps
    stage = seen.stages["decoder.5"]
    assert stage.cells == (SIDE, SIDE)
    assert stage.before == pytest.approx(x[0].abs().mean(0).numpy())
    assert stage.after == pytest.approx(y[0].abs().mean(0).numpy())
    with torch.inference_mode():
        channel, spatial = gate.gates(x)
    assert stage.channel == pytest.approx(channel.flatten().numpy())
    assert stage.spatial == pytest.approx(spatial[0, 0].numpy())


def test_maps_of_a_small_image_end_where_the_image_ends() -> None:
    seen = observe(make_predictor(), picture(20, 31))
    assert seen.window == Window(0, 0, 20, 31, "whole")
    stages = seen.stages
    assert stages["decoder.5"].before.shape == (20, 31)
    assert stages["decoder.4"].cells == (16, 16)
    assert stages["decoder.4"].spatial is not None
    assert stages["decoder.4"].spatial.shape == (10, 16)


@pytest.mark.parametrize(("kind", "channel", "spatial"), [("cse", True, False), ("sse", False, True)])
def test_half_a_block_has_one_gate(kind: str, channel: bool, spatial: bool) -> None:
    stage = observe(make_predictor(kind), picture(32, 32)).stages["decoder.4"]
    assert (stage.channel is not None, stage.spatial is not None) == (channel, spatial)


def plain_last_stage(classes: int = 2) -> Predictor:
    predictor = make_predictor(classes=classes)
    predictor.model.gates["decoder_5"] = Plain()
    return predictor


def test_block_without_separable_gates_is_seen_from_outside() -> None:
    stage = observe(plain_last_stage(), picture(32, 32)).stages["decoder.5"]
    assert stage.channel is None
    assert stage.spatial is None
    assert stage.after == pytest.approx(stage.before)


def linear_head(model: nn.Module, label: int) -> Tensor:
    """Replace the 3x3 head by a 1x1 one and return the weights of a class."""
    torch.manual_seed(1)
    model.segmentation_head[0] = nn.Conv2d(8, 1 if label == 0 else label + 1, 1)
    return model.segmentation_head[0].weight[label, :, 0, 0].detach()


@pytest.mark.parametrize(("classes", "label", "row"), [(2, 1, 0), (3, 2, 2)])
def test_class_activation_before_a_linear_head_is_the_positive_part_of_its_features(
    classes: int, label: int, row: int
) -> None:
    predictor = plain_last_stage(classes)
    weights = linear_head(predictor.model, row)
    seen = observe(predictor, picture(32, 32))
    maps: list[Tensor] = []
    handle = predictor.model.gates["decoder_5"].register_forward_hook(lambda _module, args, _y: maps.append(args[0]))
    predictor.probabilities(picture(32, 32))
    handle.remove()
    expected = torch.einsum("k,khw->hw", weights, maps[0][0]).relu()
    found = class_activation(predictor, seen, label)["decoder.5"]
    assert found == pytest.approx((expected / expected.max()).numpy(), abs=1e-5)


def test_class_activation_sums_the_logits_of_the_predicted_pixels_only() -> None:
    predictor = make_predictor()
    seen = observe(predictor, picture(32, 32))
    half = np.zeros((32, 32), np.uint8)
    half[:, :16] = 1
    some, none, every = (
        class_activation(predictor, replace(seen, prediction=labels), 1)["decoder.4"]
        for labels in (half, 0 * half, 0 * half + 1)
    )
    assert not np.allclose(some, every)
    assert none == pytest.approx(every)  # without a predicted pixel, the whole tile


def test_observing_leaves_no_trace_in_the_network() -> None:
    predictor = make_predictor()
    predictor.model.train()
    seen = observe(predictor, picture(32, 32))
    class_activation(predictor, seen, 1)
    assert predictor.model.training
    assert all(parameter.grad is None for parameter in predictor.model.parameters())
    gates = gates_by_site(predictor.model).values()
    assert not any(gate._forward_pre_hooks or gate._forward_hooks for gate in gates)
    assert not predictor.model._forward_pre_hooks


def test_class_activation_restores_the_mode_of_each_module() -> None:
    predictor = make_predictor()
    seen = observe(predictor, picture(32, 32))
    predictor.model.train()
    predictor.model.encoder.eval()  # as where only the decoder is trained
    modes = [module.training for module in predictor.model.modules()]
    class_activation(predictor, seen, 1)
    assert [module.training for module in predictor.model.modules()] == modes
