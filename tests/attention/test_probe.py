import copy

import pytest
import torch
from torch import nn

from seg_scse.attention import SCSE, Site, attach_gates
from seg_scse.attention.attention_gate import AttentionGate
from seg_scse.attention.functional import Gates
from seg_scse.attention.probe import constant, from_partner, gate_means, record, replaced, shuffled
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model


def images(count=2, height=16, width=16, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


class Mixing(nn.Module):
    """Stands for a block whose effect cannot be taken apart into gates."""

    kind, hidden = "mixing", 0

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.mix(x)


class Host(nn.Module):
    """Goes on in place after the second site, as residual blocks do."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        y = self.second(self.first(x).relu())
        y += 1
        return self.head(nn.functional.relu(y, inplace=True))


def gated(block=SCSE, sites=("first", "second"), **fields):
    torch.manual_seed(3)
    model = Host()
    attach_gates(
        model, [Site(f"stage.{name}", name) for name in sites], lambda channels: block(channels, **fields), images()
    )
    return model.eval()


def unet(**attention):
    torch.manual_seed(1)
    config = ModelConfig(encoder_weights=None, decoder_channels=(16, 8, 8, 8, 8), attention=attention)
    return build_model(config, 3, 2).eval()


@torch.no_grad()
def output(model, x):
    return model(x)


def test_recording_changes_neither_the_output_nor_the_network():
    model, x = gated(), images()
    before, keys, modules = output(model, x), list(model.state_dict()), list(model.modules())
    with record(model):
        assert torch.equal(output(model, x), before)
        assert list(model.state_dict()) == keys
    assert all(now is then for now, then in zip(model.modules(), modules, strict=True))
    assert not any(gate._forward_hooks for gate in model.gates.values())


@pytest.mark.parametrize("merge", ["add", "max", "mul", "concat"])
def test_a_recording_holds_what_went_in_the_gates_and_what_came_out(merge):
    model, x = gated(merge=merge), images()
    with record(model) as seen:
        assert seen == {}
        output(model, images(seed=1))
        output(model, x)
    assert list(seen) == ["stage.first", "stage.second"]
    first, second = seen.values()
    torch.testing.assert_close(first.x, output(Plain(model.first), x))
    assert (first.gates.channel.shape, first.gates.spatial.shape) == ((2, 6, 1, 1), (2, 1, 16, 16))
    for key, one in (("stage_first", first), ("stage_second", second)):
        gate = model.gates[key]
        torch.testing.assert_close(one.y, output(gate, one.x), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one.y, gate.apply_gates(one.x, one.gates).detach(), rtol=1e-6, atol=1e-6)
        assert not one.y.requires_grad


class Plain(nn.Module):
    """A layer without the hooks on it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.layer._forward_hooks.clear()

    def forward(self, x):
        return self.layer(x)


def test_names_of_sites_keep_their_dots_and_smp_networks_are_recorded():
    model = unet(type="scse", sites=("decoder", "bottleneck"))
    with record(model) as seen:
        output(model, images(1, 32, 32))
    assert set(seen) == {"bottleneck", *(f"decoder.{number}" for number in range(1, 6))}
    assert seen["decoder.5"].gates.spatial.shape == (1, 1, 32, 32)


def test_a_block_without_separate_gates_is_recorded_without_them():
    with record(model := gated(Mixing)) as seen:
        output(model, images())
    assert seen["stage.first"].gates is None
    assert seen["stage.first"].y.shape == (2, 6, 16, 16)


def test_attention_gates_are_recorded_and_replaced_with_their_signal():
    model = unet(type="attention_gate", sites=("skip",))
    x = images(2, 32, 32)
    before = output(model, x)
    with record(model) as seen:
        torch.testing.assert_close(output(model, x), before, rtol=1e-6, atol=1e-6)
    assert any(isinstance(gate, AttentionGate) for gate in model.gates.values())
    for one in seen.values():
        torch.testing.assert_close(one.y, one.x * one.gates.spatial)
    means = Gates(None, torch.full((1, 1, 1, 1), 0.3))
    with replaced(model, {site: constant(means) for site in seen}), record(model) as frozen:
        output(model, x)
    assert all(torch.allclose(one.y, 0.3 * one.x) for one in frozen.values())
    with replaced(model, {site: shuffled() for site in seen}):
        assert not torch.allclose(output(model, x), before)


def test_identity_is_the_host_without_that_gate():
    model, x = gated(), images()
    plain = Host()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("gates.")})
    with replaced(model, {"stage.first": "identity", "stage.second": "identity"}):
        assert torch.equal(output(model, x), output(plain, x))
    assert not torch.equal(output(model, x), output(plain, x))


@pytest.mark.parametrize("merge", ["add", "max", "mul"])
def test_constant_gates_are_used_as_given(merge):
    model, x = gated(merge=merge), images()
    c, s = torch.linspace(0.1, 0.9, 6).view(1, 6, 1, 1), torch.full((1, 1, 1, 1), 0.4)
    with replaced(model, {"stage.first": constant(Gates(c, s))}), record(model) as seen:
        output(model, x)
    factor = {"add": c + s, "max": torch.maximum(c, s), "mul": c * s}[merge]
    torch.testing.assert_close(seen["stage.first"].y, seen["stage.first"].x * factor)


def test_constants_of_another_block_are_refused():
    model = gated(spatial=False)
    other = constant(Gates(None, torch.ones(1, 1, 1, 1)))
    with replaced(model, {"stage.first": other}), pytest.raises(ValueError, match="not those of this gate"):
        output(model, images())


def test_shuffling_permutes_channels_and_pixels_alike_in_all_images():
    c, s = torch.rand(3, 5, 1, 1), torch.rand(3, 1, 4, 6)
    x = torch.zeros(3, 5, 4, 6)
    changed = shuffled(seed=1)(Gates(c, s), x)
    assert torch.equal(shuffled(seed=1)(Gates(c, s), x).spatial, changed.spatial)
    assert not torch.equal(shuffled(seed=2)(Gates(c, s), x).spatial, changed.spatial)
    for gate, new in ((c, changed.channel), (s, changed.spatial)):
        assert new.shape == gate.shape
        assert not torch.equal(new, gate)
        order = (new[0].flatten()[:, None] == gate[0].flatten()).int().argmax(1)
        assert sorted(order.tolist()) == list(range(gate[0].numel()))
        assert torch.equal(new.flatten(1), gate.flatten(1)[:, order])


def test_each_image_is_given_its_partners_gates_and_the_partners_keep_theirs():
    model, x, partners = gated(sites=("second",)), images(2), images(2, seed=8)
    with record(model) as seen:
        output(model, torch.cat((x, partners)))
        own = seen["stage.second"]
        with replaced(model, {"stage.second": from_partner}):
            output(model, torch.cat((x, partners)))
    given = Gates(*(gate[2:].repeat(2, 1, 1, 1) for gate in own.gates))
    with replaced(model, {"stage.second": from_partner}), record(model) as changed:
        output(model, torch.cat((x, partners)))
    torch.testing.assert_close(
        changed["stage.second"].y, model.gates["stage_second"].apply_gates(own.x, given).detach()
    )
    torch.testing.assert_close(changed["stage.second"].y[2:], own.y[2:])


def test_an_odd_batch_has_no_partners():
    with replaced(model := gated(), {"stage.first": from_partner}), pytest.raises(ValueError, match="a batch of 3"):
        output(model, images(3))


def test_means_are_over_the_pixels_that_the_gates_scale():
    model = gated()
    batches = [images(3, 16, 16), images(1, 8, 12, seed=1)]
    means = gate_means(model, batches)["stage.first"]
    channel, spatial, pixels = 0, 0, 0
    for batch in batches:
        with record(model) as seen:
            output(model, batch)
        gates = seen["stage.first"].gates
        full = torch.ones_like(seen["stage.first"].x)
        channel = channel + (gates.channel * full).sum((0, 2, 3))
        spatial = spatial + gates.spatial.sum()
        pixels += full[:, 0].numel()
    torch.testing.assert_close(means.channel, (channel / pixels).view(1, 6, 1, 1))
    torch.testing.assert_close(means.spatial, (spatial / pixels).view(1, 1, 1, 1))


def test_means_do_not_depend_on_how_the_images_are_batched():
    x = images(5)
    whole, parts = gate_means(gated(), [x]), gate_means(gated(), [x[:4], x[4:]])
    for site in whole:
        torch.testing.assert_close(parts[site], whole[site], rtol=1e-6, atol=1e-7)


def test_taking_means_leaves_the_mode_and_the_statistics():
    model = gated().train()
    keys = {key: value.clone() for key, value in model.state_dict().items()}
    gate_means(model, [images()])
    assert model.training
    assert all(torch.equal(value, keys[key]) for key, value in model.state_dict().items())


def test_blocks_without_separate_gates_have_no_means_and_take_identity_only():
    model = gated(Mixing)
    assert gate_means(model, [images()]) == {}
    with replaced(model, {"stage.first": "identity"}), record(model) as seen:
        output(model, images())
    assert torch.equal(seen["stage.first"].x, seen["stage.first"].y)
    with pytest.raises(ConfigError, match=r"`stage.first` \(mixing\).*only `identity`"):
        replaced(model, {"stage.first": shuffled()}).__enter__()


def test_unknown_sites_and_networks_without_gates_are_refused():
    with pytest.raises(ConfigError, match=r"no gate on site `stem`\. Sites with gates: stage.first, stage.second"):
        replaced(gated(), {"stem": "identity"}).__enter__()
    with pytest.raises(ConfigError, match="no gates to look at: attach some with `attach_attention`"):
        record(Host()).__enter__()


def test_hooks_are_gone_after_an_error():
    model = gated()
    with pytest.raises(RuntimeError), record(model), replaced(model, {"stage.first": "identity"}):
        output(model, images()[:, :2])
    assert not any(gate._forward_hooks for gate in model.gates.values())


def test_compiled_networks_run_eagerly_while_they_are_probed():
    model, x = gated(), images()
    compiled = torch.compile(model, backend="eager")
    before = output(compiled, x)
    with record(compiled) as seen:
        output(compiled, x)
    assert list(seen) == ["stage.first", "stage.second"]
    with replaced(compiled, {"stage.first": "identity"}):
        assert not torch.allclose(output(compiled, x), before)
    torch.testing.assert_close(output(compiled, x), before)
