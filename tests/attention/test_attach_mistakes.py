import pytest
import torch
from torch import nn

from seg_scse.attention import SCSE, Site, attach_gates
from seg_scse.errors import ConfigError

EXAMPLE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def host():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))


def refusal(model, gate=SCSE, name="a", layout="channels_first"):
    """Return the refusal of a gate on the host's activation, after a look at whether the host is as it was."""
    keys = list(model.state_dict())
    with pytest.raises(ConfigError) as error:
        attach_gates(model, [Site(name, "1", layout=layout)], gate, EXAMPLE)
    assert list(model.state_dict()) == keys
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return str(error.value)


@pytest.mark.parametrize("name", ["items", "keys", "forward", "training", "sites"])
def test_a_name_that_the_set_of_gates_needs_itself_is_refused(name):
    assert refusal(host(), name=name) == (
        f"site `{name}` (output of `1`) has the name of an attribute of `GateSet`: use `attach_gates` with a `Site` of "
        "another name. Usable of the sites asked for: none."
    )


def test_a_module_in_place_of_a_function_is_refused():
    assert refusal(host(), SCSE(8)) == (
        "`gate` is a module, SCSE, but each site needs one of its own: give a function from channels to a module."
    )


def test_a_function_that_returns_no_module_is_refused():
    assert refusal(host(), float) == "site `a` (8 channels): `gate` returned a float and no module."


@pytest.mark.parametrize(
    ("gate", "layout", "shapes"),
    [
        (lambda c: nn.Conv2d(c, c + 1, 3), "channels_first", "(1, 8, 8, 8) into one of (1, 9, 6, 6)"),
        (lambda _c: nn.AdaptiveAvgPool2d(1), "channels_last", "(1, 8, 8, 8) into one of (1, 8, 1, 1)"),
        (lambda _c: Pair(), "channels_first", "(1, 8, 8, 8) into a tuple"),
    ],
)
def test_a_gate_that_changes_the_shape_of_its_map_is_refused(gate, layout, shapes):
    text = f"site `a` (output of `1`): its gate turns a map of shape {shapes}, but a gate must keep the shape."
    assert refusal(host(), gate, layout=layout) == text


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Labels(nn.Sequential):
    def forward(self, x):
        return super().forward(x).argmax(1)


def test_a_host_that_returns_no_floats_is_refused():
    assert refusal(Labels(*host())).startswith("the network returns a Tensor without a float tensor")


def test_a_host_of_tokens_takes_gates_in_its_own_dtype():
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4)).double()
    tokens = torch.arange(6).view(1, 6)
    gates = attach_gates(model, [Site("a", "0", layout="channels_last")], SCSE, tokens)
    assert gates["a"].channels == 8
    assert model(tokens).dtype == torch.float64
    assert {parameter.dtype for parameter in gates.parameters()} == {torch.float64}
