import copy
from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from seg_scse.attention import Site, attach_gates, build_gate
from seg_scse.attention.fold import fold_constant_gates
from seg_scse.attention.probe import constant, gate_means, replaced
from seg_scse.config.attention import GateConfig
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model

WIDTHS = (16, 8, 8, 8, 8)


def images(count=2, channels=3, side=32, seed=0):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def lively(model, seed=0):
    """Weights and statistics as after a training, so that no layer is trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            elif name.endswith(("running_mean", "bias")):
                values.copy_(0.3 * torch.randn(values.shape, generator=generator))
            elif values.dim() == 1 and values.is_floating_point():
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return model.eval()


def unet(*sites, **gate):
    torch.manual_seed(1)
    attention = {"type": "scse", "sites": sites, **gate}
    config = ModelConfig(encoder_weights=None, decoder_channels=WIDTHS, attention=attention)
    return lively(build_model(config, 3, 2))


def on(host, *sites, example=None, **gate):
    model = lively(host)
    config = GateConfig(**{"type": "scse", **gate})
    attach_gates(model, list(sites), partial(build_gate, config), images() if example is None else example)
    return model


def frozen_output(model, means, x):
    with replaced(model, {site: constant(values) for site, values in means.items()}), torch.no_grad():
        return model(x)


def fold_and_compare(model, sites=None, example=None):
    """Fold all gates and return the paths, after comparing the output with that of the frozen gates."""
    example = images() if example is None else example
    means = gate_means(model, [example])
    folded_means = means if sites is None else {site: means[site] for site in sites}
    other = torch.randn(example.shape, generator=torch.Generator().manual_seed(9))
    expected = [frozen_output(model, folded_means, x) for x in (example, other)]
    paths = fold_constant_gates(model, means, sites, example=example)
    for x, frozen in zip((example, other), expected, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(model(x), frozen, rtol=0, atol=1e-5 * float(frozen.abs().max()))
    return paths


def test_decoder_gates_of_a_unet_fold_into_the_normalisation_before_them():
    model = unet("decoder")
    paths = fold_and_compare(model)
    assert paths == [f"decoder.blocks.{block}.conv2.1" for block in range(5)]
    plain = smp.Unet("resnet18", encoder_weights=None, classes=1, decoder_channels=WIDTHS)
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(plain.eval()(images()), model(images())), "and no hook is left on the folded network"


def test_gates_on_the_concatenation_fold_into_the_convolution_that_reads_it():
    model = unet("decoder_in", "decoder")
    paths = fold_and_compare(model)
    assert paths[:4] == [f"decoder.blocks.{block}.conv1.0" for block in range(4)]
    assert not [key for key in model.state_dict() if key.startswith("gates")]


def test_some_gates_can_be_folded_and_the_others_stay_as_they_are():
    model = unet("decoder", "bottleneck")
    kept = copy.deepcopy(model.gates["decoder_2"].state_dict())
    assert fold_and_compare(model, ["decoder.3", "decoder.1"]) == [
        "decoder.blocks.2.conv2.1",
        "decoder.blocks.0.conv2.1",
    ]
    assert set(model.gates) == {"decoder_2", "decoder_4", "decoder_5", "bottleneck"} == set(model.gates.sites)
    assert all(torch.equal(kept[key], value) for key, value in model.gates["decoder_2"].state_dict().items())


class Residual(nn.Module):
    def __init__(self, activation=nn.functional.relu):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.end = nn.Identity()
        self.head = nn.Conv2d(6, 2, 1)
        self.activation = activation

    def forward(self, x):
        x = self.stem(x)
        x = self.end(self.activation(self.bn(self.conv(x)) + x))
        return self.head(x)


@pytest.mark.parametrize(
    "gate", [{"merge": "add"}, {"merge": "max"}, {"merge": "mul"}, {"type": "cse"}, {"type": "sse"}]
)
def test_gates_of_each_kind_fold_before_the_addition_of_a_residual_block(gate):
    assert fold_and_compare(on(Residual(), Site("inside", "bn"), **gate)) == ["bn"]


def sequence(*middle):
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *middle, nn.Conv2d(8, 4, 1), nn.Conv2d(4, 1, 1))


def test_a_gate_between_two_convolutions_folds_into_the_nearest_one_before():
    model = on(sequence(nn.ReLU(inplace=True), nn.MaxPool2d(2)), Site("pool", "2"))
    assert fold_and_compare(model) == ["0"]
    assert model.state_dict().keys() == sequence(nn.ReLU(), nn.MaxPool2d(2)).state_dict().keys()


def test_a_function_that_bends_before_the_gate_leaves_the_layer_after_it():
    model = on(sequence(nn.SiLU()), Site("act", "1"))
    assert fold_and_compare(model) == ["2"]


@pytest.mark.parametrize("groups", [2, 8])
def test_grouped_convolutions_take_the_factor_of_their_own_channels(groups):
    after = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    model = on(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid(), after, nn.Conv2d(8, 1, 1)), Site("act", "1"))
    assert fold_and_compare(model) == ["2"]


def test_tokens_fold_into_the_linear_layer_that_makes_them():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(3, 6)

        def forward(self, x):
            return self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).sigmoid()

    assert fold_and_compare(on(Tokens(), Site("tokens", "mix", layout="channels_last"))) == ["mix"]


def refusal(model, sites=None, means=None):
    """Fold, which must fail, and return the message after checking that nothing changed."""
    before, output = copy.deepcopy(model.state_dict()), model(images())
    with pytest.raises(ConfigError) as error:
        fold_constant_gates(model, means or gate_means(model, [images()]), sites, example=images())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(images()), output)
    return str(error.value)


@pytest.mark.parametrize("activation", [nn.functional.relu, nn.functional.relu6])
def test_the_end_of_a_residual_block_that_is_used_twice_is_refused(activation):
    class Two(Residual):
        def forward(self, x):
            x = self.end(self.activation(self.bn(self.conv(self.stem(x))) + self.stem(x)))
            return self.head(x) + x[:, :2]

    message = refusal(on(Two(activation), Site("end", "end")))
    assert "nothing was changed" in message
    assert "`end`: no convolution" in message
    assert "also used elsewhere" in message


def test_a_clipped_activation_is_noticed_although_the_example_stays_below_the_clip():
    class Clipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.clip = nn.Hardtanh(-50, 50)

        def forward(self, x):
            return self.clip(self.conv(x)).square()

    assert "`clip`" in refusal(on(Clipped(), Site("clip", "clip")))


def test_one_refused_site_keeps_all_gates():
    message = refusal(unet("encoder.2", "decoder"))
    assert "`encoder.2`" in message
    assert "`decoder" not in message


def test_a_concatenation_is_no_factor_per_channel():
    assert "`pool`: a constant gate of this kind (scse) is not one factor per channel" in refusal(
        on(sequence(nn.ReLU()), Site("pool", "1"), merge="concat")
    )


def test_unknown_sites_and_absent_means_are_named():
    model = unet("decoder")
    means = gate_means(model, [images()])
    del means["decoder.2"]
    message = refusal(model, ["decoder.1", "decoder.2", "decoder.9"], means)
    assert "`decoder.9` has no gate" in message
    assert "`decoder.2` has no mean" in message
