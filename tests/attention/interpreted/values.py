"""Values and gradients of the Triton form."""

import pytest
import torch
import triton
import triton.language as tl
from small_blocks import MERGES, block, check, drawn, error, reference, results, weights_of

from seg_scse.attention import triton_form, triton_kernels
from seg_scse.attention.triton_form import scse_triton

# Channels and sizes that divide nothing, one pixel, one channel, and more channels than a tile has.
SHAPES = [(5, (7,)), (1, (3, 4)), (16, (1, 1)), (33, (1, 29)), (24, (3, 4, 5)), (40, (23, 9)), (300, (7, 11))]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_values_and_gradients_agree_with_float64(channels, size, merge, last):
    number = SHAPES.index((channels, size)) + MERGES.index(merge)
    bias, gain = bool(number % 2), float(1 + number // 2 % 2)
    module = block(channels, merge=merge, bias=bias)
    check(drawn((2, channels, *size), last=last), module, recipe=module.recipe._replace(gain=gain))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("merge", MERGES)
def test_half_precision_maps_keep_float32_weights_and_sums(dtype, merge, last):
    check(drawn((2, 24, 13, 9), dtype, last), block(24, merge=merge))


def test_half_precision_weights_are_used_as_they_are():
    module = block(16).bfloat16()
    x = drawn((2, 16, 5, 6), torch.bfloat16)
    ours = results(scse_triton, x, weights_of(module), module.recipe, x)
    exact = results(reference, x.double(), weights_of(module, torch.float64), module.recipe, x.double())
    assert [value.dtype for value in ours] == [torch.bfloat16] * len(ours)
    assert max(error(*pair) for pair in zip(ours, exact, strict=True)) <= 5e-3


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("gates", [{"spatial": False}, {"channel": False}])
def test_one_gate_alone_agrees_with_float64(gates, last):
    check(drawn((2, 20, 9, 7), last=last), block(20, **gates))


@pytest.mark.parametrize("merge", MERGES)
def test_the_hard_sigmoid_agrees_with_float64_where_it_is_flat_too(merge):
    module = block(12, merge=merge, gate="hard_sigmoid", init="identity")
    with torch.no_grad():
        module.spatial.project.weight.normal_(std=2.0)
        module.channel.excite.bias.copy_(torch.linspace(-4.0, 4.0, 12))
    check(drawn((2, 12, 9, 7)), module)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tie_of_max_gives_half_the_gradient_to_each_gate(dtype, last):
    module = block(8, merge="max", init="identity")  # all gates are 2 sigma(0) = 1
    x, gradient = drawn((2, 8, 5, 6), dtype, last), drawn((2, 8, 5, 6), dtype, seed=1)
    check(x, module, gradient)
    y, dx, _, _, _, dexcite, _, dproject = results(scse_triton, x, weights_of(module), module.recipe, gradient)
    assert torch.equal(y, x)
    assert torch.equal(dx, gradient)  # the last layers are zero, so nothing reaches x through the gates
    products = x.double() * gradient.double()
    scale = 2 * 0.25 / 2  # gain sigma'(0), and half of it
    torch.testing.assert_close(dexcite.double(), scale * products.sum((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dproject.double(), scale * products.sum().view(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("most", [4, 32])
def test_programs_that_take_several_tiles_agree_with_float64(most, last, monkeypatch):
    monkeypatch.setattr(triton_form, "_PROGRAMS", 1)
    monkeypatch.setattr(triton_form, "_TILE", 128)
    monkeypatch.setattr(triton_form, "_MOST_STEPS", most)
    x = drawn((2, 8, 19, 7), last=last)
    plan = triton_form._plan(x)
    assert plan.arguments["PIXELS"] == 16
    assert (plan.arguments["steps"], plan.runs) == ((4, 3) if most == 4 else (9, 1))  # the last of three is short
    check(x, block(8, merge="max"))


def test_equal_inputs_give_equal_bits():
    x, module = drawn((2, 24, 20, 15), torch.bfloat16, last=True), block(24)
    first, second = (results(scse_triton, x, weights_of(module), module.recipe, x) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("last", [True, False])
def test_gradients_in_another_layout_are_taken(last):
    x, module = drawn((2, 6, 5, 4), last=last), block(6)
    check(x, module, drawn(x.shape, last=not last, seed=1))
    check(x, module, torch.ones(()).expand(x.shape))


@pytest.mark.parametrize("last", [True, False])
def test_a_map_with_gaps_is_copied_in_its_own_layout(last):
    whole, module = drawn((2, 6, 5, 8), last=last), block(6)
    part = whole[..., 1:6]
    y = scse_triton(part, *weights_of(module), module.recipe)
    exact = reference(part.double(), *weights_of(module, torch.float64), module.recipe)
    assert error(y, exact) <= 1e-6
    assert (
        y.stride() == part.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format).stride()
    )


def test_not_a_number_is_not_hidden_by_max():
    x, module = drawn((1, 4, 3, 3)), block(4, merge="max")
    x[0, 1, 0, 0] = float("nan")
    y = scse_triton(x, *weights_of(module), module.recipe)
    exact = reference(x.double(), *weights_of(module, torch.float64), module.recipe)
    assert torch.equal(y.isnan(), exact.isnan())
    assert y.isnan().any()


def test_weights_with_gaps_are_taken():
    x, module = drawn((2, 6, 5, 4)), block(6)
    channel, spatial = weights_of(module)
    gapped = spatial._replace(project=spatial.project.repeat_interleave(2, 1)[:, ::2])
    y = scse_triton(x, channel, gapped, module.recipe)
    assert torch.equal(y, scse_triton(x, channel, spatial, module.recipe))


@triton.jit
def _offsets(out, sample, first, C, P, CHANNELS_LAST: tl.constexpr):
    offset, _ = triton_kernels._tile(sample.to(tl.int64), first, C, P, CHANNELS_LAST, 2, 4)
    place = tl.arange(0, 2)[:, None] * 4 + tl.arange(0, 4)[None, :]
    tl.store(out + place, offset)


@pytest.mark.parametrize("last", [True, False])
def test_offsets_beyond_2_to_the_31_do_not_wrap(last):
    out, pixels, sample, first, channels = torch.empty(2, 4, dtype=torch.int64), 1 << 30, 3, (1 << 30) - 8, 2000
    _offsets[(1,)](out, sample, first, channels, pixels, CHANNELS_LAST=last)
    expected = [
        [
            sample * channels * pixels + ((first + p) * channels + c if last else c * pixels + first + p)
            for c in range(4)
        ]
        for p in range(2)
    ]
    assert out.tolist() == expected
