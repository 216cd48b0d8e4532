import math

import pytest
import torch
from torch import nn

from seg_scse.config.schema import OptimizerConfig
from seg_scse.training.optim import Schedule, build_optimizer


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
