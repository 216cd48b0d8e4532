import pytest
import torch

from seg_scse.attention.functional import channel_means, full_precision, pixel_scores, recalibrate
from seg_scse.attention.reference import _largest

MERGES = ("add", "max", "mul", "concat")


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def gates(x):
    n, c, h, w = x.shape
    return drawn(n, c, 1, 1, dtype=x.dtype).sigmoid(), drawn(n, 1, h, w, dtype=x.dtype).sigmoid()


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("add", [[[0.75, 2.5], [2.25, 5.0]], [[-1.25, 3.5], [-3.75, 7.0]]]),
        ("max", [[[0.5, 1.5], [1.5, 3.0]], [[-1.0, 2.0], [-3.0, 4.0]]]),
        ("mul", [[[0.125, 0.75], [0.375, 1.5]], [[-0.25, 1.5], [-0.75, 3.0]]]),
    ],
)
def test_a_hand_computed_2x2_case_holds(merge, expected):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[-1.0, 2.0], [-3.0, 4.0]]]])
    channel = torch.tensor([0.5, 1.0]).view(1, 2, 1, 1)
    spatial = torch.tensor([[0.25, 0.75], [0.25, 0.75]]).view(1, 1, 2, 2)
    assert recalibrate(x, channel, spatial, merge).tolist() == [expected]


def test_concat_puts_the_channel_gated_map_first():
    x = drawn(2, 3, 4, 5)
    channel, spatial = gates(x)
    y = recalibrate(x, channel, spatial, "concat")
    assert torch.equal(y, torch.cat((x * channel, x * spatial), 1))


def test_one_gate_alone_scales_and_no_gate_is_refused():
    x = drawn(2, 3, 4, 5)
    channel, spatial = gates(x)
    assert torch.equal(recalibrate(x, channel, None, "add"), x * channel)
    assert torch.equal(recalibrate(x, None, spatial, "max"), x * spatial)
    with pytest.raises(ValueError, match="needs a channel gate, a spatial gate, or both"):
        recalibrate(x, None, None, "add")


def test_an_unknown_merge_is_refused():
    x = drawn(1, 2, 2, 2)
    with pytest.raises(ValueError, match="merge = 'sum': must be add, max, mul or concat"):
        recalibrate(x, *gates(x), "sum")


@pytest.mark.parametrize("merge", MERGES)
def test_gradients_agree_with_finite_differences(merge):
    x = drawn(2, 3, 3, 2, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, *gates(x))]
    assert torch.autograd.gradcheck(lambda *t: recalibrate(*t, merge), inputs)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_output_and_gradient_keep_the_memory_format(merge, memory_format):
    x = drawn(2, 8, 6, 4).to(memory_format=memory_format).requires_grad_()
    channel, spatial = (gate.requires_grad_() for gate in gates(x.detach()))
    y = recalibrate(x, channel, spatial, merge)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert y.is_contiguous(memory_format=memory_format)
    assert gradient.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("merge", MERGES)
def test_a_half_precision_map_stays_in_half_precision(merge):
    x = drawn(2, 8, 6, 4).bfloat16()
    channel, spatial = gates(x.float())
    y = recalibrate(x, channel, spatial, merge)
    exact = recalibrate(x.double(), channel.double(), spatial.double(), merge)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-6, atol=2**-7)


def test_max_compares_before_rounding():
    x = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    channel = torch.tensor(0.5).view(1, 1, 1, 1).requires_grad_()
    spatial = torch.tensor(0.5001).view(1, 1, 1, 1).requires_grad_()  # the same number in bfloat16
    recalibrate(x, channel, spatial, "max").sum().backward()
    assert (channel.grad.item(), spatial.grad.item()) == (0.0, 1.0)


def test_the_full_size_gate_of_max_is_laid_out_like_the_map():
    x = drawn(2, 8, 6, 4)
    assert _largest(*gates(x), x).is_contiguous()
    x = x.to(memory_format=torch.channels_last)
    assert _largest(*gates(x), x).is_contiguous(memory_format=torch.channels_last)


def largest_saved_bytes(function, x):
    saved = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    assert result.requires_grad
    return max(saved.values())


def test_adding_keeps_no_full_size_tensor_for_the_backward_pass():
    x = drawn(2, 16, 32, 32).requires_grad_()
    channel, spatial = (gate.requires_grad_() for gate in gates(x.detach()))
    assert largest_saved_bytes(lambda: recalibrate(x, channel, spatial, "add"), x) == spatial.nbytes


def test_pixel_scores_are_the_same_in_eager_and_compiled_form(monkeypatch):
    x, weight, bias = drawn(2, 5, 4, 3), drawn(1, 5), drawn(1)
    eager = pixel_scores(x, weight, bias), pixel_scores(x, weight, None)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for ours, form in zip(eager, (pixel_scores(x, weight, bias), pixel_scores(x, weight, None)), strict=True):
        torch.testing.assert_close(ours, form)
    torch.testing.assert_close(eager[0][:, 0], torch.einsum("nchw,c->nhw", x, weight[0]) + bias)


def test_pixel_scores_keep_no_full_size_tensor_and_a_channels_last_gradient():
    x = drawn(2, 16, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    weight = drawn(1, 16).requires_grad_()
    assert largest_saved_bytes(lambda: pixel_scores(x, weight, None), x) <= weight.nbytes
    (gradient,) = torch.autograd.grad(pixel_scores(x, weight, None).sum(), x)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_channel_means_of_half_precision_are_float32():
    x = torch.full((1, 1, 64, 64), 1000.0, dtype=torch.float16)  # its sum overflows float16
    assert channel_means(x).item() == 1000.0
    assert channel_means(x).dtype == torch.float32


def test_autocast_is_off_inside_full_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.nn.functional.linear(drawn(2, 3), drawn(4, 3))
        assert x.dtype == torch.bfloat16
        with full_precision(x):
            assert torch.nn.functional.linear(drawn(2, 3), drawn(4, 3)).dtype == torch.float32
