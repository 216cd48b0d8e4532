from pathlib import Path

import numpy as np
import pytest
import torch

from seg_scse.cli import main
from seg_scse.config import load_config
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import ConfigError
from seg_scse.training import batch_size
from seg_scse.training.batch_size import (
    first_batch,
    free_memory,
    kept_bytes,
    largest,
    powers_of_two,
    repeated,
    resolve_batch_size,
)
from seg_scse.training.building import build_trainer

SMALL = [
    *("model.architecture=classic_unet", "model.width=4", "model.depth=2", "data.mask.encoding=binary"),
    *("trainer.crop=32", "trainer.batch_size=auto", "trainer.max_epochs=1", "trainer.tensorboard=false"),
]
CPU = torch.device("cpu")


def resolved(discs: Path, *overrides: str) -> tuple[int, str]:
    config = load_config(None, [f"data.root={discs}", *SMALL, *overrides])
    found, reasons = resolve_batch_size(config, prepare_data(config.data), CPU)
    return found.trainer.samples, reasons["trainer.batch_size"]


@pytest.mark.parametrize(("most", "sizes"), [(0, [2, 1]), (3, [2, 1]), (4, [4, 2, 1]), (100, [64, 32, 16, 8, 4, 2, 1])])
def test_sizes_are_powers_of_two_and_two_is_always_tried(most: int, sizes: list[int]) -> None:
    assert powers_of_two(most) == sizes


def test_the_largest_size_that_fits_is_taken() -> None:
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        if size > 16:
            raise torch.OutOfMemoryError
        return size < 16  # 16 went through, but without the room to spare

    assert largest(powers_of_two(64), fits) == 8
    assert tried == [64, 32, 16, 8]
    assert largest([2, 1], lambda size: False) == 0


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def broken(_: int) -> bool:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        largest([4, 2], broken)


def test_an_epoch_keeps_ten_steps(discs: Path) -> None:
    found, why = resolved(discs, "trainer.repeats=20")  # 8 images: 160 crops
    assert found == 16
    assert why == "auto: 16 crops per process; more would leave an epoch fewer than 10 steps"


def test_the_memory_of_the_machine_bounds_the_batch(discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "free_memory", lambda: 60 * 2**20)
    found, why = resolved(discs, "trainer.repeats=400")
    assert found < 256
    assert "MiB of each crop are kept for the backward pass" in why
    half, _ = resolved(discs, "trainer.repeats=400", "trainer.crop=64")
    assert half == found // 4
    monkeypatch.setattr(batch_size, "free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"not even one crop of 32 x 32 px fits.*Lower trainer\.crop"):
        resolved(discs)


def test_bytes_kept_grow_with_the_batch_and_leave_out_the_weights(discs: Path, tmp_path: Path) -> None:
    config = load_config(None, [f"data.root={discs}", *SMALL, "trainer.batch_size=2"])
    trainer = build_trainer(config, prepare_data(config.data), CPU, tmp_path, lambda _: {}, config.model)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    two, four = (kept_bytes(trainer, repeated(first_batch(trainer, 1), size)) for size in (2, 4))
    assert four == pytest.approx(two, rel=0.02)
    assert two > 4 * 32 * 32 * 4 * 4, "at least the four maps of the first block in float32"
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_free_memory_is_that_of_the_machine_at_most() -> None:
    assert 2**20 < free_memory() < 2**50


def test_the_number_and_its_reason_are_printed_and_in_the_configuration_of_the_run(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "discs.yaml"
    file.write_text(f"data: {{root: {discs}}}\n")
    folder = tmp_path / "run"
    words = ["--config", str(file), "--out", str(folder), *SMALL, "trainer.repeats=5", "trainer.panel=0"]
    assert main(["train", *words]) == 0
    assert "trainer.batch_size: auto: 4 crops per process" in capsys.readouterr().out
    text = (folder / "config.yaml").read_text()
    assert "  # auto: 4 crops per process; more would leave an epoch fewer than 10 steps\n  batch_size: 4\n" in text
    assert load_config(folder / "config.yaml").trainer.samples == 4
    assert main(["train", "--resume", str(folder), "trainer.batch_size=auto"]) == 0, "no change"
    assert np.loadtxt(folder / "steps.csv", delimiter=",", skiprows=1).shape[0] == 10
