import numpy as np
import pytest
import torch

from seg_scse.attention.attention_gate import AttentionGate
from seg_scse.errors import ConfigError

SIZES = [((8,), (4,)), ((6, 5), (3, 3)), ((4, 2, 6), (2, 1, 3))]


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def gate(channels=4, signal_channels=6, hidden=3):
    torch.manual_seed(3)
    return AttentionGate(channels, signal_channels, hidden)


def stretched(x, axis, size):
    """Linear interpolation along one axis, the centres of the outer pixels apart (corners not aligned)."""
    old = x.shape[axis]
    centres = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(centres).astype(int)
    high = np.minimum(low + 1, old - 1)
    share = (centres - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


def reference(block, x, signal):
    """The equation in numpy and float64, with the signal resampled before its projection."""
    w = {name: value.double().numpy() for name, value in block.state_dict().items()}
    x, signal = x.double().numpy(), signal.double().numpy()
    for axis in range(2, x.ndim):
        signal = stretched(signal, axis, x.shape[axis])
    ones = (1,) * (x.ndim - 2)
    steering = np.einsum("ng...,hg->nh...", signal, w["signal.weight"]) + w["signal.bias"].reshape(1, -1, *ones)
    hidden = np.maximum(np.einsum("nc...,hc->nh...", x, w["map.weight"]) + steering, 0)
    scores = np.einsum("nh...,h->n...", hidden, w["psi.weight"][0]) + w["psi.bias"]
    return x / (1 + np.exp(-scores))[:, None]


@pytest.mark.parametrize(("size", "signal_size"), [*SIZES, ((6, 5), (6, 5)), ((3, 4), (7, 5))])
def test_the_block_computes_its_equation(size, signal_size):
    block, x, signal = gate(), drawn(2, 4, *size), drawn(2, 6, *signal_size)
    np.testing.assert_allclose(block(x, signal).detach().numpy(), reference(block, x, signal), rtol=1e-5, atol=1e-6)


def test_a_hand_computed_map():
    block = gate(1, 1, 1).double()
    with torch.no_grad():
        for parameter, value in zip(block.parameters(), (1.0, 2.0, 0.5, -1.0, 0.25), strict=True):
            parameter.fill_(value)
    x = torch.tensor([[[1.0, -3.0]]], dtype=torch.float64)
    signal = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)
    # relu(x + 2 * 0.5 + 0.5) is 2.5 and 0: scores -2.5 + 0.25 and 0.25
    assert block(x, signal).flatten().tolist() == pytest.approx([0.0953494649, -3 * 0.5621765009])


@pytest.mark.parametrize(("size", "signal_size"), [((4,), (2,)), ((2, 3), (1, 2)), ((2, 2, 2), (1, 2, 1))])
def test_gradients_agree_with_finite_differences(size, signal_size):
    block = gate(2, 2, 2).double()
    x, signal = (drawn(1, 2, *s, dtype=torch.float64).requires_grad_() for s in (size, signal_size))
    names = [name for name, _ in block.named_parameters()]

    def run(x, signal, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x, signal))

    assert torch.autograd.gradcheck(run, (x, signal, *block.parameters()))


@pytest.mark.parametrize(("size", "signal_size"), SIZES)
def test_the_gate_can_be_looked_at_without_being_applied(size, signal_size):
    block, x, signal = gate(), drawn(2, 4, *size), drawn(2, 6, *signal_size)
    gates = block.gates(x, signal)
    assert gates.channel is None
    assert gates.spatial.shape == (2, 1, *size)
    torch.testing.assert_close(block(x, signal), x * gates.spatial)


def test_the_signal_steers_the_gate():
    block, x = gate(), drawn(2, 4, 6, 5)
    assert not torch.allclose(block(x, drawn(2, 6, 3, 3)), block(x, -drawn(2, 6, 3, 3)))


def test_a_gate_without_hidden_units_is_refused():
    with pytest.raises(ConfigError, match="`hidden`=0: an attention gate needs at least one hidden unit"):
        AttentionGate(4, 6, 0)
