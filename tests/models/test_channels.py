"""Images with any number of channels: every network is built and trained, RGB weights are adapted, others refused."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from seg_scse.errors import ConfigError
from seg_scse.models import build_model, weights
from seg_scse.models.sites import DECODER_STAGES

SIDES = {"pan": 128, "dpt": 224}
NOTE = (
    "model.encoder_weights: the first convolution{} was trained on RGB images and is adapted to images with 4 channels"
)


def described(architecture):
    if architecture == "classic_unet":
        return {"architecture": architecture, "width": 8, "depth": 3}
    encoder = "tu-vit_tiny_patch16_224" if architecture == "dpt" else "resnet18"
    return {"architecture": architecture, "encoder": encoder}


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=[pytest.mark.slow] * (name == "dpt")) for name in DECODER_STAGES]
)
def test_every_network_trains_on_any_number_of_channels(architecture, channels):
    model = build_model(described(architecture), channels, 2)
    side = SIDES.get(architecture, 64)
    x = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    y = model(x)
    assert y.shape == (2, 1, side, side)
    y.square().mean().backward()
    trained = [value for value in model.parameters() if value.requires_grad]
    assert all(value.grad is not None for value in trained)
    first = next(value for value in trained if value.dim() == 4)
    assert first.shape[1] == channels
    assert first.grad.abs().sum((0, 2, 3)).min() > 0
    torch.optim.SGD(trained, 0.1).step()
    assert not torch.equal(model(x), y)


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "tu-resnet18", "mobileone_s0"])
def test_a_file_of_an_rgb_encoder_is_adapted_and_said_so(tmp_path, capsys, encoder):
    path = tmp_path / "encoder.safetensors"
    source = build_model({"encoder": encoder}, 3, 2).encoder.state_dict()
    save_file(source, path)
    state = build_model({"encoder": encoder, "encoder_weights": str(path)}, 4, 2).encoder.state_dict()
    adapted = [key for key, value in state.items() if value.shape != source[key].shape]
    assert len(adapted) == (2 if encoder == "mobileone_s0" else 1)  # its first block has two branches
    for key, value in state.items():
        assert torch.equal(value, weights.adapt_colours(source[key], 4) if key in adapted else source[key])
    assert capsys.readouterr().out.startswith(NOTE.format(f" ({', '.join(adapted)})"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_weights_of_the_hub_are_adapted_by_the_same_rule(tmp_path, monkeypatch, capsys, channels):
    source = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    head = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}  # removed by smp as it loads
    save_file(source | head, tmp_path / "hub.safetensors")
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *_args, **_options: tmp_path / "hub.safetensors")
    encoder = build_model({"encoder": "resnet18", "encoder_weights": "imagenet"}, channels, 2).encoder
    expected = source["conv1.weight"] if channels == 3 else weights.adapt_colours(source["conv1.weight"], channels)
    assert torch.equal(encoder.conv1.weight, expected)
    assert ("is adapted to images" in capsys.readouterr().out) == (channels != 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_of_timm_are_adapted_by_the_same_rule(monkeypatch, capsys, channels):
    source = timm.create_model("resnet18").state_dict()
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_args, **_options: dict(source))
    encoder = build_model({"encoder": "tu-resnet18", "encoder_weights": "imagenet"}, channels, 2).encoder
    expected = weights.adapt_colours(source["conv1.weight"], channels)
    assert torch.equal(encoder.model.conv1.weight, expected)
    assert "is adapted to images" in capsys.readouterr().out


@pytest.mark.parametrize("architecture", ["unet", "classic_unet"])
def test_weights_of_a_whole_network_for_other_images_are_refused(tmp_path, architecture):
    path = tmp_path / "network.safetensors"
    save_file(build_model(described(architecture), 3, 2).state_dict(), path)
    with pytest.raises(ConfigError) as error:
        build_model(described(architecture) | {"weights": str(path)}, 4, 2)
    text = str(error.value)
    assert text.startswith(f"`model.weights` = {path}: 1 tensor")
    assert text.endswith(
        "The weights are for images with 3 channels, the network for 4. Build the network with the architecture, "
        "encoder, widths, image channels and classes of the weights."
    )
