from collections import namedtuple

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import nn

from seg_scse import SCSE, attach_attention
from seg_scse.attention.selective import SelectiveKernelConv
from seg_scse.config.attention import AttentionConfig, GateConfig
from seg_scse.errors import ConfigError
from seg_scse.models import ClassicUNet, attach_configured, example_for

TV = torchvision.models
CNN = {
    dimensions: lambda conv=conv: nn.Sequential(conv(2, 8, 3, padding=1), nn.ReLU(), conv(8, 3, 1))
    for dimensions, conv in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d))
}


def plain():
    torch.manual_seed(0)
    return CNN[2]()


def kinds(model):
    return {site.name: model.gates[key].kind for key, site in model.gates.sites.items()}


def widths(model):
    return {site.name: model.gates[key].channels for key, site in model.gates.sites.items()}


def test_the_network_itself_is_returned_with_gates_in_it():
    model = plain()
    keys = list(model.state_dict())
    assert attach_attention(model, ["1"]) is model
    assert list(model.state_dict())[: len(keys)] == keys
    assert isinstance(model.gates["1"], SCSE)


def test_decoder_is_the_default_and_means_the_stages_of_a_known_architecture():
    model = attach_attention(ClassicUNet(1, 1, width=4, depth=2))
    assert widths(model) == {"decoder.1": 8, "decoder.2": 4}


class Own(nn.Module):
    """A network with children of the same names, but no stages that anybody knows."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def test_in_any_other_network_decoder_is_the_module_of_this_name():
    assert widths(attach_attention(Own())) == {"decoder": 4}


CLASSIFIERS = {
    "resnet18": (lambda: TV.resnet18(), ["layer3.*.bn2"], [256, 256]),
    "googlenet": (lambda: TV.googlenet(weights=None, init_weights=False, transform_input=True), ["inception3*"],
                  [256, 480]),
    "mobilenet": (lambda: TV.mobilenet_v3_small(), ["features.3", "features.12"], [24, 576]),
    "densenet": (lambda: TV.densenet121(), ["features.transition?"], [128, 256, 512]),
    "convnext": (lambda: TV.convnext_tiny(), ["features.7"], [768]),
    "swin": (lambda: TV.swin_t(), ["features.1", "features.3"], [96, 192]),
    "timm resnet18": (lambda: timm.create_model("resnet18"), "residual", [64, 64, 128, 128, 256, 256, 512, 512]),
    "timm efficientnet": (lambda: timm.create_model("efficientnet_b0"), ["blocks.*"], [16, 24, 40, 80, 112, 192, 320]),
    "timm convnext": (lambda: timm.create_model("convnext_atto"), ["stages.*"], [40, 80, 160, 320]),
    "timm swin": (lambda: timm.create_model("swin_tiny_patch4_window7_224"), ["layers.0", "layers.3"], [96, 768]),
    "timm vit": (lambda: timm.create_model("vit_tiny_patch16_224"), ["blocks.1?"], [192, 192]),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gates_of_a_classifier_have_its_widths_start_as_it_and_train(name):
    make, sites, expected = CLASSIFIERS[name]
    torch.manual_seed(0)
    model = make().eval()
    x = example_for(model).expand(2, -1, -1, -1)
    with torch.no_grad():
        before = model(x)
    attach_attention(model, sites, init="identity")
    assert list(widths(model).values()) == expected
    after = model(x)
    assert torch.equal(after, before)
    after.sum().backward()
    assert [key for key, value in model.gates.named_parameters() if value.grad is None] == []


def test_auxiliary_outputs_in_training_do_not_disturb():
    model = attach_attention(TV.googlenet(weights=None, init_weights=False), ["inception*"]).train()
    assert len(model.gates) == 9
    outputs = model(torch.rand(2, 3, 96, 96))
    assert len(outputs) == 3
    sum(output.sum() for output in outputs).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_plain_sequential_of_any_dimension_takes_gates(dimensions):
    model = attach_attention(CNN[dimensions](), ["1"], "cse")
    assert widths(model) == {"1": 8}
    assert model(torch.rand(2, 2, *(6,) * dimensions)).shape == (2, 3, *(6,) * dimensions)


def test_stages_and_modules_combine_and_a_place_counts_once():
    model = smp.Unet("resnet18", encoder_weights=None)
    attach_attention(model, ["encoder.layer3.*.bn2", "decoder.1", "decoder.blocks.0", "residual", "encoder.layer4"])
    names = list(widths(model))
    assert names[:3] == ["decoder.1", "encoder.layer3.0.bn2", "encoder.layer3.1.bn2"]
    assert len(names) == 1 + 8 + 1
    assert names[-1] == "encoder.layer4"


def test_attention_gates_lie_on_the_skips_and_change_the_output():
    torch.manual_seed(0)
    model, x = smp.Unet("resnet18", encoder_weights=None).eval(), torch.rand(1, 3, 64, 64)
    before = model(x)
    attach_attention(model, ["skip"], "attention_gate")
    assert widths(model) == {"skip.1": 64, "skip.2": 64, "skip.3": 128, "skip.4": 256}
    assert [gate.signal_channels for gate in model.gates.values()] == [64, 128, 256, 512]
    assert not torch.allclose(model(x), before)


Case = namedtuple("Case", "gate fields kind hidden")


@pytest.mark.parametrize(
    "case",
    [
        Case("cse", {}, "cse", 4),
        Case("se", {"min_width": 1}, "cse", 1),
        Case("paper_tmi", {}, "scse", 4),
        Case("eca", {}, "eca", 0),
        Case(GateConfig(type="scse", reduction=8, gate="hard_sigmoid"), {}, "scse", 1),
        Case(lambda channels: SCSE(channels, 4), {}, "scse", 2),
    ],
    ids=lambda case: str(case.gate)[:20],
)
def test_a_gate_is_a_type_a_preset_a_configuration_or_a_function(case):
    model = attach_attention(plain(), ["1"], case.gate, **case.fields)
    assert (model.gates["1"].kind, model.gates["1"].hidden) == (case.kind, case.hidden)


def test_fields_reach_the_gate():
    gate = attach_attention(plain(), ["1"], merge="max", squeeze="max", reduction=4, bias=False).gates["1"]
    assert (gate.recipe.merge, gate.recipe.squeeze, gate.hidden) == ("max", "max", 2)
    assert gate.channel.squeeze.bias is None


def test_sk_replaces_the_named_convolutions():
    model = attach_attention(smp.Unet("resnet18", encoder_weights=None), ["encoder.layer4.*.conv2"], "sk", min_width=32)
    assert isinstance(model.encoder.layer4[0].conv2, SelectiveKernelConv)
    assert not hasattr(model, "gates")


def test_sk_takes_a_convolution_with_the_name_of_a_stage():
    model = nn.Sequential()
    model.decoder = nn.Conv2d(3, 8, 3, padding=1)
    attach_attention(model, gate="sk")
    assert isinstance(model.decoder, SelectiveKernelConv)


def test_tokens_are_an_example():
    model = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 8), nn.Linear(8, 2))
    attach_attention(model, ["1"], example=torch.arange(5).view(1, 5))
    assert widths(model) == {"1": 8}


def test_an_example_can_be_given():
    model = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (16, 16)), nn.Conv2d(1, 8, 3), nn.ReLU())
    attach_attention(model, ["3"], example=torch.rand(1, 1, 256))
    assert widths(model) == {"3": 8}


class Picky(nn.Module):
    """Accepts one size only, as some transformers do."""

    def __init__(self, side):
        super().__init__()
        self.side, self.conv = side, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if x.shape[-1] != self.side:
            raise ValueError(f"only {self.side} pixels")
        return self.conv(x)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (CNN[1](), (1, 2, 64)),
        (CNN[2](), (1, 2, 64, 64)),
        (CNN[3](), (1, 2, 16, 16, 16)),
        (nn.Sequential(nn.Linear(5, 3)), (1, 64, 5)),
        (Picky(224), (1, 3, 224, 224)),
    ],
    ids=["1-D", "2-D", "3-D", "linear", "one size"],
)
def test_an_example_has_the_shape_that_the_first_layer_tells(model, shape):
    assert example_for(model).shape == shape


def test_an_example_is_the_same_for_every_random_state_and_of_the_networks_dtype():
    model = plain().double()
    torch.manual_seed(3)
    first = example_for(model)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, example_for(model))
    assert first.dtype == torch.float64


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Sequential(nn.ReLU()), "Sequential has no convolution or linear layer: pass an input as `example`."),
        (
            Picky(77),
            "no input for Picky could be made from its first layer, Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1)) "
            "(only 77 pixels): pass an input as `example`.",
        ),
    ],
    ids=["no layer", "no size"],
)
def test_where_no_example_can_be_made_one_is_asked_for(model, text):
    with pytest.raises(ConfigError) as error:
        example_for(model)
    assert str(error.value) == text


def test_a_configuration_is_attached_and_its_errors_name_the_section():
    x = torch.rand(1, 1, 32, 32)
    model = ClassicUNet(1, 1, width=8, depth=2)
    attach_configured(model, AttentionConfig(preset="paper_tmi"), x)
    assert list(kinds(model)) == ["encoder.1", "encoder.2", "bottleneck", "decoder.1", "decoder.2"]
    with pytest.raises(
        ConfigError, match=r"^`model\.attention`: site `decoder\.2` \(8 channels\): `reduction`=16 leaves"
    ):
        attach_configured(ClassicUNet(1, 1, width=8, depth=2), AttentionConfig(preset="smp"), x)
    bare = ClassicUNet(1, 1, width=8, depth=2)
    attach_configured(bare, AttentionConfig(), x)
    assert not hasattr(bare, "gates")
