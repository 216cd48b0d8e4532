import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from seg_scse.attention import Site, attach_gates
from seg_scse.errors import ConfigError
from seg_scse.models import ClassicUNet, find_sites
from seg_scse.models.sites import DECODER_STAGES, architecture_of

ENCODERS = {
    "resnet18": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "efficientnet-b0": ["_swish", "_blocks.2", "_blocks.4", "_blocks.8", "_blocks.15"],
    "mobilenet_v2": [f"features.{k}" for k in (1, 3, 6, 13, 18)],
    "densenet121": [*(f"features.{n}" for n in ("relu0", *(f"transition{k}.relu" for k in (1, 2, 3)), "norm5"))],
    "mit_b0": ["norm1", "norm2", "norm3", "norm4"],
    "tu-resnet18": ["model.act1", *(f"model.layer{k}" for k in range(1, 5))],
    "tu-convnext_atto": [f"model.stages_{k}" for k in range(4)],
}


def example(side=64):
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def host(architecture="unet", encoder="resnet18"):
    torch.manual_seed(0)
    return smp.create_model(architecture, encoder, encoder_weights=None)


def sites_of(architecture, encoder="resnet18", side=64):
    return find_sites(host(architecture, encoder), architecture, example(side))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoder_stages_are_found_in_any_encoder(encoder):
    sites = sites_of("unet", encoder).select(["encoder"])
    assert [site.module for site in sites] == [f"encoder.{name}" for name in ENCODERS[encoder]]
    assert [site.name for site in sites] == [f"encoder.{k + 1}" for k in range(len(sites))]


class Add(nn.Module):
    def __init__(self, _channels):
        super().__init__()
        self.amount = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x + self.amount


def features_given_to_the_decoder(model):
    seen = []
    handle = model.decoder.register_forward_pre_hook(lambda _m, args: seen.extend(x.clone() for x in args[0]))
    with torch.no_grad():
        model.eval()(example())
    handle.remove()
    return seen


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-resnet18", "efficientnet-b0"])
@pytest.mark.parametrize("stage", [1, 3])
def test_an_encoder_gate_changes_the_skip_and_the_next_stage(encoder, stage):
    model, plain = host(encoder=encoder), features_given_to_the_decoder(host(encoder=encoder))
    sites = find_sites(model, "unet", example())
    attach_gates(model, sites.select([f"encoder.{stage}"]), Add, example())
    index = sites.usable[f"skip.{stage}"].index
    gated = features_given_to_the_decoder(model)
    torch.testing.assert_close(gated[index], plain[index] + 1)
    assert all(torch.equal(a, b) for a, b in zip(gated[:index], plain[:index], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(gated[index + 1 :], plain[index + 1 :], strict=True))


def test_a_skip_gate_changes_the_skip_only():
    model = host()
    plain = features_given_to_the_decoder(model)
    attach_gates(model, find_sites(model, "unet", example()).select(["skip.2"]), Add, example())
    after = []
    model.decoder.blocks[2].register_forward_pre_hook(
        lambda _m, _args, kwargs: after.append(kwargs["skip_connection"]), with_kwargs=True
    )
    gated = features_given_to_the_decoder(model)  # hooked after the gate: sees the gated list
    assert [k for k in range(6) if not torch.equal(gated[k], plain[k])] == [2]
    torch.testing.assert_close(after[0], plain[2] + 1)


def test_decoder_in_is_the_concatenation_and_absent_where_nothing_is_joined():
    model = host()
    sites = find_sites(model, "unet", example()).select(["decoder_in"])
    assert [site.name for site in sites] == [f"decoder_in.{k}" for k in range(1, 5)]
    gates = attach_gates(model, sites, Channels, example())
    assert [gate.channels for gate in gates.values()] == [512 + 256, 256 + 128, 128 + 64, 64 + 64]


class Channels(Add):
    def __init__(self, channels):
        super().__init__(channels)
        self.channels = channels


def test_channel_last_transformer_stages_are_gated_in_their_own_layout():
    model = host("unet", "tu-swin_tiny_patch4_window7_224")
    sites = find_sites(model, "unet", example(224)).select(["encoder"])
    assert {site.layout for site in sites} == {"channels_last"}
    gates = attach_gates(model, sites, Channels, example(224))
    assert [gate.channels for gate in gates.values()] == [96, 192, 384, 768]


@pytest.mark.parametrize(
    ("architecture", "skips", "stages"),
    [
        ("unet", [1, 2, 3, 4], [f"blocks.{k}" for k in range(5)]),
        ("unetplusplus", [1, 2, 3, 4], [f"blocks.x_{name}" for name in (
            "0_0", "1_1", "2_2", "3_3", "0_1", "1_2", "2_3", "0_2", "1_3", "0_3", "0_4")]),
        ("manet", [1, 2, 3, 4], [f"blocks.{k}" for k in range(5)]),
        ("linknet", [1, 2, 3, 4], [f"blocks.{k}" for k in range(5)]),
        ("fpn", [2, 3, 4], ["p5", "p4", "p3", "p2"]),
        ("pspnet", [], ["psp", "conv"]),
        ("deeplabv3", [], ["aspp", "relu"]),
        ("deeplabv3plus", [2], ["aspp", "block1", "block2"]),
        ("upernet", [2, 3, 4], ["psp", *(f"fpn_lateral_blocks.{k}" for k in range(3)), "fusion_block"]),
        ("segformer", [1, 2, 3, 4], [*(f"mlp_stage.{k}" for k in range(5)), "fuse_stage"]),
    ],
)  # fmt: skip
def test_decoder_stages_and_used_skips_of_each_architecture(architecture, skips, stages):
    sites = sites_of(architecture)
    assert [name for name in sites.usable if name.startswith("skip")] == [f"skip.{k}" for k in skips]
    assert [site.module for site in sites.select(["decoder"])] == [f"decoder.{name}" for name in stages]
    assert sites.usable["bottleneck"] == Site("bottleneck", "decoder", "input", 3 if architecture == "pspnet" else 5)


def test_pan_has_its_own_stages():
    sites = sites_of("pan", side=128)
    assert [site.module for site in sites.select(["decoder"])] == [
        f"decoder.{k}" for k in ("fpa", "gau3", "gau2", "gau1")
    ]
    assert not any(name.startswith("decoder_in") for name in sites.usable)


@pytest.mark.slow
def test_dpt_has_decoder_sites_but_no_encoder_sites():
    sites = sites_of("dpt", "tu-vit_tiny_patch16_224", 224)
    assert [site.module for site in sites.select(["decoder"])] == [f"decoder.fusion_blocks.{k}" for k in range(4)]
    assert [site.index for site in sites.select(["skip", "bottleneck"])] == [0, 1, 2, 3]
    with pytest.raises(
        ConfigError, match=r"no single module of the encoder makes the feature of encoder\.1, encoder\.2"
    ):
        sites.select(["encoder"])


def test_the_deepest_feature_gets_one_gate_where_encoder_and_bottleneck_are_asked_for():
    sites = sites_of("unet")
    names = [site.name for site in sites.select(["encoder", "bottleneck"])]
    assert names == ["encoder.1", "encoder.2", "encoder.3", "encoder.4", "bottleneck"]
    assert [site.name for site in sites.select(["encoder"])][-1] == "encoder.5"


def test_the_classic_unet_has_the_sites_of_the_papers():
    model = ClassicUNet(1, 1, width=4)
    sites = find_sites(model, architecture_of(model), torch.rand(1, 1, 32, 32))
    chosen = sites.select(["encoder", "bottleneck", "decoder", "decoder_in"])
    assert [(site.name, site.module) for site in chosen] == [
        *((f"encoder.{k}", f"encoder.blocks.{k - 1}") for k in range(1, 5)),
        ("bottleneck", "decoder"),
        *((f"decoder.{k}", f"decoder.blocks.{k - 1}") for k in range(1, 5)),
        *((f"decoder_in.{k}", f"decoder.blocks.{k - 1}.conv1") for k in range(1, 5)),
    ]


def test_an_architecture_is_known_by_its_class_and_by_that_of_its_parent():
    class MyNetwork(smp.FPN):
        pass

    assert architecture_of(MyNetwork("resnet18", encoder_weights=None)) == "fpn"
    assert architecture_of(nn.Sequential()) is None
    assert set(smp.MODEL_ARCHITECTURES_MAPPING) | {"classic_unet"} == set(DECODER_STAGES)


def test_stages_of_a_frozen_network_are_found():
    model = host().requires_grad_(False)
    assert find_sites(model, "unet", example()).usable == sites_of("unet").usable


def test_names_are_sites_or_groups_and_count_once():
    sites = sites_of("pspnet")
    names = [site.name for site in sites.select(["decoder.2", "encoder.1", "decoder", "bottleneck"])]
    assert names == ["decoder.2", "encoder.1", "decoder.1", "bottleneck"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("skip", "the network uses no feature map of this name."),
        ("encoder.7", "the network uses no feature map of this name."),
        ("encode", "the network uses no feature map of this name; did you mean `encoder`?"),
        ("deco", "the network uses no feature map of this name; did you mean `decoder`?"),
    ],
)
def test_a_name_without_a_feature_map_is_refused_and_the_usable_sites_are_listed(name, reason):
    with pytest.raises(ConfigError) as error:
        sites_of("pspnet").select([name])
    assert str(error.value) == (
        f"site `{name}` is not available in this network: {reason} Usable sites: encoder.1, "
        "encoder.2, encoder.3, bottleneck, decoder.1, decoder.2; a name without its number means all of the kind."
    )


class HiddenStage(nn.Module):
    """An encoder whose features meet the rule badly, each in another way."""

    def __init__(self):
        super().__init__()
        self.good = nn.Conv2d(3, 4, 1)
        self.side = nn.Conv2d(4, 5, 1)
        self.main = nn.Conv2d(4, 6, 1)
        self.soon_changed = nn.Conv2d(6, 7, 1)
        self.shared = nn.Conv2d(7, 7, 1)
        self.last = nn.Conv2d(7, 8, 1)

    def forward(self, x):
        a = self.good(x)
        b = self.side(a)  # only for the decoder
        c = self.soon_changed(self.main(a))
        d = c + 0  # made by no module
        c.relu_()  # changed in place after its module
        e = self.shared(self.shared(c))
        return [x, a, b, c, e, d + e, self.last(e)]


class HiddenHost(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = HiddenStage()
        self.decoder = Sum()

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Sum(nn.Module):
    def forward(self, features):
        return sum(x.mean(1, keepdim=True) for x in features[1:])


def test_features_that_no_single_module_call_makes_are_hidden():
    sites = find_sites(HiddenHost(), "unet", example(8))
    assert sites.hidden == ("encoder.2", "encoder.3", "encoder.4", "encoder.5")
    assert sites.usable["encoder.1"].module == "encoder.good"
    assert sites.usable["encoder.6"].module == "encoder.last"


class LateChange(nn.Module):
    """The next stage changes the feature in place: a gate after its ReLU would not reach the skip."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.next = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 5, 1))

    def forward(self, x):
        a = self.first(x)
        return [x, a, self.next(a)]


def test_a_feature_that_the_next_stage_changes_in_place_is_hidden():
    model = HiddenHost()
    model.encoder = LateChange()
    assert find_sites(model, "unet", example(8)).hidden == ("encoder.1",)


def test_finding_sites_leaves_the_network_as_it_was():
    model = host().train()
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    find_sites(model, "unet", example())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not (module._forward_hooks or module._forward_pre_hooks) for module in model.modules())
