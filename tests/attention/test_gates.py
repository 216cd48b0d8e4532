import itertools

import numpy as np
import pytest
import torch

from seg_scse.attention import SCSE, build_gate
from seg_scse.attention.gates import hidden_units
from seg_scse.config.attention import APPLIES, GateConfig
from seg_scse.errors import ConfigError

MERGES = ("add", "max", "mul", "concat")
BLOCKS = [("cse", "add"), ("sse", "add"), *(("scse", merge) for merge in MERGES)]
EVERY_BLOCK = pytest.mark.parametrize(("kind", "merge"), BLOCKS)


SIZES = [(7,), (5, 4), (3, 2, 4)]


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def gate(kind, merge, channels=6, **options):
    """Build a block with those of the fields that its kind takes."""
    torch.manual_seed(3)
    fields = {name: value for name, value in ({"merge": merge} | options).items() if name in APPLIES[kind]}
    return build_gate(GateConfig(type=kind, **fields), channels)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(x + 3, 0, 6) / 6


def reference(block, x):
    """The equations in numpy and float64, with nothing shared with the package."""
    weights = {key: value.detach().double().numpy() for key, value in block.state_dict().items()}
    x = x.double().numpy()
    pixels = tuple(range(2, x.ndim))
    ones = (1,) * len(pixels)
    activation = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}[block.recipe.activation]
    squeezes = {"avg": (np.mean,), "max": (np.max,), "avg+max": (np.mean, np.max)}[block.recipe.squeeze]
    factors = []
    if "channel.squeeze.weight" in weights:
        scores = 0
        for squeeze in squeezes:
            z = squeeze(x, axis=pixels)
            hidden = np.maximum(z @ weights["channel.squeeze.weight"].T + weights.get("channel.squeeze.bias", 0), 0)
            scores = scores + hidden @ weights["channel.excite.weight"].T + weights.get("channel.excite.bias", 0)
        factors.append(activation(scores).reshape(*scores.shape, *ones))
    if "spatial.project.weight" in weights:
        q = np.einsum("nc...,c->n...", x, weights["spatial.project.weight"][0]) + weights.get("spatial.project.bias", 0)
        factors.append(activation(q)[:, None])
    scaled = [x * factor for factor in factors]
    if len(scaled) == 1:
        return scaled[0]
    merge = block.recipe.merge
    if merge == "concat":
        bias = weights.get("fuse.bias", np.zeros(x.shape[1]))
        y = np.einsum("nc...,dc->nd...", np.concatenate(scaled, 1), weights["fuse.weight"])
        return y + bias.reshape(1, -1, *ones)
    if merge == "max":
        return x * np.maximum(*np.broadcast_arrays(*factors))
    return scaled[0] + scaled[1] if merge == "add" else x * factors[0] * factors[1]


FIELDS = [
    {"squeeze": squeeze, "gate": activation, "bias": bias}
    for squeeze, activation, bias in itertools.product(
        ("avg", "max", "avg+max"), ("sigmoid", "hard_sigmoid"), (True, False)
    )
]
EVERY_COMBINATION = pytest.mark.parametrize(
    ("kind", "merge", "fields"),
    [
        pytest.param(*block, fields, id="-".join(map(str, (*block, *fields.values()))))
        for block, fields in itertools.product(BLOCKS, FIELDS)
        if block[0] != "sse" or fields["squeeze"] == "avg"
    ],
)


@EVERY_COMBINATION
def test_every_block_computes_its_equation(kind, merge, fields):
    block = gate(kind, merge, **fields)
    for size in SIZES:
        x = 3 * drawn(2, 6, *size)
        np.testing.assert_allclose(block(x).detach().numpy(), reference(block, x), rtol=1e-5, atol=1e-5)


@EVERY_BLOCK
def test_one_set_of_weights_serves_maps_of_one_two_and_three_dimensions(kind, merge):
    block, x = gate(kind, merge), drawn(2, 6, 4, 6)
    expected = block(x)
    for size in [(24,), (2, 2, 6), (1, 4, 6)]:
        torch.testing.assert_close(block(x.view(2, 6, *size)).view(x.shape), expected)


@EVERY_BLOCK
def test_applying_the_blocks_own_gates_is_the_block(kind, merge):
    block, x = gate(kind, merge), drawn(2, 6, 5, 4)
    gates = block.gates(x)
    assert (gates.channel is None, gates.spatial is None) == (kind == "sse", kind == "cse")
    torch.testing.assert_close(block.apply_gates(x, gates), block(x))


def ones_block(reduction=1, **fields):
    """A block on one channel whose layers are all 1 and have no bias."""
    block = SCSE(1, reduction, bias=False, **fields)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(1.0)
    return block


@pytest.mark.parametrize(
    ("squeeze", "score"),  # the mean of 0, 1, -1, 2 is 0.5 and the maximum 2
    [("avg", 0.5), ("max", 2.0), ("avg+max", 2.5)],
)
def test_squeezes_of_a_hand_computed_2x2_map(squeeze, score):
    x = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]])
    block = ones_block(spatial=False, squeeze=squeeze, gate="hard_sigmoid")
    torch.testing.assert_close(block(x), x * (score + 3) / 6)


def test_the_hard_sigmoid_of_a_hand_computed_1x4_map():
    block = ones_block(reduction=2, channel=False, gate="hard_sigmoid")
    x = torch.tensor([[[-4.0, -1.5, 0.0, 4.0]]])  # gates 0, 0.25, 0.5 and 1
    torch.testing.assert_close(block(x), torch.tensor([[[0.0, -0.375, 0.0, 4.0]]]))


def test_scse_of_a_hand_computed_2x2_map():
    block = SCSE(channels=1, reduction=1, bias=False)
    with torch.no_grad():
        block.channel.squeeze.weight.fill_(1.0)
        block.channel.excite.weight.fill_(2.0)
        block.spatial.project.weight.fill_(1.0)
    x = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]])  # mean 0.5: c = sigma(2 * relu(0.5)) = sigma(1) = 0.731059
    expected = [[0.0, 0.731059 + 0.731059], [-0.731059 - 0.268941, 2 * 0.731059 + 2 * 0.880797]]
    torch.testing.assert_close(block(x)[0, 0], torch.tensor(expected), rtol=0, atol=2e-6)


@EVERY_COMBINATION
@pytest.mark.parametrize("init", ["default", "identity"])
def test_gradients_agree_with_finite_differences(kind, merge, fields, init):
    block = gate(kind, merge, channels=2, init=init, **fields).double()
    with torch.no_grad():  # away from the ties of max and the kinks of relu
        for parameter in block.parameters():
            parameter.add_(0.3 * drawn(*parameter.shape, dtype=torch.float64))
    x = drawn(1, 2, 2, 2, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in block.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))


@EVERY_COMBINATION
def test_identity_start_is_bit_equal_to_the_input(kind, merge, fields):
    for size, dtype in itertools.product(SIZES, (torch.float32, torch.bfloat16, torch.float64)):
        block = gate(kind, merge, init="identity", **fields).to(dtype)
        x = drawn(2, 6, *size, dtype=dtype) * 1000
        assert torch.equal(block(x), x)


@EVERY_BLOCK
def test_default_start_is_not_the_identity(kind, merge):
    x = drawn(2, 6, 5, 4)
    assert not torch.allclose(gate(kind, merge)(x), x, atol=0.1)


@EVERY_BLOCK
def test_every_parameter_learns_within_two_steps_from_the_identity(kind, merge):
    block, x = gate(kind, merge, init="identity"), drawn(2, 6, 5, 4)
    start = {name: value.detach().clone() for name, value in block.named_parameters()}
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (block(x) ** 2).sum().backward()
        optimizer.step()
    assert [name for name, value in block.named_parameters() if torch.equal(value, start[name])] == []


@EVERY_BLOCK
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "reduction", "min_width"), [(16, 2, 0), (24, 16, 0), (8, 16, 3)])
def test_the_parameter_count_follows_the_documented_formula(kind, merge, bias, channels, reduction, min_width):
    block = gate(kind, merge, channels, bias=bias, reduction=reduction, min_width=min_width)
    hidden = max(channels // reduction, min_width)
    cse = 2 * channels * hidden + bias * (hidden + channels)
    sse = channels + bias
    fuse = (2 * channels**2 + bias * channels) if merge == "concat" else 0
    expected = {"cse": cse, "sse": sse, "scse": cse + sse + fuse}[kind]
    assert sum(parameter.numel() for parameter in block.parameters()) == expected


def test_a_bottleneck_without_units_is_refused_with_the_cure():
    with pytest.raises(ConfigError) as error:
        SCSE(channels=8, reduction=16)
    assert str(error.value) == (
        "`reduction`=16 leaves no bottleneck unit for 8 channels: choose reduction <= 8 or min_width >= 1."
    )


def test_a_block_without_gates_is_refused():
    with pytest.raises(ConfigError) as error:
        SCSE(8, channel=False, spatial=False)
    assert str(error.value) == (
        "a block with `channel`=False and `spatial`=False has no gate: set one of them to True."
    )


def test_the_least_width_holds():
    assert [hidden_units(c, 16, 4) for c in (8, 64, 128)] == [4, 4, 8]
    assert SCSE(8, reduction=16, spatial=False, min_width=1).hidden == 1


@EVERY_BLOCK
def test_output_and_gradient_stay_channels_last(kind, merge):
    block = gate(kind, merge)
    x = drawn(2, 6, 5, 4).to(memory_format=torch.channels_last).requires_grad_()
    y = block(x)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@EVERY_BLOCK
def test_autocast_gives_bfloat16_near_the_float32_result(kind, merge):
    block, x = gate(kind, merge), drawn(2, 6, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x.bfloat16())
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), block(x), rtol=0.03, atol=0.03)
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


def test_the_channel_gate_ignores_autocast():
    block, x = SCSE(6), drawn(2, 6, 5, 4)
    exact = block.gates(x).channel
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block.gates(x).channel, exact)


@EVERY_BLOCK
def test_a_compiled_block_agrees(kind, merge):
    torch.compiler.reset()  # blocks of earlier tests count as recompilations of this one
    block, x = gate(kind, merge), drawn(2, 6, 5, 4)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x))


def test_blocks_say_what_they_are():
    blocks = [SCSE(16, spatial=False), SCSE(16, channel=False), SCSE(16, reduction=4)]
    assert [(block.kind, block.channels, block.hidden) for block in blocks] == [
        ("cse", 16, 8),
        ("sse", 16, 0),
        ("scse", 16, 4),
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"merge": "sum"}, "`merge`='sum' is not known. Known: add, max, mul, concat."),
        ({"squeeze": "mean"}, "`squeeze`='mean' is not known. Known: avg, max, avg+max."),
        ({"gate": "hardsigmoid"}, "`gate`='hardsigmoid' is not known; did you mean `hard_sigmoid`? Known: "),
        ({"init": "identitty"}, "`init`='identitty' is not known; did you mean `identity`? Known: default, identity."),
        ({"spatial": False, "merge": "max"}, "`merge`='max' has no meaning without two gates: leave it out."),
        ({"channel": False, "reduction": 4}, "`reduction`=4 has no meaning without a channel gate: leave it out."),
        ({"channel": False, "squeeze": "max"}, "`squeeze`='max' has no meaning without a channel gate: leave it out."),
        ({"reduction": 0}, "`reduction`=0: must be 1 or more."),
        ({"min_width": -1}, "`min_width`=-1: must be 0 or more."),
    ],
)
def test_an_unknown_option_is_refused_at_construction(options, text):
    with pytest.raises(ConfigError) as error:
        SCSE(8, **options)
    assert str(error.value).startswith(text)


def test_concat_takes_a_half_precision_map_without_autocast():
    y = SCSE(8, merge="concat")(drawn(1, 8, 4, 4).bfloat16())
    assert y.dtype == torch.bfloat16


@EVERY_BLOCK
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_blocks_own_gates_give_its_own_output(kind, merge, dtype, autocast):
    block, x = gate(kind, merge), drawn(2, 6, 5, 4, dtype=dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        torch.testing.assert_close(block.apply_gates(x, block.gates(x)), block(x), rtol=0, atol=0)
