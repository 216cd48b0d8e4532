from functools import partial

import pytest
import torch
from torch import nn

from seg_scse.attention import Site, attach_gates, build_gate
from seg_scse.config.attention import GateConfig


class Volumes(nn.Module):
    """Joins two maps with any number of spatial dimensions, one of them passed by name."""

    def __init__(self, kind):
        super().__init__()
        self.fine, self.coarse = kind(3, 4, 1), kind(3, 6, 2, stride=2)
        self.join = Merge(kind)

    def forward(self, x):
        return self.join(self.coarse(x), 2, skip=self.fine(x))


class Merge(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.mix = kind(10, 2, 1)

    def forward(self, x, scale, skip):
        return self.mix(torch.cat((nn.functional.interpolate(x, scale_factor=scale), skip), 1))


class Steered(nn.Module):
    def __init__(self, channels, signal_channels):
        super().__init__()
        self.widths = (channels, signal_channels)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x, signal):
        self.shapes = (tuple(x.shape), tuple(signal.shape))
        return x * (1 + self.scale * signal.mean())


JOIN = Site("skip", "join", "input", argument="skip", signal=0)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_named_input_is_gated_with_another_input_as_its_signal(dimensions):
    model, x = Volumes((nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]), torch.rand(2, 3, *(8,) * dimensions)
    plain = model(x)
    gate = attach_gates(model, [JOIN], Steered, x)["skip"]
    assert gate.widths == (4, 6)
    assert gate.shapes == ((2, 4, *(8,) * dimensions), (2, 6, *(4,) * dimensions))
    assert torch.equal(model(x), plain)
    nn.init.ones_(gate.scale)
    assert not torch.equal(model(x), plain)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_maps_of_other_dimensions_train_and_start_as_the_host(dimensions):
    model, x = Volumes((nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]), torch.rand(2, 3, *(8,) * dimensions)
    plain = model(x)
    attach_gates(model, [Site("fine", "fine")], partial(build_gate, GateConfig(type="scse", init="identity")), x)
    assert torch.equal(model(x), plain)
    model(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


class Channels(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        self.shape = tuple(x.shape)
        return x * 2


def test_token_maps_are_gated_over_their_last_dimension():
    model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 2))
    gates = attach_gates(model, [Site("tokens", "0", layout="channels_last")], Channels, torch.rand(1, 7, 5))
    assert gates["tokens"].channels == 8
    model(torch.rand(2, 7, 5))
    assert gates["tokens"].shape == (2, 8, 7)


def test_gates_take_the_dtype_of_the_example():
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)).double(), torch.rand(1, 3, 8, 8).double()
    attach_gates(model, [Site("a", "0")], partial(build_gate, GateConfig(type="scse")), x)
    assert {parameter.dtype for parameter in model.gates.parameters()} == {torch.float64}
    assert model(x).dtype == torch.float64
