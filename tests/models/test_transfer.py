"""Starting a network from another one: what is loaded, adapted, skipped and new, and that all of it is said."""

import json
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models.source import Source
from seg_scse.models.transfer import label_of, transfer

from .sources import BINARY, CLASSIC, FOUR, HOSTS, RGB, SCSE, UNET, answer, counts, named, network, source

# All of it


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("attention", [{}, SCSE])
def test_a_network_of_the_same_kind_gives_the_same_answer(host: str, attention: dict[str, Any]) -> None:
    model = {**HOSTS[host], "attention": attention}
    theirs, given = source(model)
    ours = network(model)
    result = transfer(ours, given, BINARY, RGB)
    assert torch.equal(answer(ours), answer(theirs))
    assert counts(result) == {"loaded": len(ours.state_dict())}
    assert result.identical
    assert result.table().splitlines()[0] == (
        f"start from runs/nuclei: {host}; classes background, nucleus; bands red, green, blue"
    )
    assert result.table().endswith("bit-equal to the source: from the same standardised image, the same answer.\n")


ADD = {"type": "scse"}
MAX = {"type": "scse", "merge": "max"}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("before", "gate"), [(None, ADD), (None, MAX), ({}, ADD), ({"init": "identity"}, MAX)])
def test_gates_that_are_added_as_the_identity_leave_every_prediction_bit_equal(
    host: str, before: dict[str, str] | None, gate: dict[str, str]
) -> None:
    trained = {} if before is None else {**gate, **before, "sites": ["decoder"]}
    theirs, given = source({**HOSTS[host], "attention": trained})
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if name.startswith("gates."):
                value += torch.rand_like(value)
    ours = network({**HOSTS[host], "attention": {**gate, "sites": ["encoder", "decoder"], "init": "identity"}})
    result = transfer(ours, given, BINARY, RGB)
    assert torch.equal(answer(ours), answer(theirs))
    assert result.identical
    new = "gates." if before is None else "gates.encoder"
    assert set(named(result, "new")) == {name for name in ours.state_dict() if name.startswith(new)}
    assert "not in the source; they start as the identity" in result.table()


def test_gates_that_are_added_otherwise_are_not_said_to_be_harmless() -> None:
    _, given = source(CLASSIC)
    result = transfer(network({**CLASSIC, "attention": SCSE}), given, BINARY, RGB)
    assert not result.identical
    assert "start as the identity" not in result.table()
    assert "they change what the source computes, which model.attention.init=identity does not" in result.table()
    assert result.table().splitlines()[-1].endswith("are left as initialised.")


def test_weights_without_a_description_are_not_said_to_start_bit_equal() -> None:
    _, given = source(CLASSIC)
    result = transfer(network(CLASSIC), Source("w.pth", given.state), BINARY, RGB)
    assert result.table().splitlines()[-1] == "Nothing is left as it was initialised."
    assert not result.identical


# Gates


def test_gates_that_are_removed_are_listed() -> None:
    theirs, given = source({**CLASSIC, "attention": SCSE})
    ours = network(CLASSIC)
    result = transfer(ours, given, BINARY, RGB)
    gates = [name for name in theirs.state_dict() if name.startswith("gates.")]
    assert result.unused == dict.fromkeys(gates, "this network has no gates")
    assert not result.identical
    assert f"{len(gates)}  unused  {gates[0]}, ...: this network has no gates" in result.table()


@pytest.mark.parametrize(
    ("there", "here", "reason"),
    [
        ({"type": "scse"}, {"type": "cse"}, "a gate of type scse in the source, cse here"),
        ({"type": "scse"}, {"type": "scse", "reduction": 4}, "a gate of another kind or width"),
        (
            {"type": "scse", "gate": "hard_sigmoid"},
            {"type": "scse", "merge": "max"},
            "a gate of another arithmetic (merge = add in the source, max here; gate = hard_sigmoid in the source, "
            "sigmoid here)",
        ),
        (
            {"type": "cse"},
            {"type": "cse", "init": "identity"},
            "a gate of another arithmetic (gain = 1 in the source, 2 here)",
        ),
        ({"type": "eca"}, {"type": "ese"}, "a gate of type eca in the source, ese here"),
    ],
)
def test_gates_that_compute_something_else_stay_new(there: Any, here: Any, reason: str) -> None:
    _, given = source({**CLASSIC, "attention": there})
    ours = network({**CLASSIC, "attention": here})
    before = {name: value.clone() for name, value in ours.state_dict().items() if name.startswith("gates.")}
    result = transfer(ours, given, BINARY, RGB)
    assert before
    for name, value in before.items():
        assert torch.equal(ours.state_dict()[name], value)
        assert (result.moved[name].action, result.moved[name].how) == ("skipped", reason)


@pytest.mark.parametrize("kind", ["eca", "cbam", "attention_gate"])
def test_gates_of_other_types_are_loaded_too(kind: str) -> None:
    model = {**CLASSIC, "attention": {"type": kind, "sites": ["skip"]}}
    theirs, given = source(model)
    ours = network(model)
    assert transfer(ours, given, BINARY, RGB).identical
    assert torch.equal(answer(ours), answer(theirs))


# Other networks


def test_a_decoder_of_other_widths_stays_new_with_its_normalisation() -> None:
    _, given = source(UNET)
    wider = {**UNET, "decoder_channels": (16, 24, 8, 8, 8)}
    ours, untouched = network(wider), network(wider)
    result = transfer(ours, given, BINARY, RGB)
    skipped = {name: result.moved[name] for name in named(result, "skipped")}
    assert skipped["decoder.blocks.1.conv1.0.weight"].detail == "(24, 144, 3, 3), there (16, 144, 3, 3)"
    third = skipped["decoder.blocks.2.conv1.1.running_mean"]  # of the same width, but of other maps
    assert third.how == "the convolution before it is not the source's"
    assert all(name.startswith("decoder.blocks.") for name in skipped)
    assert {name.split(".")[2] for name in skipped} == {"1", "2"}
    for name, value in ours.state_dict().items():
        expected = untouched.state_dict() if name in skipped else given.state
        assert torch.equal(value, expected[name]), name
    assert "another shape" in result.table()


def test_a_source_of_another_architecture_and_encoder_is_said_to_be_and_gives_what_fits() -> None:
    _, given = source(UNET)
    ours = network({"architecture": "fpn", "encoder": "resnet34"})
    result = transfer(ours, given, BINARY, RGB)
    assert (
        "This network is a fpn-resnet34, that one a unet-resnet18: what has the same name and shape" in result.table()
    )
    assert torch.equal(ours.encoder.layer1[1].bn2.running_var, given.state["encoder.layer1.1.bn2.running_var"])
    head = [result.moved[f"segmentation_head.0.{name}"] for name in ("weight", "bias")]
    assert [moved.how for moved in head] == [
        "shape (1, 128, 1, 1), but (1, 8, 3, 3) in the source",
        "its weight is not the source's",
    ]


@pytest.mark.parametrize("model", [CLASSIC, UNET, {"encoder": "tu-resnet10t"}])
def test_a_network_is_called_as_in_its_configuration(model: dict[str, Any]) -> None:
    assert label_of(network(model)) == ModelConfig.model_validate(model).label


def test_a_dpt_is_called_by_the_whole_name_of_its_encoder() -> None:
    named = type("DPT", (nn.Module,), {"name": "dpt-vit_tiny_patch16_224"})  # smp leaves the prefix out
    assert label_of(named()) == "dpt-tu-vit_tiny_patch16_224"


@pytest.mark.parametrize("prefix", ["encoder.", "", "module.encoder.", "model."])
def test_an_encoder_by_itself_is_found_under_its_usual_names(prefix: str) -> None:
    theirs = network(UNET, seed=1).encoder
    state = {f"{prefix}{name}": value for name, value in theirs.state_dict().items()}
    ours = network(UNET)
    result = transfer(ours, Source("encoder.pth", {**state, "fc.weight": torch.zeros(2, 2)}), BINARY, RGB)
    assert counts(result) == {"loaded": len(state), "new": len(ours.state_dict()) - len(state)}
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.encoder.state_dict().items())
    assert result.unused == {"fc.weight": "no tensor of this name here"}


def test_the_weights_of_timm_are_found_in_an_encoder_of_timm() -> None:
    theirs = timm.create_model("convnext_atto", num_classes=10)
    ours = network({"encoder": "tu-convnext_atto"})
    result = transfer(ours, Source("timm/convnext", theirs.state_dict()), BINARY, RGB)
    assert {name for name in ours.state_dict() if name.startswith("encoder.")} == set(named(result, "loaded"))
    assert torch.equal(ours.encoder.model.stages_2.blocks[1].mlp.fc1.weight, theirs.stages[2].blocks[1].mlp.fc1.weight)
    assert set(result.unused) == {name for name in theirs.state_dict() if name.startswith("head.")}


def smp_gated(**attention: Any) -> nn.Module:
    return network({**UNET, "decoder_channels": (64, 48, 32, 32, 16), "attention": attention})


def smp_source() -> tuple[nn.Module, Source]:
    torch.manual_seed(1)
    theirs = smp.Unet(
        "resnet18",
        encoder_weights=None,
        decoder_channels=(64, 48, 32, 32, 16),
        classes=1,
        decoder_attention_type="scse",
    )
    return theirs.eval(), Source("scse.pth", theirs.state_dict())


def test_the_scse_blocks_of_smp_are_loaded_where_the_gates_are_its_own() -> None:
    theirs, given = smp_source()
    ours = smp_gated(preset="smp")
    result = transfer(ours, given, BINARY, RGB)
    assert counts(result) == {"loaded": len(ours.state_dict())}
    assert (answer(ours) - answer(theirs)).abs().max() <= 4e-6 * answer(theirs).abs().max()
    assert {name.rsplit(".attention.", 1)[0] for name in result.unused} == {"decoder.blocks.4.attention1"}


@pytest.mark.parametrize("wrapper", ["model.", "net._orig_mod."])
def test_the_scse_blocks_of_smp_are_found_inside_of_a_training_module_too(wrapper: str) -> None:
    theirs, given = smp_source()
    wrapped = Source("lit.ckpt", {f"{wrapper}{name}": value for name, value in given.state.items()})
    ours = smp_gated(preset="smp")
    result = transfer(ours, wrapped, BINARY, RGB)
    assert counts(result) == {"loaded": len(ours.state_dict())}
    assert (answer(ours) - answer(theirs)).abs().max() <= 4e-6 * answer(theirs).abs().max()
    assert all(name.startswith(f"{wrapper}decoder.blocks.4.attention1.") for name in result.unused)


def test_the_scse_blocks_of_smp_are_left_out_where_gates_compute_something_else() -> None:
    _, given = smp_source()
    ours = smp_gated(type="scse", merge="max", reduction=16)
    result = transfer(ours, given, BINARY, RGB)
    assert set(named(result, "new")) == {name for name in ours.state_dict() if name.startswith("gates.")}
    blocks = {name for name in given.state if ".attention" in name}
    assert result.unused == dict.fromkeys(blocks, "no gate here that it fits")


def test_nothing_in_common_is_refused_with_the_first_names_of_both_and_nothing_changes() -> None:
    ours = network(CLASSIC)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ConfigError) as error:
        transfer(ours, Source("bert.safetensors", {"bert.layer.weight": torch.zeros(2, 2)}), BINARY, RGB)
    assert str(error.value) == (
        "bert.safetensors: none of its 1 tensors fits this network. Its first are bert.layer.weight (2, 2); this "
        "network's are encoder.blocks.0.conv1.0.weight (4, 3, 3, 3), encoder.blocks.0.conv1.1.weight (4,), "
        "encoder.blocks.0.conv1.1.bias (4,). Set `model` to the architecture and encoder of the source."
    )
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_the_file_of_a_transfer_has_every_tensor_in_plain_types() -> None:
    _, given = source(CLASSIC)
    ours = network({**CLASSIC, "attention": SCSE}, FOUR)
    result = transfer(ours, given, FOUR, RGB)
    facts = json.loads(json.dumps(result.as_dict()))
    assert list(facts["tensors"]) == list(ours.state_dict())
    assert facts["tensors"]["segmentation_head.bias"] == {
        "part": "head",
        "action": "adapted",
        "how": "rows of nucleus kept, background 0 (sigmoid to softmax); new: axon, myelin",
    }
    assert (facts["source"], facts["source_classes"], facts["source_bands"]) == ("runs/nuclei", [*BINARY], [*RGB])
    assert facts["source_model"]["architecture"] == "classic_unet"
    assert not facts["identical"]


def test_statistics_of_the_source_follow_the_bands_by_name() -> None:
    given = Source("runs/nuclei", {}, None, BINARY, RGB, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert given.statistics(("blue", "red")) == ((0.3, 0.1), (0.6, 0.4))
    with pytest.raises(ConfigError, match=r"red, green, blue, and not on nir\. Set finetune\.statistics=data"):
        given.statistics(("red", "nir"))
    with pytest.raises(ConfigError, match=r"w\.pth holds weights only, no statistics"):
        Source("w.pth", {}).statistics(RGB)


# Deep supervision


def test_the_heads_of_deep_supervision_follow_the_classes_too() -> None:
    model = {**CLASSIC, "deep_supervision": 1}
    theirs, given = source(model)
    ours = network(model, FOUR)
    transfer(ours, given, FOUR, RGB)
    (head,) = (name for name in given.state if name.startswith("supervision.") and name.endswith("weight"))
    assert torch.equal(ours.state_dict()[head][3], theirs.state_dict()[head][0])
    assert not ours.state_dict()[head][0].any()


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0)])
def test_deep_supervision_that_comes_or_goes_leaves_the_prediction_as_it_is(before: int, after: int) -> None:
    theirs, given = source({**CLASSIC, "deep_supervision": before})
    ours = network({**CLASSIC, "deep_supervision": after})
    result = transfer(ours, given, BINARY, RGB)
    assert torch.equal(answer(ours), answer(theirs))
    assert result.identical
    assert set(result.unused.values()) == ({"this network has no such deep supervision"} if before else set())
    assert all(name.startswith("supervision.") for name in named(result, "new"))
