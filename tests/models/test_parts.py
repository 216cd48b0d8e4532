"""Parts of networks by the names of their tensors, and the stages of encoders by a run."""

from collections.abc import Mapping
from typing import Any

import pytest

from seg_scse.models import build_model
from seg_scse.models.parts import encoder_stages, part_of

ARCHITECTURES = (
    *("unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "deeplabv3", "deeplabv3plus"),
    *("pan", "upernet", "segformer"),
)


def network(**model: Any) -> Any:
    return build_model(model)


@pytest.mark.parametrize("architecture", ["classic_unet", *ARCHITECTURES])
def test_every_tensor_of_a_network_is_in_the_part_that_its_name_says(architecture: str) -> None:
    size = {"width": 4, "depth": 2} if architecture == "classic_unet" else {}
    names = list(
        network(architecture=architecture, attention={"type": "cse", "sites": ["encoder"]}, **size).state_dict()
    )
    parts = {
        part: [name for name in names if part_of(name) == part] for part in ("encoder", "decoder", "head", "gates")
    }
    assert {name.split(".")[0] for name in parts["head"]} == {"segmentation_head"}
    for part in ("encoder", "decoder", "gates"):
        assert {name.split(".")[0] for name in parts[part]} <= {part}
    assert parts["encoder"]
    assert parts["gates"], "gates of the encoder are gates"


def test_heads_of_deep_supervision_belong_to_the_head() -> None:
    assert part_of("supervision.decoder_3.weight") == "head"


def test_a_selective_kernel_convolution_belongs_to_the_gates() -> None:
    model = network(attention={"type": "sk", "sites": ["encoder.layer4.*.conv2"], "reduction": 16})
    found = {name.rsplit(".block.", 1)[0] for name in model.state_dict() if part_of(name) == "gates"}
    assert found == {"encoder.layer4.0.conv2", "encoder.layer4.1.conv2"}
    assert part_of("encoder.layer4.0.conv2.block.paths.0.bn") == "gates", "modules too"
    assert part_of("encoder.block1.0.attn.q.weight") == "encoder", "blocks of a transformer are none"


RESNET = {0: "conv1", 1: "layer1", 2: "layer2", 3: "layer3", 4: "layer4"}


def first_names(model: Any) -> Mapping[int, set[str]]:
    """Return for each stage the modules of the encoder that its parameters are in."""
    stages: dict[int, set[str]] = {}
    for name, stage in encoder_stages(model).items():
        assert name.startswith("encoder.")
        stages.setdefault(stage, set()).add(name.removeprefix("encoder.").removeprefix("model."))
    return stages


def begins(found: set[str], *prefixes: str) -> bool:
    return all(name.startswith(prefixes) for name in found)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet10t"])
def test_the_stages_of_a_resnet_are_its_stem_and_its_layers(encoder: str) -> None:
    stages = first_names(network(encoder=encoder))
    assert sorted(stages) == [0, 1, 2, 3, 4]
    assert begins(stages[0], "conv1.", "bn1.")
    for stage in range(1, 5):
        assert begins(stages[stage], f"layer{stage}.")


def test_the_stages_of_a_convnext_begin_with_their_downsampling() -> None:
    stages = first_names(network(encoder="tu-convnext_atto"))
    assert sorted(stages) == [0, 1, 2, 3]
    assert begins(stages[0], "stem_", "stages_0.")
    for stage in range(1, 4):
        assert begins(stages[stage], f"stages_{stage}.")
        assert any("downsample" in name for name in stages[stage])


def test_the_stages_of_a_transformer_are_its_resolutions() -> None:
    stages = first_names(network(encoder="mit_b0"))
    assert sorted(stages) == [0, 1, 2, 3]
    for stage, names in stages.items():
        assert begins(names, *(f"{part}{stage + 1}." for part in ("patch_embed", "block", "norm")))


def test_the_stages_of_an_efficientnet_follow_its_maps_and_not_its_blocks_numbers() -> None:
    stages = first_names(network(encoder="efficientnet-b0"))
    assert sorted(stages) == [0, 1, 2, 3, 4]
    assert begins(stages[0], "_conv_stem.", "_bn0.")
    assert {name.split(".")[1] for name in stages[2]} == {"3", "4"}


def test_the_stages_of_the_classic_unet_are_its_blocks() -> None:
    model = network(architecture="classic_unet", width=4, depth=3, attention={"type": "cse", "sites": ["encoder"]})
    stages = encoder_stages(model)
    assert stages == {name: int(name.split(".")[2]) for name, _ in model.encoder.named_parameters(prefix="encoder")}
    assert model.training, "the run left the network as it was"
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_an_encoder_has_no_stages() -> None:
    assert encoder_stages(network(architecture="classic_unet", width=4).decoder) == {}
