import json
import time

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from seg_scse.attention import ScSE
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model, describe_model, weights

ALL_SITES = ("encoder", "bottleneck", "skip", "decoder", "decoder_in")
BLOCKS = [("cse", "add"), ("sse", "add"), *(("scse", merge) for merge in ("add", "max", "mul", "concat"))]
CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."


def configured(kind="none", sites=("decoder",), merge="add", init="default", **options):
    attention = {"type": kind, "sites": sites, "merge": merge, "init": init, "min_width": 1}
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


def test_without_attention_the_model_is_the_host():
    model = built()
    host = plain()
    assert model.state_dict().keys() == host.state_dict().keys()
    assert torch.equal(model.eval()(image()), host.eval()(image()))


def test_host_keys_are_unchanged_and_a_plain_checkpoint_loads():
    model, host = built(kind="scse", sites=ALL_SITES, seed=7), plain()
    keys = [key for key in model.state_dict() if not key.startswith("gates.")]
    assert keys == list(host.state_dict())
    missing, unexpected = model.load_state_dict(host.state_dict(), strict=False)
    assert unexpected == []
    assert all(key.startswith("gates.") for key in missing)


@pytest.mark.parametrize(("kind", "merge"), BLOCKS)
def test_identity_gates_on_all_sites_leave_the_output_bit_equal(kind, merge):
    model = built(kind=kind, merge=merge, init="identity", sites=ALL_SITES).eval()
    assert torch.equal(model(image()), plain().eval()(image()))


@pytest.mark.parametrize(("kind", "merge"), BLOCKS)
def test_default_gates_change_the_output(kind, merge):
    model = built(kind=kind, merge=merge).eval()
    assert not torch.allclose(model(image()), plain().eval()(image()), atol=1e-3)


@pytest.mark.parametrize(("site", "count"), [("decoder", 5), ("decoder_in", 4), ("encoder", 5), ("skip", 4)])
def test_a_unet_has_the_expected_number_of_scse_blocks(site, count):
    model, calls = built(kind="scse", sites=(site,)), []
    blocks = [module for module in model.modules() if isinstance(module, ScSE)]
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


FAST = [
    ("unet", "resnet18", ALL_SITES),
    ("unet", "mobilenet_v2", ("encoder", "decoder")),
    ("fpn", "resnet18", ("decoder",)),
]
ARCHITECTURES = ("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "pan",
                 "upernet", "segformer")  # fmt: skip
ENCODERS = ("resnet18", "efficientnet-b0", "mobilenet_v2", "tu-resnet18", "mit_b0")
REFUSED = {("linknet", "mit_b0"), ("unetplusplus", "mit_b0")}


@pytest.mark.parametrize(("architecture", "encoder", "sites"), FAST)
def test_every_parameter_gets_a_gradient(architecture, encoder, sites):
    model = built(kind="scse", architecture=architecture, encoder=encoder, sites=sites)
    assert parameters_without_gradient(model, image(2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", ["cse", "sse", "scse"])
def test_every_parameter_gets_a_gradient_for_all_combinations(architecture, encoder, kind):
    missing = {"skip"} if architecture in ("pspnet", "deeplabv3") else set()
    if architecture not in ("unet", "unetplusplus", "manet"):
        missing.add("decoder_in")
    options = {"kind": kind, "architecture": architecture, "encoder": encoder}
    options["sites"] = [site for site in ALL_SITES if site not in missing]
    if (architecture, encoder) in REFUSED:
        with pytest.raises(ConfigError, match="does not work with"):
            built(**options)
        return
    model = built(**options)
    assert {gate["site"].split(".")[0] for gate in describe_model(model)["gates"]} == set(options["sites"])
    assert parameters_without_gradient(model, image(2, 128 if architecture == "pan" else 64)) == []


@pytest.mark.slow
def test_dpt_trains_every_parameter():
    model = built(kind="scse", architecture="dpt", encoder="tu-vit_tiny_patch16_224", sites=("decoder", "bottleneck"))
    assert parameters_without_gradient(model, image(1, 224)) == []


def test_channels_last_passes_through_a_gated_network():
    model = built(kind="scse", sites=ALL_SITES).to(memory_format=torch.channels_last)
    wrong = []
    for name, module in model.named_modules():
        if isinstance(module, ScSE | torch.nn.Conv2d):
            module.register_forward_hook(
                lambda _m, _a, y, name=name: wrong.extend(
                    [name] * (not y.is_contiguous(memory_format=torch.channels_last))
                )
            )
    model(image(2).to(memory_format=torch.channels_last)).sum().backward()
    assert wrong == []


def test_bfloat16_autocast_trains_a_gated_network():
    model = built(kind="scse", merge="max", sites=ALL_SITES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(image(2))
    y.float().mean().backward()
    assert y.dtype == torch.bfloat16
    assert all(value.grad.dtype == torch.float32 and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.slow
def test_a_gated_network_compiles_in_one_graph_and_exports():
    model = built(kind="scse", sites=ALL_SITES).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image()), model(image()), rtol=1e-4, atol=1e-5)
    program = torch.export.export(model, (image(),))
    torch.testing.assert_close(program.module()(image()), model(image()), rtol=1e-4, atol=1e-5)


def test_a_resnet18_unet_is_built_within_two_seconds_of_processor_time():
    start = time.process_time()
    built(kind="scse")
    assert time.process_time() - start < 2.0


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
def test_hub_weights_without_a_network_fail_within_seconds_and_name_the_cure(monkeypatch, tmp_path, encoder):
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ConfigError) as error:
        built(encoder=encoder, encoder_weights="imagenet")
    assert time.monotonic() - start < 10
    text = (
        f"`model.encoder_weights` = imagenet: the weights of {encoder} are not on this machine and cannot be downloaded"
    )
    assert str(error.value).startswith(text)
    assert str(error.value).endswith(CURE)


ENCODER_HELP = (
    "Encoders are those of segmentation-models-pytorch, such as resnet18 or efficientnet-b0, "
    "and `tu-` with any name of timm."
)
MISTAKES = [
    (
        {"architecture": "unett"},
        "`model.architecture` = 'unett' is not known; did you mean `unet`? Known architectures: unet, unetplusplus, "
        "manet, linknet, fpn, pspnet, deeplabv3, deeplabv3plus, pan, upernet, segformer, dpt.",
    ),
    ({"encoder": "resnet19"}, f"`model.encoder` = 'resnet19' is not known; did you mean `resnet18`? {ENCODER_HELP}"),
    (
        {"encoder": "tu-resnet19"},
        f"`model.encoder` = 'tu-resnet19' is not known; did you mean `tu-resnet18`? {ENCODER_HELP}",
    ),
    (
        {"encoder_weights": "imagenett"},
        "`model.encoder_weights` = 'imagenett' does not exist for resnet18; did you mean `imagenet`? "
        f"Known weights: imagenet, ssl, swsl. {CURE}",
    ),
    (
        {"encoder": "tu-nf_resnet26", "encoder_weights": "imagenet"},
        f"`model.encoder_weights` = imagenet: timm has no weights for tu-nf_resnet26. {CURE}",
    ),
    (
        {"decoder_channels": (64, 32)},
        "`model.decoder_channels` = [64, 32] has 2 widths, but unet takes 5, such as [256, 128, 64, 32, 16].",
    ),
    (
        {"decoder_channels": (64, 32), "architecture": "pan"},
        "`model.decoder_channels` = [64, 32] has 2 widths, but pan takes 1, such as [32].",
    ),
    (
        {"decoder_channels": (64,), "architecture": "fpn"},
        "`model.decoder_channels` does not apply to fpn: set it to null.",
    ),
    (
        {"architecture": "linknet", "encoder": "mit_b0"},
        "`model.architecture` = linknet does not work with `model.encoder` = mit_b0 "
        "(Encoder `mit_b0` is not supported for Linknet). Choose another encoder or architecture.",
    ),
    (
        {"kind": "scse", "sites": ()},
        "`model.attention.type` = scse, but `sites` is empty: name at least one site.",
    ),
    (
        {"kind": "scse", "sites": ("decoder_in",), "architecture": "pspnet"},
        "`model.attention.sites`: `decoder_in` is not available in this network: the network uses no feature map of "
        "this name. Usable sites: encoder.1, encoder.2, encoder.3, bottleneck, decoder.1, decoder.2; "
        "a name without its number means all of the kind.",
    ),
]


@pytest.mark.parametrize(("options", "text"), MISTAKES)
def test_what_cannot_be_built_is_refused_with_the_cure(options, text):
    with pytest.raises(ConfigError) as error:
        built(**options)
    assert str(error.value) == text
