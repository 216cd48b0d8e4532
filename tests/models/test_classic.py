from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seg_scse.config import load_config
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import ClassicUNet, build_model, describe_model


def network(in_channels=3, classes=2, width=4, depth=4):
    torch.manual_seed(0)
    return ClassicUNet(in_channels, classes, width, depth)


def parameters(model):
    return sum(value.numel() for value in model.parameters())


def formula(in_channels, classes, width, depth):
    """Count parameters convolution by convolution; every 3x3 one is followed by a normalisation with 2 per channel."""

    def block(a, b):
        return 9 * a * b + 2 * b + 9 * b * b + 2 * b

    widths = [width * 2**k for k in range(depth + 1)]
    encoder = block(in_channels, width) + sum(block(c, 2 * c) for c in widths[:-1])
    decoder = sum(4 * 2 * c * c + c + block(2 * c, c) for c in widths[:-1])
    return encoder + decoder + width * classes + classes


def reference(state, x, depth):
    """Compute the network in evaluation mode from its state dict alone, as Ronneberger's figure 1 is drawn."""

    def convolve(x, name):
        x = F.conv2d(x, state[f"{name}.0.weight"], padding=1)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.1.{key}"] for key in keys)).relu()

    def block(x, name):
        return convolve(convolve(x, f"{name}.conv1"), f"{name}.conv2")

    skips = []
    for level in range(depth):
        skips.append(block(x, f"encoder.blocks.{level}"))
        x = F.max_pool2d(skips[-1], 2)
    x = block(x, f"encoder.blocks.{depth}")
    for level in range(depth):
        up = state[f"decoder.blocks.{level}.up.weight"], state[f"decoder.blocks.{level}.up.bias"]
        x = torch.cat([skips.pop(), F.conv_transpose2d(x, *up, stride=2)], 1)
        x = block(x, f"decoder.blocks.{level}")
    return F.conv2d(x, state["segmentation_head.weight"], state["segmentation_head.bias"])


@pytest.mark.parametrize(("width", "depth"), [(64, 4), (6, 1), (5, 3)])
def test_the_parameter_count_is_that_of_the_formula(width, depth):
    model = ClassicUNet(3, 2, width, depth)
    assert parameters(model) == formula(3, 2, width, depth)
    sizes = [width * 2**k for k in range(depth + 1)]
    of_docstring = 9 * (3 * width + width**2) + 4 * width + 2 * (width + 1)
    of_docstring += sum(9 * (a * b + b * b) + 4 * b for a, b in pairwise(sizes))
    of_docstring += sum(35 * c * c + 5 * c for c in sizes[:-1])
    assert parameters(model) == of_docstring


def test_the_defaults_are_the_network_of_the_papers():
    assert parameters(ClassicUNet(1, 28)) == formula(1, 28, width=64, depth=4)


@pytest.mark.parametrize("depth", [1, 4])
def test_the_output_is_that_of_an_independent_reference(depth):
    model = network(depth=depth).double()
    x = torch.rand(2, 3, 48, 32, dtype=torch.float64)
    model(x)  # moves the running statistics away from 0 and 1
    torch.testing.assert_close(model.eval()(x), reference(model.state_dict(), x, depth), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (37, 50), (45, 46)])
def test_any_size_from_two_to_the_depth_works(size):
    model = network(in_channels=1).eval()
    assert model(torch.rand(1, 1, *size)).shape == (1, 2, *size)


def test_an_odd_side_changes_nothing_far_from_the_border():
    model = network(depth=1).eval()
    x = torch.rand(1, 3, 33, 33)
    torch.testing.assert_close(model(x)[..., :24, :24], model(x[..., :32, :32])[..., :24, :24])


def test_features_are_finest_first_and_end_with_the_bottleneck():
    features = network().encoder(torch.rand(1, 3, 32, 48))
    assert [tuple(x.shape[1:]) for x in features] == [(4 * 2**k, 32 >> k, 48 >> k) for k in range(5)]


def test_decoder_blocks_run_in_order_and_conv1_gets_skip_and_upsampled_map():
    model, widths = network(), []
    for block in model.decoder.blocks:
        block.conv1.register_forward_pre_hook(lambda _m, args: widths.append(args[0].shape[1:]))
    features = model.encoder(torch.rand(1, 3, 32, 32))
    model.decoder(features)
    assert widths == [(64, 4, 4), (32, 8, 8), (16, 16, 16), (8, 32, 32)]


def test_every_parameter_gets_a_gradient():
    model = network()
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(value.grad is not None for value in model.parameters())


def test_channels_last_passes_through():
    model = network().to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 37, 50).to(memory_format=torch.channels_last)
    features = model.encoder(x)
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in (*features, model.decoder(features)))


def test_it_exports_for_any_batch_and_size():
    model, auto = network(depth=2).eval(), torch.export.Dim.AUTO
    program = torch.export.export(
        model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    ).module()
    x = torch.rand(3, 3, 21, 34)
    torch.testing.assert_close(program(x), model(x))


def test_convolutions_start_with_variance_two_over_fan_in():
    model = network(width=32, depth=2)
    for weight in (model.encoder.blocks[2].conv2[0].weight, model.decoder.blocks[0].conv1[0].weight):
        assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["in_channels", "classes", "width", "depth"])
def test_a_size_below_one_is_refused(name):
    with pytest.raises(ConfigError) as error:
        network(**{name: 0})
    assert str(error.value) == f"`{name}` = 0 leaves no network: it must be 1 or more."


# in `build_model`

CLASSIC = {"architecture": "classic_unet", "width": 8}


@pytest.mark.parametrize("preset", ["paper_miccai", "paper_tmi"])
def test_the_network_of_the_papers_has_one_gate_after_every_block(preset):
    model = build_model({"architecture": "classic_unet", "attention": {"preset": preset}}, 1, 28)
    description = describe_model(model)
    widths = [64, 128, 256, 512, 1024, 512, 256, 128, 64]
    assert [gate["channels"] for gate in description["gates"]] == widths
    assert [gate["site"] for gate in description["gates"]] == [
        *(f"encoder.{k}" for k in range(1, 5)), "bottleneck", *(f"decoder.{k}" for k in range(1, 5)),
    ]  # fmt: skip
    cost = sum(2 * c * (c // 2) + c // 2 + c + c + 1 for c in widths)
    host = description["parameters"] - cost
    assert host == sum(value.numel() for value in ClassicUNet(1, 28).parameters())
    assert cost / host == pytest.approx(0.056, abs=5e-4)


@pytest.mark.parametrize("architecture", ["classic_unet", "unet", "fpn"])
def test_no_feature_map_of_a_preset_of_the_papers_is_gated_twice(architecture):
    model = build_model({"architecture": architecture, "attention": {"preset": "paper_tmi", "min_width": 1}})
    outputs = []
    for gate in model.gates.values():
        gate.register_forward_hook(lambda _gate, args, y: outputs.append((args[0], y)))
    model.eval()(torch.rand(1, 3, 64, 64))
    assert len(outputs) == len(model.gates)
    assert not [1 for x, _ in outputs for _, y in outputs if x is y]


def test_the_classic_unet_takes_width_and_depth():
    model = build_model({**CLASSIC, "depth": 2, "attention": {"type": "cse", "sites": ["encoder", "decoder"]}}, 2, 5)
    assert [gate.channels for gate in model.gates.values()] == [8, 16, 32, 16, 8]
    assert model.eval()(torch.rand(1, 2, 30, 30)).shape == (1, 5, 30, 30)


def test_the_pair_of_classic_configs_differs_in_the_gates_of_the_paper_only():
    folder = Path(__file__).parents[2] / "configs"
    plain, scse = (load_config(folder / f"nuclei_classic_unet{end}.yaml") for end in ("", "_scse"))
    assert plain.model == ModelConfig(architecture="classic_unet")
    assert scse.model == ModelConfig(architecture="classic_unet", attention={"preset": "paper_miccai"})
    assert scse.model_copy(update={"model": plain.model, "name": plain.name}) == plain


@pytest.mark.parametrize("merge", ["add", "max"])
def test_identity_gates_leave_the_classic_unet_bit_equal(merge):
    sites = ["encoder", "bottleneck", "skip", "decoder", "decoder_in"]
    attention = {"type": "scse", "merge": merge, "init": "identity", "sites": sites}
    x = torch.rand(2, 3, 32, 32)
    torch.manual_seed(0)
    plain = build_model(CLASSIC)
    torch.manual_seed(0)
    gated = build_model({**CLASSIC, "attention": attention})
    assert torch.equal(gated.eval()(x), plain.eval()(x))
    gated.train()(x).sum().backward()
    assert all(value.grad is not None for value in gated.parameters())
