import copy
import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from seg_scse.config.schema import AveragingConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model
from seg_scse.training.averaging import STATISTICS_BATCHES, Averager, build_averager

EMA = AveragingConfig(method="ema", decay=0.9)
SWA = AveragingConfig(method="swa", start=0.5)


def gated() -> nn.Module:
    torch.manual_seed(0)
    return build_model({"architecture": "classic_unet", "width": 4, "depth": 1, "attention": {"preset": "paper_tmi"}})


def batch(number: int) -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(number))


def batches() -> Iterator[Tensor]:
    return (batch(100 + number) for number in range(3))


def never() -> Iterator[Tensor]:
    raise AssertionError("nobody needs images")


def built(config: AveragingConfig, model: nn.Module, total: int = 8) -> Averager:
    averager = build_averager(config, model, total)
    assert averager is not None
    return averager


def train(model: nn.Module, number: int) -> None:
    """Do one step of plain gradient descent on a drawn batch."""
    model.train()
    model.zero_grad()
    model(batch(number)).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_none_averages_nothing() -> None:
    assert build_averager(AveragingConfig(), nn.Linear(1, 1), 10) is None


def test_ema_equals_the_average_of_torch() -> None:
    model = gated()
    averager = built(EMA, model)

    def moved(average: Tensor, value: Tensor, count: Tensor) -> Tensor:
        update = int(count) - 1
        weight = 1 - min(0.9, (1 + update) / (10 + update))
        return torch.lerp(average, value, weight) if value.is_floating_point() else value

    reference = AveragedModel(model, avg_fn=moved, use_buffers=True)
    reference.n_averaged.fill_(1)  # torch would replace the weights that the run starts from at its first step
    for number in range(100):  # the decay reaches 0.9 at the 81st
        train(model, number)
        averager.after_step(number + 1)
        reference.update_parameters(model)
    expected, found = reference.module.state_dict(), averager.network.state_dict()
    for key, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-6, msg=key)
        else:
            assert torch.equal(value, model.state_dict()[key]), key
    assert not same(averager.network, model)


def test_the_first_update_keeps_a_tenth_of_the_random_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    averager = built(AveragingConfig(method="ema", decay=0.999), model)
    nn.init.constant_(model.weight, 0.0)
    averager.after_step(1)
    assert averager.network.weight.item() == pytest.approx(0.1)
    averager.after_step(2)
    assert averager.network.weight.item() == pytest.approx(0.1 * 2 / 11)


@pytest.mark.parametrize("config", [EMA, SWA], ids=["ema", "swa"])
def test_the_averaged_network_cannot_be_trained_and_leaves_the_model_as_it_is(config: AveragingConfig) -> None:
    model = gated()
    untouched = copy.deepcopy(model)
    averager = built(config, model)
    assert not averager.network.training
    assert not any(parameter.requires_grad for parameter in averager.network.parameters())
    for step in range(1, 9):
        averager.after_step(step)
        averager.end_epoch(step, batches)
    assert same(model, untouched)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_gates_of_the_average_are_its_own() -> None:
    model = gated()
    averager = built(EMA, model)
    x, before = batch(0), averager.network(batch(0))
    with torch.no_grad():
        for parameter in model.gates.parameters():
            parameter += 1.0
    assert torch.equal(averager.network(x), before)
    with torch.no_grad():
        for parameter in averager.network.gates.parameters():
            parameter += 1.0
    assert not torch.equal(averager.network(x), before)


def test_swa_is_the_model_until_an_epoch_begins_after_its_start() -> None:
    model = gated()
    averager = built(SWA, model)  # averages from step 4 of 8
    for step in (2, 4, 6):
        train(model, step)
        averager.after_step(step)
        averager.end_epoch(step, never if step < 6 else batches)
        if step < 6:
            assert same(averager.network, model)
    # the first averaged epoch has the model's weights, and statistics of its own
    assert all(map(torch.equal, averager.network.parameters(), model.parameters()))
    assert not same(averager.network, model)


def test_swa_is_the_mean_of_the_last_epochs_with_the_statistics_of_torch() -> None:
    model = gated()
    averager = built(SWA, model)
    reference = AveragedModel(model)
    for step in range(1, 9):
        train(model, step)
        averager.after_step(step)
        averager.end_epoch(step, batches)
        if step > 4:
            reference.update_parameters(model)
    torch.optim.swa_utils.update_bn(list(batches()), reference)
    for key, value in reference.module.state_dict().items():
        torch.testing.assert_close(averager.network.state_dict()[key], value, rtol=0, atol=1e-6, msg=key)


def test_statistics_come_from_a_bounded_number_of_batches_without_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3))
    averager = built(AveragingConfig(method="swa", start=0.0), model)
    state = torch.get_rng_state()
    averager.end_epoch(1, lambda: (batch(number) for number in range(10**9)))
    assert averager.network[1].num_batches_tracked == STATISTICS_BATCHES == 100
    expected = torch.stack([batch(number).mean((0, 2, 3)) for number in range(100)]).mean(0)
    torch.testing.assert_close(averager.network[1].running_mean, expected)
    assert averager.network[1].momentum == 0.1
    assert not averager.network[1].training
    assert torch.equal(torch.get_rng_state(), state)


def test_swa_keeps_the_statistics_of_frozen_layers() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[0].eval()
    averager = built(AveragingConfig(method="swa", start=0.0), model)
    averager.end_epoch(1, batches)
    assert torch.equal(averager.network[0].running_mean, torch.zeros(3))
    assert averager.network[1].running_mean.min() > 0.3


def test_swa_without_batch_normalisation_asks_for_no_images() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.GroupNorm(1, 2), nn.BatchNorm2d(2, track_running_stats=False))
    averager = built(AveragingConfig(method="swa", start=0.0), model)
    averager.end_epoch(1, never)
    assert same(averager.network, model)


@pytest.mark.parametrize("config", [EMA, SWA], ids=["ema", "swa"])
@pytest.mark.parametrize("stopped", [1, 3, 4, 5, 7])
def test_a_stop_at_any_step_does_not_change_the_average(config: AveragingConfig, stopped: int) -> None:
    def run(model: nn.Module, averager: Averager, steps: range) -> None:
        for step in steps:
            train(model, step)
            averager.after_step(step)
            if step % 2 == 0:
                averager.end_epoch(step, batches)

    model = gated()
    whole = built(config, model)
    run(model, whole, range(1, 9))

    model = gated()
    first = built(config, model)
    run(model, first, range(1, stopped + 1))
    state = copy.deepcopy(first.state_dict())
    assert all(isinstance(value, int) for key, value in state.items() if key != "network")
    second = built(config, model)
    second.load_state_dict(state)
    run(model, second, range(stopped + 1, 9))
    assert same(second.network, whole.network)


def test_the_average_costs_no_memory_in_a_checkpoint_that_holds_it_already() -> None:
    averager = built(EMA, gated())
    state, network = averager.state_dict()["network"], averager.network.state_dict()
    assert [value.data_ptr() for value in state.values()] == [value.data_ptr() for value in network.values()]


def test_channels_last_and_integers_are_kept() -> None:
    model = gated().to(memory_format=torch.channels_last)
    averager = built(EMA, model)
    assert averager.network.encoder.blocks[1].conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    train(model, 0)
    averager.after_step(1)
    assert averager.network.encoder.blocks[0].conv1[1].num_batches_tracked == 1


def test_a_run_too_short_for_swa_is_refused() -> None:
    config = AveragingConfig(method="swa", start=0.75)
    message = "of 4 epochs, 1 begin after averaging.start=0.75 of the run, but an average needs two or more."
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_averager(config, nn.Linear(1, 1), 40, steps_per_epoch=10)
    assert build_averager(config, nn.Linear(1, 1), 80, steps_per_epoch=10) is not None
    assert build_averager(AveragingConfig(method="ema"), nn.Linear(1, 1), 1, steps_per_epoch=1) is not None
