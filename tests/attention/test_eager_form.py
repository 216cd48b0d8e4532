import itertools

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from seg_scse.attention import SCSE, pieces
from seg_scse.attention.eager_form import scse_eager, supports
from seg_scse.attention.reference import ChannelWeights, Recipe, SpatialWeights, scse_reference

MERGES = ("add", "max", "mul")
FORMATS = pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])


def drawn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + seed), dtype=torch.float64).to(
        dtype
    )


def leaves(tensors, dtype):
    return [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]


def weights(channels, hidden=2, bias=True):
    channel = ChannelWeights(
        drawn(hidden, channels) / 3,
        drawn(hidden) / 3 if bias else None,
        drawn(channels, hidden) / 3,
        drawn(channels) / 3 if bias else None,
    )
    return channel, SpatialWeights(drawn(1, channels) / 3, drawn(1) / 3 if bias else None)


def rebuilt(tensors):
    return ChannelWeights(*tensors[:4]), SpatialWeights(*tensors[4:])


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a few pixels, with a remainder."""
    monkeypatch.setattr(pieces, "CACHED", 22 // torch.get_num_threads())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 3, 4), [(slice(0, 2), slice(None)), (slice(2, 4), slice(None)), (slice(4, 6), slice(None))]),
        ((1, 12, 4), [(slice(0, 1), slice(0, 6)), (slice(0, 1), slice(6, 12))]),
        ((1, 2, 40), [(slice(0, 1), slice(0, 1)), (slice(0, 1), slice(1, 2))]),
    ],
)
def test_pieces_are_runs_of_samples_or_of_pixels(monkeypatch, shape, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(pieces, "CACHED", 24)
    assert list(pieces.pieces(torch.empty(shape))) == expected


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("merge", "activation", "gain"), list(itertools.product(MERGES, ("sigmoid", "hard_sigmoid"), (1.0, 2.0)))
)
def test_gradients_agree_with_finite_differences(merge, activation, gain):
    recipe = Recipe(merge, "avg", activation, gain)
    channel, spatial = weights(3)
    inputs = leaves([drawn(2, 3, 4, 3), *channel, *spatial], torch.float64)
    assert torch.autograd.gradcheck(lambda x, *rest: scse_eager(x, *rebuilt(rest), recipe), inputs)


def test_a_gradient_of_the_gradient_agrees_with_finite_differences():
    channel, spatial = weights(3)
    inputs = leaves([drawn(1, 3, 2, 2), *channel, *spatial], torch.float64)
    assert torch.autograd.gradgradcheck(lambda x, *rest: scse_eager(x, *rebuilt(rest), Recipe()), inputs)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(9,), (3, 4), (2, 3, 2), (1, 1)])
@pytest.mark.parametrize("gates", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_values_and_gradients_are_those_of_the_reference(gates, size, channels_last, bias):
    pair = [given if wanted else None for given, wanted in zip(weights(5, bias=bias), gates, strict=True)]
    parameters = [tensor.requires_grad_() for given in pair if given for tensor in given if tensor is not None]
    x = drawn(3, *size, 5).movedim(-1, 1) if channels_last else drawn(3, 5, *size)
    x.requires_grad_()
    recipe = Recipe("max", "avg", "sigmoid", 2.0)
    ours, expected = scse_eager(x, *pair, recipe), scse_reference(x, *pair, recipe)
    torch.testing.assert_close(ours, expected)
    found, known = (torch.autograd.grad(y, [x, *parameters], drawn(*x.shape)) for y in (ours, expected))
    torch.testing.assert_close(found, known)
    assert ours.stride() == found[0].stride() == x.stride()


def error(value, exact):
    return ((value.double() - exact).norm() / exact.norm()).item()


@FORMATS
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(
    ("dtype", "of_map", "of_parameters"), [(torch.float32, 1e-6, 1e-6), (torch.bfloat16, 4e-3, 1e-3)]
)
def test_errors_against_float64_stay_within_their_bounds(merge, memory_format, dtype, of_map, of_parameters):
    x, g = (drawn(2, 64, 24, 20, seed=seed).to(dtype).contiguous(memory_format=memory_format) for seed in (0, 1))
    channel, spatial = weights(64, 4)
    parameters = [*channel, *spatial]
    results = []
    for form, precision, exact in ((scse_eager, dtype, False), (scse_reference, torch.float64, True)):
        inputs = leaves([x], precision) + leaves(
            [p.float() for p in parameters], torch.float64 if exact else torch.float32
        )
        y = form(inputs[0], *rebuilt(inputs[1:]), Recipe(merge))
        results.append((y, *torch.autograd.grad(y, inputs, g.to(precision))))
    errors = [error(*pair) for pair in zip(*results, strict=True)]
    assert max(errors[:2]) <= of_map
    assert max(errors[2:]) <= of_parameters


def test_a_tie_sends_half_of_the_gradient_to_each_gate():
    channel = ChannelWeights(torch.ones(1, 1), None, torch.zeros(1, 1), None)
    spatial = SpatialWeights(torch.zeros(1, 1), None)
    x = torch.tensor([[[3.0, 5.0]]])
    found = []
    for form in (scse_eager, scse_reference):
        parameters = leaves([channel.squeeze, channel.excite, spatial.project], torch.float32)
        y = form(
            x,
            ChannelWeights(parameters[0], None, parameters[1], None),
            SpatialWeights(parameters[2], None),
            Recipe("max"),
        )
        found.append(torch.autograd.grad(y.sum(), parameters))
    torch.testing.assert_close(*found)
    assert found[0][1].item() == 4 * (3 + 5) / 2 / 4  # mean 4; sigma' = 1/4; half of the sum of x


@FORMATS
def test_a_map_with_gaps_keeps_its_memory_order(memory_format):
    x = drawn(2, 8, 6, 4).contiguous(memory_format=memory_format)[:, 2:7]
    channel, spatial = weights(5)
    y = scse_eager(x, channel, spatial, Recipe())
    torch.testing.assert_close(y, scse_reference(x, channel, spatial, Recipe()))
    assert y.is_contiguous(memory_format=memory_format)


def test_a_gradient_in_another_memory_order_is_taken():
    x = drawn(2, 5, 4, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    g = drawn(2, 5, 4, 3)
    found = [torch.autograd.grad(form(x, *weights(5), Recipe()), x, g)[0] for form in (scse_eager, scse_reference)]
    torch.testing.assert_close(*found)
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def kept(dtype):
    """Bytes kept for backward beside the map."""
    sizes = []
    x = drawn(1, 16, 32, 32, dtype=dtype).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.nbytes), lambda _: None):
        scse_eager(x, *weights(16), Recipe("max"))
    return sum(sizes) - x.nbytes


def test_the_gates_alone_are_kept_for_backward_and_of_a_narrow_map_the_small_ones():
    small = 2000
    assert 0 < kept(torch.float32) <= 32 * 32 * 4 + small
    assert 0 < kept(torch.bfloat16) <= small


def test_under_autocast_the_gates_stay_float32():
    x, (channel, spatial) = drawn(1, 8, 4, 4, dtype=torch.float32), weights(8)
    channel, spatial = ChannelWeights(*(w.float() for w in channel)), SpatialWeights(*(w.float() for w in spatial))
    expected = scse_eager(x, channel, spatial, Recipe())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scse_eager(x, channel, spatial, Recipe()), expected)


def test_other_recipes_and_empty_maps_are_left_to_the_reference():
    x = drawn(1, 2, 2, 2)
    assert [supports(x, Recipe(merge)) for merge in (*MERGES, "concat")] == [True, True, True, False]
    assert not supports(x, Recipe(squeeze="max"))
    assert not supports(x[:0], Recipe())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_checkpointing_gives_the_same_gradients(dtype):
    block, x = SCSE(8), torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    inputs = [x, *block.parameters()]
    plain = torch.autograd.grad(block(x).float().sum(), inputs)
    again = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).float().sum(), inputs)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
