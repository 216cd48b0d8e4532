import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from seg_scse.attention import attach_gates
from seg_scse.attention.attention_gate import AttentionGate
from seg_scse.errors import ConfigError
from seg_scse.models import ClassicUNet, find_sites
from seg_scse.models.joins import with_signals
from seg_scse.models.sites import architecture_of

HAVE = {
    "unet": ["skip.1", "skip.2", "skip.3", "skip.4"],
    "manet": ["skip.1", "skip.2", "skip.3", "skip.4"],
    "linknet": ["skip.1", "skip.2", "skip.3", "skip.4"],
    "fpn": ["skip.2", "skip.3", "skip.4"],
    "pan": ["skip.2", "skip.3", "skip.4"],
}
HAVE_NONE = ("unetplusplus", "pspnet", "deeplabv3", "deeplabv3plus", "upernet", "segformer")


def joins_of(model, channels=3):
    side = 128 if architecture_of(model) == "pan" else 64
    example = torch.rand(1, channels, side, side)
    return with_signals(find_sites(model, architecture_of(model), example), model, example), example


@pytest.mark.parametrize("architecture", HAVE)
def test_skips_that_meet_a_map_of_the_decoder_in_one_module_have_a_signal(architecture):
    sites, _ = joins_of(smp.create_model(architecture, "resnet18", encoder_weights=None))
    assert list(sites.usable) == HAVE[architecture]


@pytest.mark.parametrize("architecture", HAVE_NONE)
def test_a_network_without_such_skips_names_the_architectures_that_have_them(architecture):
    sites, _ = joins_of(smp.create_model(architecture, "resnet18", encoder_weights=None))
    with pytest.raises(ConfigError) as error:
        sites.select(["skip"])
    assert str(error.value) == (
        "site `skip` has no signal: this gate needs a skip that one module of the decoder joins with a map of the "
        "decoder. This network has no such site. Architectures with such skips: unet, manet, linknet, fpn, pan and "
        "classic_unet."
    )


def test_a_site_without_a_signal_is_refused_with_those_that_have_one():
    sites, _ = joins_of(ClassicUNet(1, 1, width=4, depth=2), channels=1)
    with pytest.raises(ConfigError, match=r"site `decoder` has no signal: .* Sites that have one: skip\.1, skip\.2\."):
        sites.select(["decoder"])


def test_the_signal_is_the_coarser_map_that_the_same_decoder_block_receives():
    model = ClassicUNet(1, 1, width=4, depth=2).eval()
    sites, example = joins_of(model, channels=1)
    received = {}
    gates = attach_gates(model, sites.select(["skip"]), lambda c, g: AttentionGate(c, g, 2), example)
    for key, gate in gates.items():
        gate.register_forward_hook(lambda _gate, args, _y, key=key: received.update({key: args}))
    maps = {}
    for path in ("encoder.blocks.0", "encoder.blocks.1", "encoder.blocks.2", "decoder.blocks.0"):
        model.get_submodule(path).register_forward_hook(lambda _m, _a, y, path=path: maps.update({path: y}))
    model(example)
    expected = {
        "skip_2": ("encoder.blocks.1", "encoder.blocks.2"),
        "skip_1": ("encoder.blocks.0", "decoder.blocks.0"),
    }
    for key, (skip, signal) in expected.items():
        assert torch.equal(received[key][0], maps[skip])
        assert torch.equal(received[key][1], maps[signal])


class Leaking(nn.Module):
    """Joins the first skip in a block, but uses it outside of the block too."""

    def __init__(self, decoder):
        super().__init__()
        self.blocks = decoder.blocks

    def forward(self, features):
        fine, middle, x = features
        return self.blocks[1](self.blocks[0](x, middle), fine) + fine


def test_a_skip_that_is_used_elsewhere_too_has_no_signal():
    model = ClassicUNet(1, 1, width=4, depth=2)
    model.decoder = Leaking(model.decoder)
    sites, _ = joins_of(model, channels=1)
    assert list(sites.usable) == ["skip.2"]
    assert sites.hidden == ("skip.1",)
    with pytest.raises(ConfigError, match="site `skip` has no signal"):
        sites.select(["skip"])
