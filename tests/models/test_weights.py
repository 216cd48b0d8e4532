import socket

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from seg_scse.errors import ConfigError
from seg_scse.models import weights

CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."


def encoder():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_a_path_is_told_from_a_name():
    assert weights.is_local_file("weights.safetensors")
    assert not weights.is_local_file("imagenet")
    with pytest.raises(ConfigError) as error:
        weights.is_local_file("weights.pth")
    assert str(error.value) == (
        "`model.encoder_weights` = 'weights.pth': only .safetensors files are read, because others can run code."
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
        f"The file must be of this encoder and number of image channels. {CURE}"
    )


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
