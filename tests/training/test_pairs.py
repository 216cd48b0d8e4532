"""Runs of equal seeds differ in their gates alone, so that their scores can be compared in pairs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.training.building import build_trainer
from seg_scse.training.loop import Trainer

CPU = torch.device("cpu")
SMALL = [
    *("model.architecture=classic_unet", "model.width=4", "model.depth=2", "model.decoder_channels=null"),
    *("trainer.panel=0", "trainer.workers=0", "trainer.repeats=2", "evaluation.overlap=0", "seed=3"),
    *("augmentation.mix=cutmix", "augmentation.mix_share=1", "model.attention.sites=[encoder, bottleneck, decoder]"),
]
GATES = {
    "none": ["type=none"],
    "cse": ["type=cse"],
    "sse": ["type=sse"],
    "scse-add": ["type=scse", "merge=add"],
    "scse-max": ["type=scse", "merge=max"],
    "constant": ["type=constant", "init=identity"],
    "identity": ["type=scse", "init=identity"],
    "cbam": ["type=cbam"],
}
OTHERS = pytest.mark.parametrize("gates", [name for name in GATES if name != "none"])


@pytest.fixture(scope="module")
def config(tiny: list[str]) -> Config:
    return load_config(None, [*tiny, *SMALL])


@pytest.fixture(scope="module")
def data(config: Config) -> PreparedData:
    return prepare_data(config.data)


def trainer(config: Config, data: PreparedData, folder: Path, gates: str, *overrides: str) -> Trainer:
    torch.rand(len(gates))  # whatever happened before in the process
    chosen = override(config, [*(f"model.attention.{text}" for text in GATES[gates]), *overrides])
    return build_trainer(chosen, data, CPU, folder, lambda _: {}, chosen.model)


def host(one: Trainer) -> dict[str, Tensor]:
    return {key: value for key, value in one.learner.model.state_dict().items() if not key.startswith("gates.")}


def first_epoch(one: Trainer) -> list[dict[str, Any]]:
    one.sampler.position(0, 0)
    return list(one.loader)


def same(batch: dict[str, Any], other: dict[str, Any]) -> bool:
    return batch.keys() == other.keys() and all(torch.equal(batch[key], other[key]) for key in batch)


@OTHERS
def test_the_host_network_starts_alike_whatever_the_gates(
    config: Config, data: PreparedData, tmp_path: Path, gates: str
) -> None:
    plain, gated = host(trainer(config, data, tmp_path, "none")), host(trainer(config, data, tmp_path, gates))
    assert plain.keys() == gated.keys()
    assert [key for key in plain if not torch.equal(plain[key], gated[key])] == []


def test_the_heads_of_deep_supervision_start_alike_whatever_the_gates(
    config: Config, data: PreparedData, tmp_path: Path
) -> None:
    plain, gated = (
        host(trainer(config, data, tmp_path, gates, "model.deep_supervision=1")) for gates in ("none", "scse-add")
    )
    assert any(key.startswith("supervision.") for key in plain)
    assert [key for key in plain if not torch.equal(plain[key], gated[key])] == []


@OTHERS
def test_the_first_epoch_has_the_same_images_and_pixels(
    config: Config, data: PreparedData, tmp_path: Path, gates: str
) -> None:
    batches = first_epoch(trainer(config, data, tmp_path, "none"))
    others = first_epoch(trainer(config, data, tmp_path, gates))
    assert len(batches) == len(others) == 6
    assert all(same(*pair) for pair in zip(batches, others, strict=True))


def test_networks_see_the_same_mixed_images_in_each_step(config: Config, data: PreparedData, tmp_path: Path) -> None:
    seen: dict[str, list[Tensor]] = {"none": [], "scse-add": []}
    for gates, inputs in seen.items():
        one = trainer(config, data, tmp_path, gates)
        one.learner.model.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].clone()))
        batches = first_epoch(one)
        for step in range(3):
            one.learner.step(iter(batches[step : step + 1]), step, 0)
        assert not torch.equal(inputs[0], one.learner.images(batches[0])), "they are mixed"
    assert len(seen["none"]) == 3
    assert all(torch.equal(*pair) for pair in zip(*seen.values(), strict=True))


def test_another_seed_starts_otherwise_and_sees_other_pixels(
    config: Config, data: PreparedData, tmp_path: Path
) -> None:
    one, other = (trainer(config, data, tmp_path, "none", f"seed={seed}") for seed in (3, 4))
    assert not any(torch.equal(value, host(other)[key]) for key, value in host(one).items() if "conv1.0.weight" in key)
    assert not same(first_epoch(one)[0], first_epoch(other)[0])
