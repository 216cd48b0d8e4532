import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seg_scse.attention.trace import tensors_in
from seg_scse.errors import ConfigError
from seg_scse.models import build_model
from seg_scse.models.recompute import recompute_stages

CLASSIC = {"architecture": "classic_unet", "width": 4, "depth": 2}
NETWORKS = {
    "classic_unet": CLASSIC,
    "supervised": {**CLASSIC, "deep_supervision": 1},
    "unet": {"architecture": "unet", "encoder": "resnet18"},
    "unetplusplus": {"architecture": "unetplusplus", "encoder": "resnet18"},
    "deeplabv3plus": {"architecture": "deeplabv3plus", "encoder": "resnet18"},  # dropout in its atrous pyramid
    "timm": {"architecture": "unet", "encoder": "tu-convnext_atto"},  # no batch normalisation, its own dropout of paths
    "unused_parameters": {"architecture": "unet", "encoder": "efficientnet-b0"},
}
GATES = {
    "none": {"type": "none"},
    "after_stages": {"preset": "paper_tmi"},
    "inside": {"type": "cbam", "reduction": 2, "sites": ["decoder_in"]},  # a gate with batch normalisation
}


def network(config: Mapping[str, Any], gates: str = "none") -> nn.Module:
    torch.manual_seed(0)
    return build_model({**config, "attention": GATES[gates]})


def image(side: int = 32) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor | None], dict[str, Tensor], int]:
    """Do a forward and a backward pass; return gradients, buffers and the bytes that were kept between them."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    torch.manual_seed(7)
    model.train().zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        loss = torch.stack([logits.square().mean() for logits in tensors_in(model(x))]).sum()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, dict(model.named_buffers()), sum(kept.values())


def same(one: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> bool:
    def equal(a: Tensor | None, b: Tensor | None) -> bool:
        return a is b if a is None or b is None else torch.equal(a, b)

    return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)


CASES = [(name, "none") for name in NETWORKS] + [
    *(("classic_unet", gates) for gates in ("after_stages", "inside")),
    *(("unet", gates) for gates in ("after_stages", "inside")),
    ("unetplusplus", "after_stages"),
    ("deeplabv3plus", "after_stages"),
    ("timm", "after_stages"),
]


@pytest.mark.parametrize(("name", "gates"), CASES, ids=[f"{name}-{gates}" for name, gates in CASES])
def test_gradients_and_statistics_are_those_of_the_plain_network_with_fewer_bytes_kept(name: str, gates: str) -> None:
    plain = network(NETWORKS[name], gates)
    saving = copy.deepcopy(plain)
    keys = list(saving.state_dict())
    stages = recompute_stages(saving)
    assert {stage.split(".")[0] for stage in stages} == {"encoder", "decoder"}
    assert list(saving.state_dict()) == keys
    for _ in range(2):  # the statistics of the first pass go into the second
        gradients, buffers, kept = step(plain, image())
        found = step(saving, image())
        assert same(found[0], gradients)
        assert same(found[1], buffers)
        assert found[2] < 0.6 * kept


def test_a_copy_computes_its_own_layers_again() -> None:
    original = network(CLASSIC)
    recompute_stages(original)
    other = copy.deepcopy(original)
    expected = step(copy.deepcopy(original), image())[0]
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.zero_()
    gradients, _, kept = step(other, image())
    assert same(gradients, expected)
    assert kept < 0.6 * step(network(CLASSIC), image())[2]


def test_without_gradients_nothing_changes() -> None:
    plain = network(CLASSIC, "after_stages").eval()
    saving = copy.deepcopy(plain)
    recompute_stages(saving)
    assert not saving.training
    with torch.no_grad():
        assert torch.equal(saving(image()), plain(image()))


def test_frozen_normalisation_keeps_its_statistics_and_settings() -> None:
    plain = network(CLASSIC)
    saving = copy.deepcopy(plain)
    recompute_stages(saving)
    layers = [module for module in saving.modules() if isinstance(module, nn.BatchNorm2d)]
    layers[0].momentum = None
    step(saving, image())
    assert layers[0].momentum is None
    assert all(layer.momentum == 0.1 for layer in layers[1:])
    assert all(layer.num_batches_tracked == 1 for layer in layers)
    for model in (plain, saving):
        model.load_state_dict(network(CLASSIC).state_dict())
        model.train()
        model.encoder.eval()
        x = image()
        model(x).sum().backward()
        assert model.encoder.blocks[0].conv1[1].num_batches_tracked == 0
    layers[0].momentum = 0.1
    assert same(dict(saving.named_buffers()), dict(plain.named_buffers()))


class Host(nn.Module):
    """An encoder and a decoder of given modules."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class InPlace(nn.Module):
    """A block that overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.mul_(2.0))


def block(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Sequential(*layers))


def test_a_stage_that_changes_its_input_is_refused_and_nothing_is_left_behind() -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(InPlace()))
    model = Host(encoder, block(nn.Conv2d(4, 1, 1), nn.Tanh()))
    message = "`trainer.gradient_checkpointing` = true: a stage of Host changes its input (one of the variables needed"
    with pytest.raises(ConfigError, match=re.escape(message)):
        recompute_stages(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_input_that_is_changed_after_its_stage_is_refused() -> None:
    class Late(Host):
        def forward(self, x: Tensor) -> Tensor:
            x = x * 1
            y = self.encoder(x)
            x.add_(1.0)
            return self.decoder(y)

    model = Late(block(nn.Sigmoid(), nn.Conv2d(3, 4, 1)), block(nn.Conv2d(4, 1, 1), nn.Tanh()))
    with pytest.raises(ConfigError, match=re.escape("Set trainer.gradient_checkpointing=false")):
        recompute_stages(model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(3, 1, 1)), "it has neither of them"),
        (Host(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1)), "no module in them has layers of its own"),
    ],
    ids=["no_encoder", "single_layers"],
)
def test_a_network_without_stages_is_refused(model: nn.Module, reason: str) -> None:
    with pytest.raises(ConfigError, match="has no stages in `encoder` and `decoder`") as caught:
        recompute_stages(model)
    assert reason in str(caught.value)


def test_distributed_training_has_the_same_gradients(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain = network(CLASSIC, "after_stages")
        saving = copy.deepcopy(plain)
        recompute_stages(saving)
        gradients = step(plain, image())[0]
        found = step(torch.nn.parallel.DistributedDataParallel(saving), image())[0]
    finally:
        torch.distributed.destroy_process_group()
    assert same({name.removeprefix("module."): value for name, value in found.items()}, gradients)


def test_a_compiled_network_has_the_same_gradients() -> None:
    plain = network({**CLASSIC, "depth": 1})
    saving = copy.deepcopy(plain)
    recompute_stages(saving)
    saving.compile(backend="aot_eager")
    gradients, buffers, _ = step(plain, image())
    found, statistics, _ = step(saving, image())
    for name, value in gradients.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    for name, value in buffers.items():
        torch.testing.assert_close(statistics[name], value, rtol=1e-5, atol=1e-6)
