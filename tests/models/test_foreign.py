import copy

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import nn

from seg_scse import checkpoint
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model
from seg_scse.models.foreign import load_file_into, load_host, load_smp_scse

REST = {"config": {}, "data_digest": "", "mean": [], "progress": {}, "splits": {}, "std": []}
WIDTHS = (64, 48, 32, 32, 16)
CURE = "Build the network with the architecture, encoder, widths, image channels and classes of the weights."
SMP_CURE = f"{CURE} Its gates must be those of `attention: {{preset: smp}}`."


def ours(classes=3, architecture="unet", encoder="resnet18", weights=None, **attention):
    torch.manual_seed(7)
    config = {"architecture": architecture, "encoder": encoder, "decoder_channels": WIDTHS, "weights": weights}
    return build_model(ModelConfig(**config, attention=attention), 3, classes)


def theirs(attention=None, classes=3, factory=smp.Unet, encoder="resnet18"):
    torch.manual_seed(1)
    options = {"encoder_weights": None, "decoder_channels": WIDTHS, "classes": classes}
    return factory(encoder, **options, decoder_attention_type=attention)


def trained(model):
    """Move weights and batch statistics away from where they start, and take two training steps."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * value.std(correction=0).clamp(min=0.1) * torch.randn(value.shape, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 64, 64, generator=generator)).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def image():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def difference(a, b, training=False):
    """Return the largest difference of the outputs of a and b, relative to b's largest output."""
    x = image().to(next(a.parameters()))
    with torch.no_grad():
        expected, found = b.train(training)(x), a.train(training)(x)
    return ((found - expected).abs().max() / expected.abs().max()).item()


def refusal(function, *args):
    with pytest.raises(ConfigError) as error:
        function(*args)
    return str(error.value)


def changed(model, before):
    return [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


# segmentation-models-pytorch with scse


@pytest.mark.parametrize(
    ("factory", "encoder", "last"),
    [(smp.Unet, "resnet18", "4"), (smp.Unet, "mobilenet_v2", "4"), (smp.UnetPlusPlus, "resnet18", "x_0_4")],
)
def test_a_trained_scse_network_of_smp_loads_and_gives_the_same_output(factory, encoder, last):
    source = trained(theirs("scse", factory=factory, encoder=encoder))
    target = ours(architecture=factory.__name__.lower(), encoder=encoder, preset="smp")
    (note,) = load_smp_scse(target, source.state_dict())
    for training in (False, True):
        single = difference(copy.deepcopy(target), copy.deepcopy(source), training)
        assert single <= 4e-6  # rounding: the same network of smp differs by more between two memory formats
        assert difference(copy.deepcopy(target).double(), copy.deepcopy(source).double(), training) <= 1e-12
    names = ", ".join(
        f"decoder.blocks.{last}.attention1.attention.{layer}.{kind}"
        for layer in ("cSE.1", "cSE.3", "sSE.0")
        for kind in ("weight", "bias")
    )
    reason = "its decoder block has no skip, so that segmentation-models-pytorch never used it."
    assert note == f"left out {names}: {reason}"


def test_what_is_left_out_has_no_influence_in_smp():
    source = theirs("scse").eval()
    before = source(image())
    with torch.no_grad():
        for value in source.decoder.blocks[-1].attention1.parameters():
            value.fill_(100.0)
    assert torch.equal(source(image()), before)


def test_an_scse_network_with_another_part_is_refused_and_nothing_changes():
    state = theirs("scse").state_dict()
    state["decoder.blocks.0.attention1.attention.cSE.1.weight"] = torch.zeros(1, 2, 1, 1)
    state["decoder.blocks.9.attention1.attention.sSE.0.bias"] = torch.zeros(1)
    del state["decoder.blocks.3.attention2.attention.sSE.0.weight"]
    target = ours(preset="smp")
    before = copied(target)
    assert refusal(load_smp_scse, target, state) == (
        "3 tensors do not fit: `decoder.blocks.9.attention1.attention.sSE.0.bias` (1,) has no place; "
        "`gates.decoder_4.spatial.project.weight` (1, 32) is missing; "
        f"`gates.decoder_in_1.channel.squeeze.weight` is (1, 2), not (48, 768). {SMP_CURE}"
    )
    assert changed(target, before) == []


def test_an_scse_network_with_other_classes_is_refused_by_shape():
    text = refusal(load_smp_scse, ours(preset="smp"), theirs("scse", classes=5).state_dict())
    assert text == (
        "2 tensors do not fit: `segmentation_head.0.bias` is (5,), not (3,); `segmentation_head.0.weight` is "
        f"(5, 16, 3, 3), not (3, 16, 3, 3). {SMP_CURE}"
    )


def test_a_network_without_the_gates_of_smp_is_refused():
    state = theirs("scse").state_dict()
    assert refusal(load_smp_scse, ours(), state) == (
        f"the network has no gates, but the weights have scse blocks. {SMP_CURE}"
    )
    text = refusal(load_smp_scse, ours(type="scse", reduction=16, sites=("decoder",)), state)
    assert text.startswith("24 tensors do not fit: `decoder.blocks.0.attention1.attention.cSE.1.bias` (48,) has no ")
    assert refusal(load_smp_scse, ours(type="scse", reduction=16, merge="max"), state) == (
        "smp's scse block at `decoder.1` has another arithmetic than this block, whose merge = 'max' instead of 'add'."
    )


# plain networks, and files


def test_a_plain_network_loads_into_one_with_gates_and_leaves_the_gates():
    source, target = trained(theirs()), ours(type="scse", init="identity", sites=("encoder", "decoder"))
    before = copied(target)
    load_host(target, source.state_dict())
    assert all(not key.startswith("gates.") for key in changed(target, before))
    assert torch.equal(target.eval()(image()), source.eval()(image()))


def test_a_plain_network_must_hold_every_key_of_the_host_and_no_other():
    state = theirs().state_dict()
    bias = state.pop("segmentation_head.0.bias")
    state["gates.decoder_1.spatial.project.bias"] = bias
    target = ours(type="scse")
    before = copied(target)
    assert refusal(load_host, target, state) == (
        "2 tensors do not fit: `gates.decoder_1.spatial.project.bias` (3,) has no place; "
        f"`segmentation_head.0.bias` (3,) is missing. {CURE}"
    )
    assert changed(target, before) == []


def test_a_network_without_gates_saves_to_a_file_that_plain_smp_loads(tmp_path):
    source, target = trained(ours()), theirs()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_file_into(ours(), str(tmp_path / "w.safetensors"))
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(target.eval()(image()), source.eval()(image()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_weights_of_a_training_checkpoint_load_into_plain_smp(tmp_path, memory_format):
    source, target = trained(ours()).to(memory_format=memory_format), theirs()
    checkpoint.save(tmp_path / "best.ckpt", {**REST, "model": source.state_dict()})
    checkpoint.export_weights(tmp_path / "best.ckpt", tmp_path / "w.safetensors")
    load_file_into(target, str(tmp_path / "w.safetensors"))
    plain = theirs()
    plain.load_state_dict(checkpoint.load(tmp_path / "best.ckpt")[0]["model"], strict=True)
    expected = source.to(memory_format=torch.contiguous_format).eval()(image())
    assert torch.equal(target.eval()(image()), expected)
    assert torch.equal(plain.eval()(image()), expected)


@pytest.mark.parametrize("kind", ["plain", "scse of smp", "own gates"])
def test_a_new_network_starts_from_the_weights_of_the_configuration(tmp_path, capsys, kind):
    attention = {"preset": "smp"}
    source = trained(ours(**attention) if kind == "own gates" else theirs("scse" if "scse" in kind else None))
    path = str(tmp_path / "w.safetensors")
    save_file(source.state_dict(), path)
    model = ours(weights=path, **attention | ({"init": "identity"} if kind == "plain" else {}))
    assert difference(model.double(), source.double()) <= 1e-12
    assert capsys.readouterr().out.startswith("model.weights: left out decoder") is (kind == "scse of smp")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "the file does not exist."),
        (lambda path: path.write_bytes(b"{}"), "the file cannot be read as safetensors ("),
        (lambda path: save_file({"a": torch.zeros(2)}, path), "183 tensors do not fit: `a` (2,) has no place; `dec"),
        (
            lambda path: save_file(ours(type="sse").state_dict(), path),
            "10 tensors do not fit: `gates.decoder_1.spatial.project.bias` (1,) has no place; `gates.dec",
        ),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_used_are_refused_with_key_and_file(tmp_path, make, text):
    path = tmp_path / "w.safetensors"
    make(path)
    expected = f"`model.weights` = {path}: {text}"
    assert refusal(lambda: ours(weights=str(path)))[: len(expected)] == expected


def test_a_file_that_can_hold_code_is_refused():
    assert refusal(lambda: ours(weights="w.pth")) == (
        "`model.weights` = 'w.pth': only .safetensors files are read here, because others can run code. "
        "`--from w.pth` takes the tensors that fit out of a file of torch.save, and runs nothing."
    )


# deep supervision


def supervised(stages=2, **attention):
    torch.manual_seed(7)
    model = {"architecture": "classic_unet", "width": 4, "depth": 3, "deep_supervision": stages}
    return build_model(ModelConfig(**model, attention=attention), 3, 3)


@pytest.mark.parametrize("attention", [{}, {"type": "scse"}])
def test_weights_with_deep_supervision_load_into_the_network_without_it_and_back(tmp_path, attention):
    path = tmp_path / "w.safetensors"
    for source, target in (
        (trained_heads(attention), supervised(0, **attention)),
        (supervised(0, **attention), supervised(2, **attention)),
    ):
        save_file(source.state_dict(), path)
        before = copied(target)
        (note,) = load_file_into(target, str(path))
        for key, value in target.state_dict().items():
            assert torch.equal(value, before[key] if key.startswith("supervision.") else source.state_dict()[key])
        assert note.startswith("left out supervision.decoder_")
        assert note.endswith(
            "deep supervision is not in this network."
            if target.state_dict().keys() < source.state_dict().keys()
            else "deep supervision is not in the weights, and starts anew."
        )


def trained_heads(attention):
    model = supervised(2, **attention)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1
    return model


def test_weights_with_deep_supervision_load_whole_into_a_network_with_it(tmp_path):
    path, source, target = tmp_path / "w.safetensors", trained_heads({}), supervised(2)
    save_file(source.state_dict(), path)
    assert load_file_into(target, str(path)) == []
    assert changed(target, source.state_dict()) == []
