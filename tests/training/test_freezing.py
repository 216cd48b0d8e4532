"""What is frozen stays as it is to the bit, statistics of normalisation included, and is released in time."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seg_scse.config.schema import FineTuneConfig, OptimizerConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model
from seg_scse.models.parts import part_of
from seg_scse.training.freezing import Freezing
from seg_scse.training.optim import build_optimizer

CLASSIC = {"architecture": "classic_unet", "width": 4, "depth": 2}
GATED = {**CLASSIC, "attention": {"type": "scse", "sites": ["encoder", "decoder"]}}


def network(model: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build_model(model)


def frozen(*parts: str, until: int | None = None) -> FineTuneConfig:
    return FineTuneConfig(freeze=parts, unfreeze_epoch=until)


def train(model: nn.Module, freezing: Freezing, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    freezing.train(model)
    for step in range(steps):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        model(images).square().mean().backward()
        optimizer.step()


def changed_parts(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {part_of(name) for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("model", [GATED, {"attention": {"type": "scse", "sites": ["encoder", "decoder"]}}])
def test_training_the_gates_alone_changes_no_other_tensor(name: str, model: dict[str, Any]) -> None:
    net = network(model)
    optimizer = build_optimizer(OptimizerConfig(name=name, weight_decay=0.5), net)
    freezing = Freezing(frozen("encoder", "decoder", "head"), net)
    assert freezing.apply(0)
    before = copied(net)
    train(net, freezing, optimizer)
    assert changed_parts(net, before) == {"gates"}
    moved = [key for key, value in net.state_dict().items() if not torch.equal(value, before[key])]
    assert moved == [key for key in before if key.startswith("gates.")], "all gates, those of the encoder too"


@pytest.mark.parametrize("parts", [("encoder",), ("decoder", "gates"), ("head",)])
def test_frozen_parts_keep_weights_and_statistics_and_the_others_do_not(parts: Sequence[str]) -> None:
    net = network(GATED)
    optimizer, freezing = build_optimizer(OptimizerConfig(), net), Freezing(frozen(*parts), net)
    freezing.apply(0)
    before = copied(net)
    train(net, freezing, optimizer)
    assert changed_parts(net, before) == {"encoder", "decoder", "head", "gates"} - set(parts)


def test_a_part_is_trained_from_its_epoch_on() -> None:
    net = network(GATED)
    optimizer, freezing = build_optimizer(OptimizerConfig(), net), Freezing(frozen("encoder", until=2), net)
    assert [freezing.apply(epoch) for epoch in (0, 1)] == [True, False], "says when it changed something"
    before = copied(net)
    train(net, freezing, optimizer)
    assert "encoder" not in changed_parts(net, before)
    assert [freezing.apply(epoch) for epoch in (2, 3)] == [True, False]
    train(net, freezing, optimizer)
    assert changed_parts(net, before) == {"encoder", "decoder", "head", "gates"}
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items() if "running" in name)


def test_a_resumed_run_is_released_at_once() -> None:
    net = network(GATED)
    freezing = Freezing(frozen("encoder", until=2), net)
    assert not freezing.apply(5), "nothing was frozen, so nothing changes"
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_parameters_that_were_never_trained_stay_so() -> None:
    net = network(CLASSIC)
    never = net.get_parameter("encoder.blocks.0.conv1.0.weight").requires_grad_(requires_grad=False)
    freezing = Freezing(frozen("encoder", until=1), net)
    freezing.apply(0)
    freezing.apply(1)
    assert [p.requires_grad for p in net.parameters()].count(False) == 1
    assert not never.requires_grad


def test_without_frozen_parts_nothing_happens() -> None:
    net = network(CLASSIC).eval()
    freezing = Freezing(FineTuneConfig(), net)
    assert not freezing.apply(0)
    freezing.train(net)
    assert all(module.training for module in net.modules())


def test_a_wrapper_around_the_network_is_trained_with_the_frozen_statistics_left_alone() -> None:
    net = network(CLASSIC)
    wrapper = nn.Sequential(net)
    freezing = Freezing(frozen("encoder"), net)
    freezing.apply(0)
    freezing.train(wrapper)
    assert wrapper.training
    kinds = {(name.split(".")[0], m.training) for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert kinds == {("encoder", False), ("decoder", True)}


def test_gates_alone_on_a_network_without_gates_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\['encoder', 'decoder', 'head'\] leaves nothing to train.*Leave one"):
        Freezing(frozen("encoder", "decoder", "head"), network(CLASSIC))


def test_what_is_frozen_and_for_how_long_is_said() -> None:
    model = network(GATED)
    total = sum(parameter.numel() for parameter in model.parameters())
    gates = sum(parameter.numel() for name, parameter in model.named_parameters() if part_of(name) == "gates")
    assert Freezing(frozen(), model).note() == ""
    assert Freezing(frozen("encoder", "decoder", "head"), model).note() == (
        f"frozen: decoder, encoder, head for the whole run; {gates:,} of {total:,} parameters are trained"
    )
    assert Freezing(frozen("head", until=1), model).note().startswith("frozen: head for 1 epoch; ")
