import json
import re
import socket
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import nn

from seg_scse import attach_attention
from seg_scse.attention import SCSE
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model, describe_model, weights

ALL_SITES = ("encoder", "bottleneck", "skip", "decoder", "decoder_in")
BLOCKS = [("cse", "add"), ("sse", "add"), *(("scse", merge) for merge in ("add", "max", "mul", "concat"))]
CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."


def configured(kind="none", sites=("decoder",), merge="add", init="default", **options):
    attention = {"type": kind, "sites": sites, "merge": merge, "init": init, "min_width": int(kind != "sse")}
    return ModelConfig(attention=attention, **options)


def built(seed=0, channels=3, classes=2, **options):
    torch.manual_seed(seed)
    return build_model(configured(**options), channels, classes)


def plain(architecture="unet", encoder="resnet18", classes=1):
    torch.manual_seed(0)
    return smp.create_model(architecture, encoder, encoder_weights=None, in_channels=3, classes=classes)


def image(n=1, side=64, channels=3):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1))


def parameters_without_gradient(model, x):
    model.zero_grad()
    model.train()(x).float().sum().backward()
    return [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 1), (4, 5)])
def test_logits_have_one_channel_for_two_classes_and_one_a_class_otherwise(classes, channels):
    model = built(channels=channels, classes=classes)
    assert model.training
    assert model.eval()(image(2, channels=channels)).shape == (2, 1 if classes == 2 else classes, 64, 64)


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("architecture", ["unet", "classic_unet"])
def test_logits_have_one_channel_for_each_label(architecture, classes):
    model = build_model({"architecture": architecture}, 3, classes, "multilabel").eval()
    assert model(image()).shape == (1, classes - 1, 64, 64)


def test_without_attention_the_model_is_the_host():
    model = built()
    host = plain()
    assert model.state_dict().keys() == host.state_dict().keys()
    assert torch.equal(model.eval()(image()), host.eval()(image()))


@pytest.mark.parametrize(("kind", "merge"), BLOCKS)
def test_default_gates_change_the_output(kind, merge):
    model = built(kind=kind, merge=merge).eval()
    assert not torch.allclose(model(image()), plain().eval()(image()), atol=1e-3)


@pytest.mark.parametrize(("site", "count"), [("decoder", 5), ("decoder_in", 4), ("encoder", 5), ("skip", 4)])
def test_a_unet_has_the_expected_number_of_scse_blocks(site, count):
    model, calls = built(kind="scse", sites=(site,)), []
    blocks = [module for module in model.modules() if isinstance(module, SCSE)]
    for block in blocks:
        block.register_forward_hook(lambda module, _args, _y: calls.append(module))
    model(image(2))
    assert len(blocks) == count
    assert sorted(map(id, calls)) == sorted(map(id, blocks))


def test_host_weights_are_the_same_with_and_without_gates_and_a_function_of_the_seed():
    gated, again, other = built(kind="scse"), built(kind="scse"), built(kind="scse", seed=1)
    host = plain().state_dict()
    state = gated.state_dict()
    assert all(torch.equal(state[key], value) for key, value in host.items())
    assert all(torch.equal(a, b) for a, b in zip(state.values(), again.state_dict().values(), strict=True))
    assert not torch.equal(state["gates.decoder_1.spatial.project.weight"],
                           other.state_dict()["gates.decoder_1.spatial.project.weight"])  # fmt: skip


def test_building_draws_from_the_random_state_for_weights_only():
    built()
    state = torch.get_rng_state()
    plain()
    assert torch.equal(torch.get_rng_state(), state)


def test_probing_leaves_batch_statistics_untouched():
    buffers = dict(built(kind="scse", sites=ALL_SITES).named_buffers())
    assert all(not value.any() for name, value in buffers.items() if name.endswith(("running_mean", "batches_tracked")))
    assert all((value == 1).all() for name, value in buffers.items() if name.endswith("running_var"))


@pytest.mark.parametrize(
    ("architecture", "encoder", "frozen"),
    [
        ("unet", "resnet18", ()),
        ("unet", "efficientnet-b0", ("encoder._bn1.bias", "encoder._bn1.weight", "encoder._conv_head.weight")),
        ("pspnet", "resnet18", "encoder.layer"),
    ],
)
def test_parameters_that_never_get_a_gradient_are_frozen(architecture, encoder, frozen):
    model = built(architecture=architecture, encoder=encoder)
    names = {name for name, value in model.named_parameters() if not value.requires_grad}
    if isinstance(frozen, tuple):
        assert names == set(frozen)
    else:
        assert names
        assert all(name.startswith(("encoder.layer3", "encoder.layer4")) for name in names)
    assert parameters_without_gradient(model, image(2)) == []


def test_channels_last_passes_through_a_gated_network():
    model = built(kind="scse", sites=ALL_SITES).to(memory_format=torch.channels_last)
    wrong = []
    for name, module in model.named_modules():
        if isinstance(module, SCSE | torch.nn.Conv2d):
            module.register_forward_hook(
                lambda _m, _a, y, name=name: wrong.extend(
                    [name] * (not y.is_contiguous(memory_format=torch.channels_last))
                )
            )
    model(image(2).to(memory_format=torch.channels_last)).sum().backward()
    assert wrong == []


@pytest.mark.slow
def test_a_gated_network_compiles_in_one_graph_and_exports():
    model = built(kind="scse", sites=ALL_SITES).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image()), model(image()), rtol=1e-4, atol=1e-5)
    program = torch.export.export(model, (image(),))
    torch.testing.assert_close(program.module()(image()), model(image()), rtol=1e-4, atol=1e-5)


def test_building_runs_the_host_on_a_few_tiny_images_only(monkeypatch):
    shapes, forward = [], smp.Unet.forward

    def counted(model, x):
        shapes.append(tuple(x.shape))
        return forward(model, x)

    monkeypatch.setattr(smp.Unet, "forward", counted)
    built(kind="scse")
    assert set(shapes) == {(1, 3, 64, 64)}
    assert len(shapes) <= 6


def test_the_description_is_plain_json():
    model = built(kind="scse", sites=("decoder", "encoder.1"), encoder="efficientnet-b0")
    description = json.loads(json.dumps(describe_model(model)))
    frozen = sum(value.numel() for value in model.parameters() if not value.requires_grad)
    assert description["parameters"] - description["trainable_parameters"] == frozen > 0
    assert [gate["site"] for gate in description["gates"]] == [*(f"decoder.{k}" for k in range(1, 6)), "encoder.1"]
    assert description["gates"][0] == {
        "site": "decoder.1",
        "module": "decoder.blocks.0",
        "type": "scse",
        "channels": 256,
        "hidden": 128,
        "parameters": 2 * 256 * 128 + 128 + 256 + 256 + 1,
    }
    assert describe_model(plain())["gates"] == []


def test_gates_of_another_making_are_described_by_their_class():
    model = attach_attention(plain(), ["decoder.5"], lambda _channels: Foreign())
    (gate,) = describe_model(model)["gates"]
    assert {key: gate[key] for key in ("type", "channels", "hidden", "parameters")} == {
        "type": "Foreign",
        "channels": None,
        "hidden": None,
        "parameters": 2,
    }


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(1, 1)

    def forward(self, x):
        return x * self.hidden(x.new_ones(1))


def test_replaced_convolutions_are_described_with_their_path():
    path = "encoder.layer1.0.conv2"
    model = build_model({"attention": {"type": "sk", "sites": [path]}})
    block = model.get_submodule(path)
    assert describe_model(model)["gates"] == [
        {
            "site": path,
            "module": path,
            "type": "sk",
            "channels": 64,
            "hidden": 32,
            "parameters": sum(value.numel() for value in block.parameters()),
        }
    ]


def test_decoder_widths_reach_the_host():
    gates = built(kind="cse", decoder_channels=(32, 16, 8, 8, 4)).gates
    assert [gate.channels for gate in gates.values()] == [32, 16, 8, 8, 4]
    assert built(kind="cse", architecture="pan", decoder_channels=(16,)).gates["decoder_1"].channels == 16


def test_local_encoder_weights_are_loaded(tmp_path):
    for encoder in ("resnet18", "mit_b0", "tu-resnet18"):
        source = built(encoder=encoder, seed=5).encoder
        save_file(source.state_dict(), tmp_path / "encoder.safetensors")
        model = built(encoder=encoder, encoder_weights=str(tmp_path / "encoder.safetensors"), kind="scse")
        assert all(torch.equal(a, b) for a, b in zip(source.parameters(), model.encoder.parameters(), strict=True))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_hub_weights_without_a_network_fail_before_any_connection_and_name_the_cure(monkeypatch, tmp_path, encoder):
    asked = []

    def unreachable(host, *_args, **_options):
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError) as error:
        built(encoder=encoder, encoder_weights="imagenet")
    assert asked == []  # each attempt would be repeated, with waits in between
    text = (
        f"`model.encoder_weights` = imagenet: the weights of {encoder} are not on this machine and cannot be downloaded"
    )
    assert str(error.value).startswith(text)
    assert str(error.value).endswith(CURE)


def test_a_mapping_means_what_the_configuration_means():
    attention = {"preset": "paper_tmi", "sites": ["decoder"]}
    torch.manual_seed(0)
    model = build_model({"attention": attention})
    torch.manual_seed(0)
    same = build_model(ModelConfig(attention=attention), 3, 2)
    assert torch.equal(model.eval()(image()), same.eval()(image()))


def test_a_config_without_weights_builds_without_files():
    config = ModelConfig(weights="missing.safetensors", attention={"type": "cse"}).without_weights()
    assert config == ModelConfig(attention={"type": "cse"})
    assert ModelConfig(encoder_weights="imagenet").without_weights() == ModelConfig()


def test_the_examples_of_the_models_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 2
    names = {}
    for number, code in enumerate(blocks, start=1):
        exec(compile(code, f"models.md, example {number}", "exec"), names)
