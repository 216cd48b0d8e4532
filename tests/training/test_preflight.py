from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from seg_scse import checkpoint
from seg_scse.config import load_config
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import ConfigError, SegScseError, WriteError
from seg_scse.training import building, run
from seg_scse.training import preflight as module
from seg_scse.training.building import build_trainer
from seg_scse.training.loop import Trainer
from seg_scse.training.panel import EpochEnd
from seg_scse.training.preflight import checkpoint_bytes, first_batch, preflight, require_room, try_step

SMALL = [
    *("model.architecture=classic_unet", "model.width=4", "model.depth=2", "data.mask.encoding=binary"),
    *("trainer.crop=32", "trainer.batch_size=2", "trainer.max_epochs=1", "trainer.tensorboard=false"),
]
Usage = namedtuple("Usage", "total used free")


def nothing(_: EpochEnd) -> dict[str, np.ndarray]:
    return {}


def trainer(discs: Path, folder: Path, *overrides: str) -> Trainer:
    config = load_config(None, [f"data.root={discs}", *SMALL, *overrides])
    data = prepare_data(config.data)
    return build_trainer(config, data, torch.device("cpu"), folder, nothing, config.model)


def test_a_step_on_trial_leaves_nothing_changed(discs: Path, tmp_path: Path) -> None:
    one = trainer(discs, tmp_path, "averaging.method=ema")
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    optimizer, modes = str(one.optimizer.state_dict()), [module.training for module in one.model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert preflight(one, 2).startswith("2 checkpoints of")
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    assert str(one.optimizer.state_dict()) == optimizer
    assert [module.training for module in one.model.modules()] == modes
    assert all(value.grad is None for value in one.model.parameters())
    assert not list(tmp_path.iterdir())


def test_the_trial_has_the_true_size_and_reaches_batchnorm(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, sizes = trainer(discs, tmp_path), []
    one.model.register_forward_hook(lambda model, given, _: sizes.append((model.training, tuple(given[0].shape))))
    preflight(one, 4)
    assert sizes == [(True, (4, 3, 32, 32))]


def test_one_value_per_channel_is_refused_before_training(discs: Path, tmp_path: Path) -> None:
    config = load_config(None, [f"data.root={discs}", *SMALL, "model.depth=5", "trainer.batch_size=1"])
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=1 with trainer\.crop=32: a normalisation layer.*"
                       r"Choose trainer\.batch_size=2 or more, or trainer\.crop=64"):  # fmt: skip
        run.start(config, tmp_path / "run", nothing)
    assert not (tmp_path / "run").exists()
    run.start(
        config.model_copy(update={"model": config.model.model_copy(update={"depth": 4})}), tmp_path / "b", nothing
    )
    assert (tmp_path / "b" / checkpoint.LAST).exists(), "2 x 2 px have a variance"


def test_parameters_that_the_loss_does_not_reach_are_named(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = building.build_model

    def with_loose_end(*given: object) -> torch.nn.Module:
        model = build(*given)
        model.loose = torch.nn.Linear(2, 2)
        return model

    monkeypatch.setattr(building, "build_model", with_loose_end)
    config = load_config(None, [f"data.root={discs}", *SMALL])
    with pytest.raises(
        ConfigError, match=r"2 trainable parameters have no influence on the loss.*first: loose\.weight"
    ):
        run.start(config, tmp_path / "run", nothing)
    assert not (tmp_path / "run").exists()


def test_memory_that_does_not_suffice_is_found_before_training(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(module, "try_step", full)
    config = load_config(None, [f"data.root={discs}", *SMALL])
    with pytest.raises(SegScseError, match=r"before the first step: out of memory with batches of 2 crops") as caught:
        run.start(config, tmp_path / "run", nothing)
    assert caught.value.exit_code == 1
    assert "No checkpoint was written yet." in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_errors_are_not_taken_for_lack_of_memory(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(module, "try_step", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        preflight(trainer(discs, tmp_path), 2)


def test_a_disk_without_room_for_the_checkpoints_is_refused(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 5000, 5000))
    config = load_config(None, [f"data.root={discs}", *SMALL, "trainer.save_top_k=3"])
    with pytest.raises(
        WriteError, match=r"bytes are needed for the checkpoints \(4 of .* 5,000 bytes are free"
    ) as error:
        run.start(config, tmp_path / "run", nothing)
    assert f"{tmp_path / 'run'}: " in str(error.value)
    assert not (tmp_path / "run").exists()


def test_checkpoints_that_are_there_make_room_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(0, 0, 1000))
    with pytest.raises(WriteError, match="3,000 bytes are needed"):
        require_room(tmp_path, 1000, 1)
    (tmp_path / "checkpoints").mkdir()
    for name in ("best.ckpt", "last.ckpt"):
        (tmp_path / "checkpoints" / name).write_bytes(bytes(1000))
    assert require_room(tmp_path, 1000, 1) == "2 checkpoints of 0 MiB"


@pytest.mark.parametrize("settings", [[], ["optimizer.name=sgd"], ["averaging.method=ema"]])
def test_the_size_of_a_checkpoint_is_known_before_it_is_written(
    discs: Path, tmp_path: Path, settings: list[str]
) -> None:
    wide = ["model.width=16", *settings]  # so that the weights outweigh the names
    expected = checkpoint_bytes(trainer(discs, tmp_path, *wide))
    run.start(load_config(None, [f"data.root={discs}", *SMALL, *wide]), tmp_path / "run", nothing)
    size = (tmp_path / "run" / checkpoint.LAST).stat().st_size
    assert expected == pytest.approx(size, rel=0.15)


def test_frozen_parts_need_no_gradient(discs: Path, tmp_path: Path) -> None:
    one = trainer(discs, tmp_path)
    next(one.model.parameters()).requires_grad_(False)
    assert try_step(one, first_batch(one, 2)) == []
