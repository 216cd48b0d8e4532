import pytest
import timm
import torch
import torchvision
from torch import nn

from seg_scse.errors import ConfigError
from seg_scse.models.paths import matches, matching, path_sites


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("layer3.*.bn2", "layer3.0.bn2", True),
        ("layer3.*.bn2", "layer3.0.downsample.bn2", False),
        ("inception*", "inception4a", True),
        ("inception*", "inception4a.branch1", False),
        ("features.?", "features.12", False),
        ("**.bn2", "bn2", True),
        ("**.bn2", "encoder.layer3.0.bn2", True),
        ("encoder.**", "encoder.layer3.0.bn2", True),
        ("encoder.**.bn2", "decoder.layer3.bn2", False),
        ("layer", "layer1", False),
    ],
)
def test_a_star_stays_within_one_part_and_two_cross_any_number(pattern, path, expected):
    assert matches(path, pattern) is expected


def test_a_pattern_without_a_match_names_the_nearest_path_and_the_children():
    with pytest.raises(ConfigError) as error:
        matching(torchvision.models.resnet18(), "layer1.0.bn22")
    assert str(error.value) == (
        "site `layer1.0.bn22` is not available in this network: no module of ResNet has this path; did you mean "
        "`layer1.0.bn2`? Its children: conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, fc."
    )


def residual(model):
    return [site.module for site in path_sites(model, ["residual"], torch.rand(1, 3, 32, 32), None)]


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(("name", "norm"), [("resnet18", "bn2"), ("resnet50", "bn3")])
def test_residual_is_the_last_normalisation_of_every_block(library, name, norm):
    model = getattr(torchvision.models, name)() if library == "torchvision" else timm.create_model(name)
    blocks = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[name]
    assert residual(model) == [f"layer{k}.{i}.{norm}" for k, count in enumerate(blocks, 1) for i in range(count)]


def test_residual_leaves_blocks_out_that_the_output_does_not_depend_on_also_in_a_frozen_network():
    model = torchvision.models.resnet18().requires_grad_(False)
    model.layer4[1] = Ignores(model.layer4[1])
    assert residual(model)[-1] == "layer4.0.bn2"


class Ignores(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        self.block(x)
        return x


def test_residual_is_refused_where_no_known_block_is():
    with pytest.raises(ConfigError) as error:
        residual(torchvision.models.mobilenet_v3_small())
    assert str(error.value) == (
        "site `residual` is not available in this network: MobileNetV3 has no residual block of torchvision's, timm's "
        "or segmentation-models-pytorch's ResNets (BasicBlock, Bottleneck). Name the last layer before the addition by "
        "its module path instead, such as `layer3.*.bn2`."
    )


class Turn(nn.Module):
    """Puts the channels elsewhere; knows no width."""

    def __init__(self, source, target):
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x):
        return x.movedim(self.source, self.target)


CHAINS = {
    "convolution": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), "channels_first"),
    "convolution as wide as the map": (nn.Conv2d(3, 16, 1), "channels_first"),
    "convolution, turned": (nn.Sequential(nn.Conv2d(3, 8, 1), Turn(1, -1)), "channels_last"),
    "linear": (nn.Sequential(nn.Conv2d(3, 8, 1), Turn(1, -1), nn.Linear(8, 6), nn.GELU()), "channels_last"),
    "normalisation, turned": (nn.Sequential(Turn(1, -1), nn.LayerNorm(3), Turn(-1, 1)), "channels_first"),
    "concatenation": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)), "channels_first"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_last_layer_that_knows_its_width_tells_where_the_channels_are(name):
    chain, layout = CHAINS[name]
    (site,) = path_sites(nn.Sequential(chain), ["0"], torch.rand(1, 3, 16, 16), None)
    assert site.layout == layout


def test_a_map_as_wide_as_its_channels_needs_the_layout():
    model = nn.Sequential(Turn(1, -1), nn.Linear(3, 16))
    with pytest.raises(ConfigError) as error:
        path_sites(model, ["1"], torch.rand(1, 3, 16, 16), None)
    assert str(error.value) == (
        "site `1`: the position of the channels in its map (1, 16, 16, 16) cannot be told; pass "
        "`layout`='channels_first' or 'channels_last'."
    )
    (site,) = path_sites(model, ["1"], torch.rand(1, 3, 16, 16), "channels_last")
    assert site.layout == "channels_last"


def test_a_layout_is_that_of_module_paths_and_not_of_residual_blocks():
    sites = path_sites(torchvision.models.resnet18(), ["residual", "layer1"], torch.rand(1, 3, 32, 32), "channels_last")
    assert [site.name for site in sites if site.layout == "channels_last"] == ["layer1"]
