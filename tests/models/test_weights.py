import socket

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from seg_scse.errors import ConfigError
from seg_scse.models import weights

CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."


def encoder(channels=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4))


def test_a_path_is_told_from_a_name():
    assert weights.is_local_file("weights.safetensors")
    assert not weights.is_local_file("imagenet")
    with pytest.raises(ConfigError) as error:
        weights.is_local_file("weights.pth")
    assert str(error.value) == (
        "`model.encoder_weights` = 'weights.pth': only .safetensors files are read here, because others can run code. "
        "`--from weights.pth` takes the tensors that fit out of a file of torch.save, and runs nothing."
    )


def test_a_fitting_file_is_loaded(tmp_path):
    source, target = encoder(), encoder()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    weights.load_local(target, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_a_file_that_does_not_fit_is_refused_with_examples(tmp_path):
    path = tmp_path / "w.safetensors"
    state = {**encoder().state_dict(), "0.weight": torch.zeros(4, 1, 1, 1), "fc.weight": torch.zeros(1)}
    del state["0.bias"]
    save_file(state, path)
    with pytest.raises(ConfigError) as error:
        weights.load_local(encoder(), path)
    assert str(error.value) == (
        f"`model.encoder_weights` = {path}: 3 tensors do not fit: `0.bias` (4,) is missing; `0.weight` is "
        "(4, 1, 1, 1), not (4, 3, 1, 1); `fc.weight` (1,) has no place. "
        "The weights are for images with 1 channel, the network for 3. "
        f"The file must be of this encoder, for images with 3 channels or as many as here. {CURE}"
    )


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_filters_for_colours_are_taken_in_turn_and_keep_the_sum_of_their_weights(channels):
    colours = torch.rand(5, 3, 3, 3)
    adapted = weights.adapt_colours(colours, channels)
    assert adapted.shape == (5, channels, 3, 3)
    if channels == 1:
        assert torch.equal(adapted, colours.sum(1, keepdim=True))
    for channel in range(channels if channels > 1 else 0):
        assert torch.equal(adapted[:, channel], colours[:, channel % 3] * (3 / channels))
    grey = torch.full((5, 3, 3, 3), 0.2)
    torch.testing.assert_close(weights.adapt_colours(grey, channels).sum(1), grey.sum(1))


@pytest.mark.parametrize("channels", [1, 3, 6, 12])
def test_equal_channels_give_the_response_to_a_grey_rgb_image(channels):
    colours, plane = torch.rand(5, 3, 3, 3), torch.rand(2, 1, 8, 8)
    adapted = weights.adapt_colours(colours, channels)
    expected = nn.functional.conv2d(plane.repeat(1, 3, 1, 1), colours)
    torch.testing.assert_close(nn.functional.conv2d(plane.repeat(1, channels, 1, 1), adapted), expected)


def test_weights_for_colours_are_loaded_for_other_images_and_what_was_adapted_is_said(tmp_path):
    source, target = encoder(), encoder(4)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert weights.load_local(target, tmp_path / "w.safetensors") == [
        "the first convolution (0.weight) was trained on RGB images and is adapted to images with 4 channels: "
        "each colour's filter in turn, times 3/4."
    ]
    assert torch.equal(target[0].weight, weights.adapt_colours(source[0].weight, 4))
    assert torch.equal(target[0].bias, source[0].bias)
    assert weights.adaptation_note(1) == (
        "the first convolution was trained on RGB images and is adapted to images with 1 channel: "
        "the sum of the three filters."
    )


def test_weights_for_as_many_channels_are_loaded_as_they_are(tmp_path):
    source, target = encoder(4), encoder(4)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert weights.load_local(target, tmp_path / "w.safetensors") == []
    assert torch.equal(target[0].weight, source[0].weight)


def test_weights_for_other_images_than_rgb_are_not_adapted(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(encoder(4).state_dict(), path)
    target = encoder(5)
    before = target[0].weight.clone()
    with pytest.raises(ConfigError) as error:
        weights.load_local(target, path)
    assert str(error.value) == (
        f"`model.encoder_weights` = {path}: 1 tensor does not fit: `0.weight` is (4, 4, 1, 1), not (4, 5, 1, 1). "
        "The weights are for images with 4 channels, the network for 5. "
        f"The file must be of this encoder, for images with 3 channels or as many as here. {CURE}"
    )
    assert torch.equal(target[0].weight, before)


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ConfigError) as error:
        weights.load_local(encoder(), path)
    assert str(error.value) == f"`model.encoder_weights` = {path}: the file does not exist. {CURE}"
    path.write_bytes(b"not safetensors")
    with pytest.raises(ConfigError) as error:
        weights.load_local(encoder(), path)
    assert str(error.value).startswith(f"`model.encoder_weights` = {path}: the file cannot be read as safetensors (")


def test_a_part_of_a_network_is_loaded_and_the_rest_left():
    source, target = encoder(), encoder()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    own = [key for key in before if key.startswith("0.")]
    weights.load_fitting(target, {key: source.state_dict()[key] for key in own}, "", own)
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key] if key in own else before[key])


def test_many_misfits_are_counted_and_the_first_five_listed():
    state = {f"x{k}": torch.zeros(k) for k in range(9)} | encoder().state_dict()
    with pytest.raises(ConfigError) as error:
        weights.load_fitting(encoder(), state, "Look again.")
    listed = "; ".join(f"`x{k}` ({k},) has no place" for k in range(5))
    assert str(error.value) == f"9 tensors do not fit: {listed}. Look again."


@pytest.mark.parametrize("reachable", [True, False])
def test_the_hub_is_offline_only_while_its_server_cannot_be_reached(monkeypatch, reachable):
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: reachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with weights.quick_hub():
        assert constants.HF_HUB_OFFLINE is not reachable
    assert constants.HF_HUB_OFFLINE is False


def test_reaching_the_hub_asks_its_server_once(monkeypatch):
    monkeypatch.setattr(weights.urllib.request, "getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert weights._hub_is_reachable()
    assert not weights._hub_is_reachable()


def test_a_proxy_leaves_the_question_to_the_hub(monkeypatch):
    monkeypatch.setattr(weights.urllib.request, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert weights._hub_is_reachable()
