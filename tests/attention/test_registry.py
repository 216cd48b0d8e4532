import copy
import inspect
import typing
from importlib.metadata import version

import pytest
import torch

from seg_scse.attention import SCSE, build_gate
from seg_scse.attention.dual import PositionAttention
from seg_scse.attention.registry import GATES, NEEDS_SIGNAL, SIGNAL_GATES
from seg_scse.attention.selective import SelectiveKernelConv
from seg_scse.attention.timm_gates import CBAM, CoordinateAttention, GlobalContext
from seg_scse.config.attention import APPLIES, REFUSED, GateConfig, GateType
from seg_scse.errors import ConfigError

ANY_DIMENSION = ("cse", "sse", "scse", "simam", "constant", "dual_position", "dual_channel", "attention_gate")
KINDS = (*GATES, *SIGNAL_GATES)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
SIGNAL_CHANNELS = 12


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def gate(kind, channels=8, **fields):
    """Build a gate that has left its start behind: no parameter is zero."""
    torch.manual_seed(3)
    block = build_gate(GateConfig(type=kind, **fields), channels, SIGNAL_CHANNELS if kind in NEEDS_SIGNAL else None)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return block


def inputs(kind, size=(6, 5), channels=8):
    """What the gate's forward takes: a map, and where needed the signal, at half the size."""
    x = drawn(2, channels, *size)
    return (x, drawn(2, SIGNAL_CHANNELS, *(-(-side // 2) for side in size))) if kind in NEEDS_SIGNAL else (x,)


def test_the_configuration_names_what_can_be_built():
    assert set(typing.get_args(GateType)) == {*KINDS, "none", "sk"}
    assert APPLIES.keys() < set(typing.get_args(GateType))
    assert {"attention_gate"} == NEEDS_SIGNAL


@EVERY_KIND
def test_each_name_builds_its_block(kind):
    block = gate(kind)
    assert (block.kind, block.channels) == (kind, 8)
    assert block.hidden == (4 if "reduction" in APPLIES.get(kind, ()) else 0)
    assert getattr(block, "needs_signal", False) == (kind in NEEDS_SIGNAL)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "reduction" in APPLIES.get(kind, ())])
def test_reduction_and_least_width_reach_the_block_exactly(kind):
    assert gate(kind, 50, reduction=3).hidden == 16
    assert gate(kind, 50, reduction=3, min_width=20).hidden == 20
    with pytest.raises(ConfigError) as error:
        gate(kind, 8, reduction=9)
    assert str(error.value) == (
        "`reduction`=9 leaves no bottleneck unit for 8 channels: choose reduction <= 8 or min_width >= 1."
    )


@pytest.mark.parametrize("block", [CBAM, GlobalContext, CoordinateAttention, PositionAttention, SelectiveKernelConv])
def test_only_the_configuration_has_a_default_width(block):
    parameters = inspect.signature(block).parameters
    assert {parameters[name].default for name in ("reduction", "min_width")} == {inspect.Parameter.empty}


def formula(kind, c, h):
    """Parameters as the docstrings say, for the default fields."""
    t = (c.bit_length() - 1 + 1) // 2  # floor((log2(C) + 1) / 2) for powers of two
    return {
        "cse": 2 * c * h + h + c,
        "sse": c + 1,
        "scse": 2 * c * h + h + 2 * c + 1,
        "eca": max(3, t + (t % 2 == 0)),
        "cbam": 2 * c * h + 100,
        "gc": 2 * c * h + 3 * h + 2 * c,
        "coord": 3 * c * h + 2 * h,
        "ese": c**2 + c,
        "simam": 0,
        "constant": c,
        "dual_position": 2 * c * h + h + c**2 + c + 1,
        "dual_channel": 1,
        "attention_gate": c * h + SIGNAL_CHANNELS * h + h + h + 1,
    }[kind]


@EVERY_KIND
def test_the_parameter_count_follows_the_documented_formula(kind):
    for channels in (8, 32, 256):
        for reduction in (2, 4) if "reduction" in APPLIES.get(kind, ()) else (2,):
            block = gate(kind, channels, reduction=reduction)
            count = sum(parameter.numel() for parameter in block.parameters())
            assert count == formula(kind, channels, channels // reduction)


@EVERY_KIND
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_shape_and_memory_format_of_output_and_gradient_are_those_of_the_map(kind, memory_format):
    x, *signal = (tensor.to(memory_format=memory_format).requires_grad_() for tensor in inputs(kind))
    y = gate(kind)(x, *signal)
    assert y.shape == x.shape
    for tensor in (y, *torch.autograd.grad((y**2).sum(), (x, *signal))):
        assert tensor.is_contiguous(memory_format=memory_format)


@EVERY_KIND
def test_every_parameter_gets_a_gradient_that_is_not_zero(kind):
    block, (x, *signal) = gate(kind, 32), inputs(kind, channels=32)
    (block(x.requires_grad_(), *signal) ** 2).sum().backward()
    assert [name for name, value in block.named_parameters() if not value.grad.abs().max() > 1e-6] == []


@EVERY_KIND
def test_autocast_and_half_precision_stay_near_the_float32_result(kind):
    block, tensors = gate(kind), inputs(kind)
    exact = copy.deepcopy(block).eval()(*tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block.eval()(*(tensor.bfloat16() for tensor in tensors))
        assert block(*tensors).dtype == torch.float32
    pure = block.bfloat16()(*(tensor.bfloat16() for tensor in tensors))
    for y in (half, pure):
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), exact, rtol=0.04, atol=0.04)


@EVERY_KIND
def test_a_copy_and_a_loaded_state_dict_give_the_same_output(kind):
    block, tensors = gate(kind).eval(), inputs(kind)
    other = build_gate(GateConfig(type=kind), 8, SIGNAL_CHANNELS).eval()
    other.load_state_dict(block.state_dict())
    expected = block(*tensors)
    assert torch.equal(copy.deepcopy(block)(*tensors), expected)
    assert torch.equal(other(*tensors), expected)


@EVERY_KIND
def test_a_compiled_block_agrees(kind):
    torch.compiler.reset()  # blocks of earlier tests count as recompilations of this one
    block, tensors = gate(kind).eval(), inputs(kind)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), block(*tensors))


@pytest.mark.parametrize("kind", ANY_DIMENSION)
def test_these_gates_take_one_and_three_spatial_dimensions(kind):
    block = gate(kind).eval()
    for size in [(7,), (3, 4, 2)]:
        tensors = inputs(kind, size)
        y = block(*tensors)
        assert y.shape == tensors[0].shape
        assert not torch.equal(y, tensors[0])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ANY_DIMENSION])
@pytest.mark.parametrize("size", [(7,), (3, 4, 2)])
def test_the_others_refuse_them_by_name(kind, size):
    with pytest.raises(ConfigError) as error:
        gate(kind)(*inputs(kind, size))
    assert str(error.value) == (
        f"`type` = {kind} is for maps (N, C, H, W), not for {(2, 8, *size)}: choose cse, sse, scse, simam, "
        "constant, dual_position or dual_channel, which take one to three spatial dimensions."
    )


def test_every_field_reaches_the_scse_block():
    fields = {"reduction": 4, "merge": "concat", "squeeze": "max", "gate": "hard_sigmoid", "bias": False}
    block = build_gate(GateConfig(type="scse", min_width=3, init="identity", **fields), 8)
    assert isinstance(block, SCSE)
    assert block.hidden == 3
    assert block.recipe == ("concat", "max", "hard_sigmoid", 1.0)
    assert (block.fuse.bias, block.channel.squeeze.bias) == (None, None)
    assert not block.channel.excite.weight.any()


def refusal(kind, signal_channels=None):
    with pytest.raises(ConfigError) as error:
        build_gate(GateConfig.model_construct(type=kind), 8, signal_channels)
    return str(error.value)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    known = (
        "Known gates: attention_gate, cbam, constant, coord, cse, dual_channel, dual_position, eca, ese, gc, scse, "
        "simam, sse."
    )
    assert refusal("scsee") == f"`type` = 'scsee' is no gate; did you mean `scse`? {known}"
    assert refusal("xyz") == f"`type` = 'xyz' is no gate. {known}"
    assert refusal("none") == f"`type` = 'none' is no gate. {known}"


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_not_offered_is_refused_with_the_reason(name):
    assert refusal(name) == f"`type` = {name!r}: {REFUSED[name]}."


def test_a_missing_signal_is_named():
    assert refusal("attention_gate") == (
        "`type` = attention_gate needs a signal from the decoder, and there is none here: use it on the skips "
        "(`sites: [skip]`) of an architecture whose decoder joins them with a map of its own, such as unet."
    )


def test_a_block_that_replaces_convolutions_is_no_gate():
    assert refusal("sk") == (
        "`type` = sk is no gate behind a feature map: it replaces 3x3 convolutions, with "
        "`seg_scse.attention.selective.replace_convolutions`."
    )


@pytest.mark.skipif(version("timm") != "1.0.31", reason="the reason names this version")
def test_gather_excite_is_broken_in_timm():
    from timm.layers import create_attn

    with pytest.raises(TypeError, match="multiple values for argument 'act_layer'"):
        create_attn("ge", 16)
