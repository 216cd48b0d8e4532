import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from seg_scse.config.schema import AveragingConfig, OptimizerConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model
from seg_scse.training.optim import Schedule, averaging_start, build_optimizer, rates_note


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_weight_decay_spares_biases_and_normalisation(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model[0].bias.requires_grad_(False)
    decayed, spared = build_optimizer(OptimizerConfig(name=name, weight_decay=0.1), model).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert len(spared["params"]) == 2, "the frozen bias is in no group"
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def rates(total: int = 100, **settings: object) -> list[float]:
    schedule = Schedule(OptimizerConfig(lr=1.0, **settings), total)
    return [schedule.rate(step) for step in range(total)]


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_decaying_schedules_fall_from_the_peak_to_the_lowest_factor(name: str) -> None:
    found = rates(schedule=name, min_factor=0.01)
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.03
    assert min(found) >= 0.01


def test_onecycle_equals_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=101, final_div_factor=1e4)
    expected = []
    for _ in range(100):
        expected.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    found = rates(schedule="onecycle")
    # torch puts the peak at step 0.3 * total - 1, we at 0.3 of the steps: the same curve, at most a step apart
    assert max(found) == pytest.approx(1.0, abs=1e-3)
    assert found[0] == pytest.approx(expected[0])
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 0.05


def test_warmup_rises_linearly_to_the_peak() -> None:
    found = rates(schedule="constant", warmup_steps=4)
    assert found[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_plateau_halves_after_patience_and_remembers_it() -> None:
    config = OptimizerConfig(lr=1.0, schedule="plateau", patience=1)
    schedule = Schedule(config, 100)
    for score in (0.5, 0.5, 0.5):
        schedule.validated(score)
    assert schedule.rate(10) == 0.5
    restored = Schedule(config, 100)
    restored.load_state_dict(schedule.state_dict())
    for one in (schedule, restored):
        one.validated(None)
        one.validated(0.4)
    assert schedule.rate(10) == restored.rate(10) == 0.25
    assert math.isfinite(schedule.state_dict()["best"])


def network(**attention: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model({"architecture": "classic_unet", "width": 4, "depth": 2, "attention": attention})


def factors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["factor"] for group in optimizer.param_groups for p in group["params"]}


def test_each_part_learns_at_its_own_factor() -> None:
    model = network(type="scse", sites=["encoder", "decoder"])
    config = OptimizerConfig(lr_factors={"encoder": 0.1, "gates": 3.0}, weight_decay=0.1)
    optimizer = build_optimizer(config, model)
    found = factors(model, optimizer)
    expected = {"encoder": 0.1, "gates": 3.0}
    assert found == {name: expected.get(name.split(".")[0], 1.0) for name, _ in model.named_parameters()}
    for group in optimizer.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}


def test_each_stage_of_the_encoder_learns_slower_than_the_next() -> None:
    model = network(type="cse", sites=["encoder"])
    found = factors(model, build_optimizer(OptimizerConfig(layer_decay=0.5, lr_factors={"encoder": 0.8}), model))
    for name, factor in found.items():
        stage = int(name.split(".")[2]) if name.startswith("encoder.") else None
        assert factor == pytest.approx(1.0 if stage is None else 0.8 * 0.5 ** (2 - stage)), name


def test_without_factors_the_groups_are_those_that_older_checkpoints_know() -> None:
    model = network()
    groups = build_optimizer(OptimizerConfig(), model).param_groups
    assert [[p.ndim > 1 for p in group["params"]] for group in groups] == [[True] * 13, [False] * 23]
    assert [group["factor"] for group in groups] == [1.0, 1.0]


def test_an_older_state_keeps_the_factors_and_settings_of_the_configuration() -> None:
    model = network()
    before = build_optimizer(OptimizerConfig(weight_decay=0.5), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before.step()
    state = before.state_dict()
    for group in state["param_groups"]:
        del group["factor"]
    after = build_optimizer(OptimizerConfig(weight_decay=0.25), model)
    after.load_state_dict(state)
    assert [(group["factor"], group["weight_decay"]) for group in after.param_groups] == [(1.0, 0.25), (1.0, 0.0)]
    first = next(model.parameters())
    assert torch.equal(after.state[first]["exp_avg"], before.state[first]["exp_avg"])


def test_a_state_of_other_groups_is_refused_with_the_cure() -> None:
    model = network()
    state = build_optimizer(OptimizerConfig(layer_decay=0.5), model).state_dict()
    with pytest.raises(ConfigError, match=r"lr_factors or optimizer\.layer_decay were changed\. Set them as they were"):
        build_optimizer(OptimizerConfig(), model).load_state_dict(state)


def swa(total: int = 100, start: float = 0.6, **settings: object) -> list[float]:
    averaging = AveragingConfig(method="swa", start=start, lr_factor=0.25)
    schedule = Schedule(OptimizerConfig(lr=2.0, **settings), total, averaging)
    return [schedule.rate(step) for step in range(total)]


@pytest.mark.parametrize("name", ["cosine", "poly", "onecycle", "constant", "plateau"])
def test_swa_holds_its_rate_from_its_start_on(name: str) -> None:
    found = swa(schedule=name)
    assert found[60:] == [0.5] * 40
    assert found[59] > 0.5


@pytest.mark.parametrize("name", ["cosine", "poly", "onecycle"])
def test_a_decaying_schedule_comes_down_to_the_rate_of_swa_without_a_jump(name: str) -> None:
    found = swa(1000, schedule=name)
    assert max(abs(a - b) for a, b in pairwise(found[300:])) < 0.02


def test_the_share_of_swa_is_not_rounded_up_by_a_step() -> None:
    assert averaging_start(AveragingConfig(method="swa", start=0.55), 100) == 55  # 0.55 * 100 > 55


def test_ema_leaves_the_schedule_as_it_is() -> None:
    ema = Schedule(OptimizerConfig(), 100, AveragingConfig(method="ema"))
    assert [ema.rate(step) for step in range(100)] == [Schedule(OptimizerConfig(), 100).rate(s) for s in range(100)]


def test_the_factors_of_the_learning_rate_are_said_by_part_and_stage() -> None:
    model = build_model({"architecture": "classic_unet", "width": 4, "depth": 2})
    assert rates_note(build_optimizer(OptimizerConfig(), model), model) == ""
    config = OptimizerConfig(lr_factors={"encoder": 0.1, "head": 2.0}, layer_decay=0.5)
    assert rates_note(build_optimizer(config, model), model) == (
        "learning rate: that of the schedule times encoder 0.025 0.05 0.1, decoder 1, head 2 "
        "(encoder: by stage, from the image on)"
    )
