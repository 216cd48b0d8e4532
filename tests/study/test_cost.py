import json
from types import SimpleNamespace

import pytest
import torch

from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.models import build_model, describe_model
from seg_scse.study import cost as module
from seg_scse.study.arms import Arm
from seg_scse.study.cost import cost, measure_cost
from seg_scse.study.declaration import Declaration
from seg_scse.study.variants import Variant
from seg_scse.training.batch_size import kept_bytes

CPU = torch.device("cpu")
SMALL = (
    *("model.architecture=classic_unet", "model.width=4", "model.depth=1"),
    *("trainer.crop=32", "trainer.batch_size=2", "data.classes=[background, disc]"),
)
NONE = Variant("none", "baseline", ("model.attention.type=none",), "no gates")
CSE = Variant("cse", "variant", ("model.attention.type=cse",), "cse gates")
WIDER = Variant("wider", "control", ("model.width=48",), "wider", "cse")
BROKEN = Variant("broken", "variant", ("model.attention.type=cse", "model.attention.sites=[nowhere]"), "no such site")
FROZEN = Variant("frozen", "control", (), "means", "cse", trained=False)


def declared(*variants, seeds=(0,)):
    return Declaration("s", "dice", "test", "none", "cse", seeds, None, variants)


def configured(*overrides):
    return override(Config(), [*SMALL, *overrides])


@pytest.fixture(scope="module")
def measured():
    """What the variants cost, of a batch of 4, within an instant."""
    config = configured("trainer.batch_size=4", "trainer.accumulate=2")
    return measure_cost(declared(NONE, CSE, WIDER, BROKEN, FROZEN), config, CPU, seconds=0.001)


def test_sizes_are_those_of_the_networks(measured):
    plain = describe_model(build_model(configured().model, 3, 2))
    gated = describe_model(build_model(CSE.config(configured()).model, 3, 2))
    none, cse = measured["variants"]["none"], measured["variants"]["cse"]
    assert (none["parameters"], none["gate_parameters"]) == (plain["parameters"], 0)
    assert cse["parameters"] == gated["parameters"]
    assert cse["gate_parameters"] == gated["parameters"] - plain["parameters"] > 0
    assert cse["flops"] > none["flops"] > 32 * 32 * plain["parameters"] / 8


def test_more_work_takes_more_time_and_memory(measured):
    none, wider = measured["variants"]["none"], measured["variants"]["wider"]
    assert (none["step_ratio"], none["step_ratio_range"], none["memory_ratio"]) == (1.0, [1.0, 1.0], 1.0)
    assert wider["step_ratio"] > 1.2
    assert wider["step_ratio_range"][0] <= wider["step_ratio"] <= wider["step_ratio_range"][1]
    assert 8 < wider["memory_ratio"] < 13
    assert wider["memory_ratio"] == wider["memory_bytes"] / none["memory_bytes"]
    assert measured["memory_of"] == "kept for the backward pass"


def test_a_variant_that_is_not_trained_or_cannot_be_has_no_cost(measured):
    assert measured["variants"]["frozen"] is None
    assert measured["variants"]["broken"] is None
    assert list(measured["variants"]) == ["none", "cse", "wider", "broken", "frozen"]
    assert list(measured["reasons"]) == ["broken"]
    assert "nowhere" in measured["reasons"]["broken"]


def test_a_slow_machine_gets_a_share_of_the_batch_and_says_so(measured):
    assert {one["batch"] for one in measured["variants"].values() if one} == {2}
    json.dumps(measured)


def test_memory_grows_with_the_batch_and_not_with_accumulation():
    kept = {
        (batch, parts): Arm(configured(f"trainer.batch_size={batch}", f"trainer.accumulate={parts}"), CPU, 1.0).memory(
            0
        )
        for batch, parts in ((2, 1), (4, 1), (2, 3))
    }
    assert kept[4, 1] == pytest.approx(2 * kept[2, 1], rel=0.01)
    assert kept[2, 3] == pytest.approx(kept[2, 1], rel=0.01)


def test_memory_counts_each_storage_once():
    arm = Arm(configured(), CPU, 1.0)
    kept = arm.samples * kept_bytes(SimpleNamespace(learner=arm.learner), arm._batch)
    assert arm.memory(0) == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.task=multilabel", "data.classes=[background, a, b]", "data.masks=m/{class}", "data.mask.encoding=files"),
        ("data.classes=[background, a, b]", "loss.class_balance=inverse", "augmentation.mix=mixup"),
        ("averaging.method=ema", "trainer.gradient_checkpointing=true", "trainer.channels_last=false"),
        ("averaging.method=swa", "optimizer.schedule=onecycle", "trainer.precision=bf16"),
        ("trainer.batch_size=auto", "data.channels=gray"),
    ],
    ids=["multilabel", "balanced", "averaged", "swa", "auto"],
)
def test_a_step_is_that_of_the_configuration(overrides):
    arm = Arm(configured(*overrides), CPU, 0.0)
    before = [value.clone() for value in arm.learner.model.parameters()]
    arm.step()
    after = list(arm.learner.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)
    assert arm.samples == 2


def test_random_numbers_and_threads_are_left_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = measure_cost(declared(NONE), configured(), CPU, seconds=0.001)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert found["threads"] == 1
    assert torch.rand(1) == expected


def test_a_baseline_that_cannot_be_built_leaves_no_ratio():
    broken = Variant("none", "baseline", BROKEN.overrides, "")
    found = measure_cost(declared(broken, CSE), configured(), CPU, seconds=0.001)
    assert found["variants"]["none"] is None
    assert found["variants"]["cse"]["step_ms"] > 0
    assert [found["variants"]["cse"][key] for key in ("step_ratio", "step_ratio_range", "memory_ratio")] == [None] * 3


@pytest.fixture
def measurements(monkeypatch):
    """Count the measurements, which are not made."""
    calls = []

    def measure(declaration, config, device):
        calls.append(declaration)
        return {"format": 1, "fits": module._digest(declaration, config), "number": len(calls)}

    monkeypatch.setattr(module, "measure_cost", measure)
    return calls


def test_what_fits_the_declaration_is_not_measured_again(tmp_path, measurements):
    assert cost(tmp_path, declared(NONE, CSE), configured(), CPU)["number"] == 1
    assert json.loads((tmp_path / "cost.json").read_text())["number"] == 1
    moved = configured("trainer.threads=3", "data.root=elsewhere", "trainer.tensorboard=false")
    assert cost(tmp_path, declared(NONE, CSE, seeds=(0, 1)), moved, CPU)["number"] == 1
    assert len(measurements) == 1


@pytest.mark.parametrize(
    ("variants", "overrides"),
    [((NONE, CSE, WIDER), ()), ((NONE, CSE), ("trainer.crop=64",)), ((NONE, CSE), ("loss.terms={lovasz: 1.0}",))],
    ids=["another variant", "another crop", "another loss"],
)
def test_what_does_not_fit_is_measured_again(tmp_path, measurements, variants, overrides):
    cost(tmp_path, declared(NONE, CSE), configured(), CPU)
    assert cost(tmp_path, declared(*variants), configured(*overrides), CPU)["number"] == 2
    assert len(measurements) == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}'])
def test_a_damaged_file_is_measured_again(tmp_path, measurements, text):
    (tmp_path / "cost.json").write_text(text)
    assert cost(tmp_path, declared(NONE), configured(), CPU)["number"] == 1
    assert len(measurements) == 1
