from collections import OrderedDict

import pytest
import torchvision
from torch import nn

from seg_scse import SCSE, attach_attention
from seg_scse.config.attention import AttentionConfig, GateConfig
from seg_scse.errors import ConfigError
from seg_scse.models import ClassicUNet


def plain():
    return nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


MISTAKES = {
    "unknown gate": (
        {"gate": "csee"},
        "`gate` = 'csee' is not known; did you mean `cse`? Known gates: attention_gate, cbam, constant, coord, cse, "
        "dual_channel, dual_position, eca, ese, gc, scse, simam, sk, sse, se, paper_miccai, paper_tmi, smp.",
    ),
    "gate that is not offered": ({"gate": "ge"}, "'ge': gather-excite is broken in timm"),
    "misspelt field": (
        {"redution": 4},
        "unknown key `gate.redution`; did you mean `reduction`?",
    ),
    "field out of range": ({"reduction": 0}, "gate.reduction = 0: must be greater than or equal to 1"),
    "unknown value": ({"merge": "ad"}, "gate.merge = 'ad': must be 'add', 'max', 'mul' or 'concat'; did you mean"),
    "field of another gate": (
        {"gate": "eca", "reduction": 4},
        "gate: reduction = 4 (default 2) has no meaning for type = eca: leave it at its default",
    ),
    "contradicted preset": (
        {"gate": "se", "reduction": 4},
        "gate: reduction = 4 contradicts preset = se (16): leave one of them out",
    ),
    "field beside a configuration": (
        {"gate": GateConfig(type="cse"), "reduction": 4},
        "`reduction` can be given with the name of a gate only.",
    ),
    "two names of a gate": (
        {"gate": "scse", "type": "cse"},
        "`gate` = 'scse' is the type or preset: leave `type` and `preset` out.",
    ),
    "sites twice": (
        {"gate": AttentionConfig(type="cse")},
        "`gate` has sites of its own: use `seg_scse.models.attach_configured`, or a GateConfig.",
    ),
    "no gate at all": ({"gate": GateConfig()}, "`type` = none is no gate: choose one to attach."),
    "number for a gate": ({"gate": 3}, "`gate` = 3 must be a name, a GateConfig or a function of the channels."),
    "too narrow": (
        {"gate": "se"},
        "site `1` (8 channels): `reduction`=16 leaves no bottleneck unit for 8 channels: choose reduction <= 8 or "
        "min_width >= 1.",
    ),
    "module for a gate": ({"gate": SCSE(8)}, "`gate` is a module, SCSE, but each site needs one of its own: give a"),
    "number for a site": (
        {"sites": [1]},
        "`sites` = [1] must be a name or a list of names, such as ['decoder', 'layer3.*.bn2'].",
    ),
    "number for the sites": ({"sites": 1}, "`sites` = 1 must be a name or a list of names, such as"),
    "misspelt layout": (
        {"layout": "channel_last"},
        "`layout`='channel_last' is not known; did you mean `channels_last`? "
        "Known: channels_first, channels_last.",
    ),
    "unknown layout": ({"layout": "nhwc"}, "`layout`='nhwc' is not known. Known: "),
    "layout of a replaced convolution": (
        {"gate": "sk", "sites": ["0"], "layout": "channels_first"},
        "`layout` = channels_first has no meaning for `type` = sk, which replaces convolutions.",
    ),
    "layout of a gate with a signal": (
        {"gate": "attention_gate", "sites": ["skip"], "layout": "channels_first"},
        "`layout` = channels_first has no meaning for ['skip']: it belongs to module paths.",
    ),
    "layout of residual blocks": (
        {"sites": "residual", "layout": "channels_last"},
        "`layout` = channels_last has no meaning for ['residual']: it belongs to module paths.",
    ),
    "group of sites for sk": (
        {"gate": "sk", "sites": "residual"},
        "site `residual` is none for `type` = sk, which takes module paths of 3x3 convolutions: name them, such as "
        "`encoder.layer3.*.conv2`.",
    ),
    "stage for sk": ({"gate": "sk", "sites": ["decoder.1"]}, "site `decoder.1` is none for `type` = sk, which takes"),
    "no site": ({"sites": ()}, "`sites` is empty: name at least one site."),
    "glob without a match": (
        {"sites": "layer*.bn2"},
        "site `layer*.bn2` is not available in this network: no module of Sequential has this path. "
        "Its children: 0, 1, 2.",
    ),
    "stage of a network without stages": (
        {"sites": "decoder"},
        "site `decoder` is not available in this network: no module of Sequential has this path. "
        "Its children: 0, 1, 2.",
    ),
    "gate with a signal": (
        {"gate": "attention_gate"},
        "site `1` has no signal: this gate needs a skip that one module of the decoder joins with a map of the "
        "decoder. This network has no such site. Architectures with such skips: unet, manet, linknet, fpn, pan and "
        "classic_unet.",
    ),
    "convolution that sk cannot replace": ({"gate": "sk"}, "`1` is a ReLU. `type` = sk replaces 3x3 convolutions"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_with_its_cure_and_the_network_is_as_it_was(name):
    options, text = MISTAKES[name]
    model = plain()
    with pytest.raises(ConfigError) as error:
        attach_attention(model, **{"sites": ["1"], **options})
    assert text in str(error.value)
    assert model.state_dict().keys() == plain().state_dict().keys()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_attaching_twice_is_refused():
    model = attach_attention(plain(), ["1"])
    with pytest.raises(ConfigError, match="the network already has an attribute `gates`: gates can be attached once"):
        attach_attention(model, ["0"])


def test_a_module_that_is_used_twice_in_a_forward_pass_is_refused():
    with pytest.raises(ConfigError, match=r"site `layer3\.0\.relu` .* is passed 2 times in a forward pass"):
        attach_attention(torchvision.models.resnet18(), ["layer3.0.relu"])


def test_an_unused_path_is_refused():
    with pytest.raises(ConfigError, match=r"site `aux1\.conv` .* is passed 0 times in a forward pass"):
        attach_attention(torchvision.models.googlenet(weights=None, init_weights=False), ["aux1.conv"])


def test_a_layout_without_a_module_path_is_refused():
    with pytest.raises(ConfigError, match="`layout` = channels_last has no meaning for"):
        attach_attention(ClassicUNet(1, 1, width=4, depth=2), layout="channels_last")


def test_a_module_with_the_name_of_a_dictionarys_method_is_refused():
    model = nn.Sequential(OrderedDict(items=nn.Conv2d(3, 8, 1), head=nn.Conv2d(8, 1, 1)))
    with pytest.raises(ConfigError, match=r"site `items` .* has the name of an attribute of `GateSet`"):
        attach_attention(model, ["items"])
