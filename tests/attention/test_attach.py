import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from seg_scse.attention import Site, attach_gates, build_gate
from seg_scse.config.attention import GateConfig
from seg_scse.errors import ConfigError

EXAMPLE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SITES = (
    Site("stem", "stem"),
    Site("skip.1", "join", "input", 0),
    Site("low", "split", "output", 1),
    Site("last", "tokens", layout="channels_last"),
)
SCSE = partial(build_gate, GateConfig(type="scse"))


class Split(nn.Module):
    def forward(self, x):
        return x[:, :4], nn.functional.avg_pool2d(x[:, 4:], 2)


class Join(nn.Module):
    def forward(self, features, scale):
        high, low = features
        return torch.cat((high, nn.functional.interpolate(low, scale_factor=2)), 1) * scale


class Tokens(nn.Module):
    """Works channels last, as some transformers do."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(10, 6)

    def forward(self, x):
        return self.mix(x.permute(0, 2, 3, 1))


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(inplace=True))
        self.split = Split()
        self.join = Join()
        self.tokens = Tokens()
        self.head = nn.Conv2d(6, 1, 1)
        self.side = nn.Conv2d(6, 2, 1)
        self.idle = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.tokens(self.join(list(self.split(self.stem(x))), 0.5)).permute(0, 3, 1, 2)
        self.side(x)
        return self.head(x) + self.head(x**2)


def host():
    torch.manual_seed(5)
    return Host()


def gated(sites=SITES, gate=SCSE):
    model = host()
    attach_gates(model, sites, gate, EXAMPLE)
    return model


def test_host_keys_stay_and_gate_keys_are_added_under_one_prefix():
    plain, model = host().state_dict(), gated().state_dict()
    assert {key: value for key, value in model.items() if not key.startswith("gates.")}.keys() == plain.keys()
    assert {key.split(".")[1] for key in model if key.startswith("gates.")} == {"stem", "skip_1", "low", "last"}
    assert all(torch.equal(model[key], value) for key, value in plain.items())


def test_channels_come_from_the_traced_shapes():
    assert {key: gate.channels for key, gate in gated().gates.items()} == {"stem": 10, "skip_1": 4, "low": 6, "last": 6}


def test_every_gate_parameter_gets_a_gradient_in_training():
    model = gated()
    model(EXAMPLE).sum().backward()
    assert [name for name, value in model.gates.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_each_gate_is_called_and_changes_the_output(site):
    model = gated([site], lambda channels: Record(channels))
    gate = model.gates[site.key]
    plain = host()(EXAMPLE)
    gate.seen.clear()
    assert not torch.allclose(model(EXAMPLE), plain)
    assert len(gate.seen) == 1
    assert gate.seen[0][1] == gate.channels


class Record(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels, self.seen = channels, []
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return x * self.scale


def test_identity_gates_leave_the_output_bit_equal():
    model = gated(gate=partial(build_gate, GateConfig(type="scse", init="identity")))
    assert torch.equal(model(EXAMPLE), host()(EXAMPLE))


def test_a_deep_copy_uses_its_own_gates():
    model = gated()
    twin = copy.deepcopy(model)
    before = model(EXAMPLE)
    assert torch.equal(twin(EXAMPLE), before)
    with torch.no_grad():
        twin.gates["stem"].spatial.project.bias.add_(3.0)
    assert torch.equal(model(EXAMPLE), before)
    assert not torch.allclose(twin(EXAMPLE), before)
    assert all(a is not b for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_pickled_model_uses_its_own_gates():
    model = gated()
    twin = pickle.loads(pickle.dumps(model))  # noqa: TID251 - pickled here
    assert torch.equal(twin(EXAMPLE), model(EXAMPLE))
    with torch.no_grad():
        twin.gates["stem"].spatial.project.bias.add_(3.0)
    assert not torch.allclose(twin(EXAMPLE), model(EXAMPLE))


def test_a_state_dict_survives_pickling_and_loads_strictly():
    model, other = gated(), gated()
    with torch.no_grad():
        model.gates["stem"].spatial.project.bias.add_(3.0)
    other.load_state_dict(pickle.loads(pickle.dumps(model.state_dict())), strict=True)  # noqa: TID251 - pickled here
    assert torch.equal(other(EXAMPLE), model(EXAMPLE))


def test_a_replaced_gate_is_the_one_in_use():
    model = gated()
    model.gates["stem"] = Record(10)
    model(EXAMPLE)
    assert model.gates["stem"].seen == [(1, 10, 8, 8)]


def test_a_compiled_model_agrees_and_trains():
    model = gated()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(EXAMPLE), model(EXAMPLE))
    compiled(EXAMPLE).sum().backward()
    assert all(parameter.grad is not None for parameter in model.gates.parameters())


def test_an_exported_model_agrees_and_keeps_the_gates_as_parameters():
    model = gated().eval()
    program = torch.export.export(model, (EXAMPLE,))
    torch.testing.assert_close(program.module()(EXAMPLE), model(EXAMPLE))
    assert {name for name in program.state_dict if name.startswith("gates.")} == {
        f"gates.{name}" for name in model.gates.state_dict()
    }


def test_channels_last_passes_through_gated_list_inputs():
    model = host().to(memory_format=torch.channels_last)
    attach_gates(model, [SITES[0]], SCSE, EXAMPLE)
    formats = []
    model.stem.register_forward_hook(
        lambda _m, _a, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
    )
    model(EXAMPLE.to(memory_format=torch.channels_last))
    assert formats == [True]


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (Site("a", "nowhere"), "site `a` (output of `nowhere`) does not exist in this network"),
        (
            Site("a", "idle"),
            "site `a` (output of `idle`) is passed 0 times in a forward pass, but a gate needs exactly one",
        ),
        (
            Site("a", "head"),
            "site `a` (output of `head`) is passed 2 times in a forward pass, but a gate needs exactly one",
        ),
        (
            Site("a", "split"),
            "site `a` (output of `split`) cannot carry a gate: a tuple flows there, not one feature map",
        ),
        (Site("a", "join", "input", 2), "site `a` (input of `join`) cannot carry a gate: list index out of range"),
        (Site("a", "side"), "site `a` (output of `side`) does not influence the network's output"),
    ],
)
def test_a_site_where_nothing_useful_flows_is_refused_and_the_host_is_left_as_it_was(site, reason):
    model = host()
    with pytest.raises(ConfigError) as error:
        attach_gates(model, [SITES[0], site], SCSE, EXAMPLE)
    assert str(error.value) == f"{reason}. Usable of the sites asked for: stem."
    assert model.state_dict().keys() == host().state_dict().keys()
    assert all(not (module._forward_hooks or module._forward_pre_hooks) for module in model.modules())


def test_a_second_attachment_and_equal_names_are_refused():
    model = gated()
    with pytest.raises(ConfigError, match="already has an attribute `gates`"):
        attach_gates(model, SITES, SCSE, EXAMPLE)
    with pytest.raises(ConfigError) as error:
        attach_gates(host(), [SITES[0], Site("a.b", "stem"), Site("a_b", "tokens")], SCSE, EXAMPLE)
    assert str(error.value) == (
        "two sites share a name, whose dots become `_` in the state dict: `a.b`, `a_b`. Attach one of them only."
    )


def test_a_collecting_hook_of_the_host_sees_the_gated_map():
    model, seen = host(), []
    model.stem.register_forward_hook(lambda _m, _a, y: seen.append(y))
    attach_gates(model, [SITES[0]], lambda channels: Record(channels), EXAMPLE)
    seen.clear()
    model(EXAMPLE)
    assert torch.equal(seen[0], nn.Sequential(*host().stem)(EXAMPLE) * 3)


def test_attaching_does_not_touch_the_random_state_beyond_the_gates_weights():
    model = host()
    torch.manual_seed(11)
    attach_gates(model, SITES[:1], SCSE, EXAMPLE)
    torch.manual_seed(11)
    expected = SCSE(10)
    state = torch.get_rng_state()
    torch.manual_seed(11)
    attach_gates(host_without_seed(), SITES[:1], SCSE, EXAMPLE)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.gates["stem"].channel.squeeze.weight, expected.channel.squeeze.weight)


def host_without_seed():
    with torch.random.fork_rng(devices=[]):
        return host()


def test_a_sequential_host_with_identity_gates_computes_what_it_did():
    host = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    before = host(EXAMPLE)
    gates = attach_gates(
        host, [Site("relu", "1")], partial(build_gate, GateConfig(type="scse", init="identity")), EXAMPLE
    )
    assert torch.equal(host(EXAMPLE), before)
    gates["relu"] = nn.Identity()
    assert torch.equal(host(EXAMPLE), before)
    gates["relu"] = SCSE(8)
    assert not torch.equal(host(EXAMPLE), before)


def test_a_width_that_leaves_no_hidden_unit_names_the_site():
    with pytest.raises(ConfigError) as error:
        attach_gates(host(), SITES, partial(build_gate, GateConfig(type="cse", reduction=8)), EXAMPLE)
    text = "site `skip.1` (4 channels): `reduction`=8 leaves no bottleneck unit for 4 channels: choose reduction <= 4"
    assert str(error.value).startswith(text)


def test_a_gate_without_parameters_is_refused_where_it_has_no_influence():
    model = host()
    with pytest.raises(ConfigError, match=r"site `a` .* does not influence the network's output"):
        attach_gates(model, [Site("a", "side")], lambda _channels: nn.Sigmoid(), EXAMPLE)
    attach_gates(model, [Site("a", "stem")], lambda _channels: nn.Sigmoid(), EXAMPLE)
    assert model.gates["a"].training
