import copy

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.attention.selective import SelectiveKernelConv, replace_convolutions, replaced_convolutions
from seg_scse.attention.trace import unreached_parameters
from seg_scse.config.attention import GateConfig
from seg_scse.errors import ConfigError

from .random_weights import randomized

CONFIG = GateConfig(type="sk", reduction=2, min_width=3)


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def host():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Conv2d(12, 5, 3, padding=2, dilation=2)),
        nn.Conv2d(5, 2, 1),
    )


def activated(x, w, name, training):
    """Batch normalisation (eps 1e-5) and relu of (N, C, H, W) or (N, C)."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axes) if training else w[f"{name}.running_mean"]
    variance = x.var(axes) if training else w[f"{name}.running_var"]
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)
    return np.maximum(y * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape), 0)


def convolved(x, kernel, stride, dilation):
    padded = np.pad(x, ((0, 0), (0, 0), (dilation,) * 2, (dilation,) * 2))
    side = 2 * dilation + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    return np.einsum("nchwij,dcij->ndhw", windows, kernel)


def reference(block, x, stride, dilation, training):
    """The equations in numpy and float64."""
    w = {name.removeprefix("block."): value.numpy().copy() for name, value in block.state_dict().items()}
    x = x.numpy()
    branches = np.stack(
        [
            activated(
                convolved(x, w[f"paths.{path}.conv.weight"], stride, (path + 1) * dilation),
                w,
                f"paths.{path}.bn",
                training,
            )
            for path in range(2)
        ]
    )
    z = activated(branches.sum(0).mean((2, 3)) @ w["attn.fc_reduce.weight"][:, :, 0, 0].T, w, "attn.bn", training)
    scores = np.exp((z @ w["attn.fc_select.weight"][:, :, 0, 0].T).reshape(len(x), 2, -1))
    shares = (scores / scores.sum(1, keepdims=True)).transpose(1, 0, 2)
    return (branches * shares[..., None, None]).sum(0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_the_block_computes_its_equation(stride, dilation, training):
    block = randomized(SelectiveKernelConv(3, 4, stride, dilation, reduction=2, min_width=0)).train(training)
    x = drawn(2, 3, 9, 8, dtype=torch.float64)
    expected = reference(block, x, stride, dilation, training)
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    block = randomized(SelectiveKernelConv(2, 2, reduction=1, min_width=0)).eval()
    x = drawn(1, 2, 3, 3, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in block.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))


@pytest.mark.parametrize(("inputs", "outputs", "hidden"), [(3, 4, 2), (8, 64, 32)])
def test_the_parameter_count_follows_the_documented_formula(inputs, outputs, hidden):
    block = SelectiveKernelConv(inputs, outputs, reduction=2, min_width=0)
    count = sum(parameter.numel() for parameter in block.parameters())
    assert (block.kind, block.channels, block.hidden) == ("sk", outputs, hidden)
    assert count == 18 * inputs * outputs + 4 * outputs + 3 * outputs * hidden + 2 * hidden


def test_convolutions_are_replaced_in_place_and_the_network_keeps_its_shapes():
    model = host().eval()
    x = drawn(2, 3, 10, 9)
    shapes = [model[:index](x).shape for index in range(1, 5)]
    other = copy.deepcopy(model[3].weight)
    replace_convolutions(model, ["0", "2.0", "2.1"], CONFIG)
    found = replaced_convolutions(model)
    assert {path: (block.channels, block.hidden) for path, block in found.items()} == {
        "0": (8, 4),
        "2.0": (12, 6),
        "2.1": (5, 3),
    }
    assert [model[:index](x).shape for index in range(1, 5)] == shapes
    branches = {path: [branch.conv for branch in block.block.paths] for path, block in found.items()}
    assert {path: [(conv.stride[0], conv.dilation[0]) for conv in pair] for path, pair in branches.items()} == {
        "0": [(1, 1), (1, 2)],
        "2.0": [(2, 1), (2, 2)],
        "2.1": [(1, 2), (1, 4)],
    }
    assert torch.equal(model[3].weight, other)
    assert not any(block.training for block in found.values())
    assert unreached_parameters(model, x) == []


def test_a_copied_network_and_a_loaded_state_dict_give_the_same_output():
    model, other, x = host(), host(), drawn(2, 3, 10, 9)
    for network in (model, other):
        replace_convolutions(network, ["0", "2.0"], CONFIG)
    other.load_state_dict(model.state_dict())
    expected = model.eval()(x)
    assert torch.equal(other.eval()(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)


def test_dtype_and_memory_format_are_those_of_the_host():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)).bfloat16().to(memory_format=torch.channels_last)
    replace_convolutions(model, ["0"], CONFIG)
    x = drawn(2, 3, 6, 5).bfloat16().to(memory_format=torch.channels_last)
    assert model(x).dtype == torch.bfloat16
    assert model(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (nn.Conv2d(4, 4, 1), "kernel_size=(1, 1), padding=(0, 0)"),
        (nn.Conv2d(4, 4, 5, padding=2), "kernel_size=(5, 5), padding=(2, 2)"),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), "groups=2"),
        (nn.Conv2d(4, 4, 3, padding=0), "padding=(0, 0)"),
        (nn.Conv2d(4, 4, 3, padding=1, stride=3), "stride=(3, 3)"),
        (nn.Conv2d(4, 4, 3, padding=(1, 2), dilation=(1, 2)), "dilation=(1, 2)"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padding_mode=reflect"),
    ],
)
def test_a_convolution_of_another_kind_is_refused_with_the_reason(conv, reason):
    with pytest.raises(ConfigError) as error:
        replace_convolutions(nn.Sequential(conv), ["0"], CONFIG)
    assert str(error.value) == (
        f"`0` has {reason}. `type` = sk replaces 3x3 convolutions (nn.Conv2d, one group, stride 1 or 2, "
        "padding = dilation)."
    )


def test_one_bad_path_leaves_the_network_as_it_was():
    model = host()
    model.add_module("again", model[0])
    before = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    with pytest.raises(ConfigError) as error:
        replace_convolutions(model, ["2.0", "1", "nowhere", "0", ""], CONFIG)
    assert str(error.value).startswith(
        "`1` is a ReLU; `nowhere` does not exist in this network; `0` is used under more than one path; "
        "`` does not exist in this network. `type` = sk"
    )
    assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == before


def test_another_type_of_gate_is_refused():
    with pytest.raises(ConfigError, match="`type` = scse does not replace convolutions; only sk does"):
        replace_convolutions(host(), ["0"], GateConfig(type="scse"))


def test_a_reduction_that_leaves_no_unit_is_refused_before_anything_is_replaced():
    model = host()
    with pytest.raises(ConfigError, match="`reduction`=9 leaves no bottleneck unit for 8 channels"):
        replace_convolutions(model, ["2.0", "0"], GateConfig(type="sk", reduction=9))
    assert replaced_convolutions(model) == {}


def test_training_on_one_image_is_refused():
    block = SelectiveKernelConv(3, 4, reduction=2, min_width=0)
    with pytest.raises(ConfigError, match="cannot train on one image: choose a batch size >= 2"):
        block(drawn(1, 3, 6, 5))
    assert block.eval()(drawn(1, 3, 6, 5)).shape == (1, 4, 6, 5)


def test_the_block_computes_what_that_of_timm_does():
    block = SelectiveKernelConv(3, 4, stride=2, reduction=2, min_width=0)
    x = drawn(2, 3, 9, 8)
    torch.testing.assert_close(block(x), block.block(x))


def test_autocast_gives_bfloat16_near_the_float32_result():
    block, x = SelectiveKernelConv(3, 4, reduction=2, min_width=0).eval(), drawn(2, 3, 9, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), block(x), rtol=0.03, atol=0.03)
