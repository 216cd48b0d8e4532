import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.config import load_config
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.inference.counting import Scored
from seg_scse.losses import build_loss
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.training.loop import Batch, Trainer
from seg_scse.training.optim import Schedule, build_optimizer

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MASKS = (IMAGES[:, 0] > 0).to(torch.uint8)


class Loader:
    """Gives the samples that the sampler names, without a data set."""

    def __init__(self, sampler: EpochBatchSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            index = torch.tensor([key[2] for key in keys])
            yield {"image": IMAGES[index], "mask": MASKS[index], "index": index}


def scored() -> Scored:
    table = CountsTable(2)
    table.add("a", count_pixels(np.eye(4, dtype=np.uint8), np.ones((4, 4), np.uint8), 2))
    return Scored(table, 0.5)


def trainer(folder: Path, *overrides: str, model: nn.Module | None = None) -> Trainer:
    settings = ["trainer.tensorboard=false", "trainer.batch_size=4", "loss.terms={ce: 1.0}", "optimizer.name=sgd"]
    config = load_config(None, [*settings, *overrides])
    torch.manual_seed(0)
    model = model or nn.Conv2d(3, 1, 3, padding=1)
    sampler = EpochBatchSampler([1] * len(IMAGES), config.trainer.batch_size, config.seed, 0, 1)
    steps = len(sampler) // config.trainer.accumulate * config.trainer.max_epochs
    folder.mkdir(exist_ok=True)
    return Trainer(
        config=config,
        model=model,
        standardize=nn.Identity(),
        loss=build_loss(config.loss, 2),
        optimizer=build_optimizer(config.optimizer, model),
        schedule=Schedule(config.optimizer, steps),
        loader=Loader(sampler),
        sampler=sampler,
        validate=scored,
        names=str,
        device=torch.device("cpu"),
        precision=config.trainer.precision if config.trainer.precision != "auto" else "fp32",
        folder=folder,
        facts={},
        on_epoch=lambda _: None,
    )


def gradient_norm(model: nn.Module) -> float:
    return float(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm())


def test_gradients_are_clipped_and_the_norm_before_is_logged(tmp_path: Path) -> None:
    one = trainer(tmp_path, "trainer.clip_grad_norm=0.01")
    result = one._step(iter(one.loader))
    assert gradient_norm(one.model) == pytest.approx(0.01, rel=1e-4)
    assert float(result.values[0]) > 0.1
    free = trainer(tmp_path, "trainer.clip_grad_norm=null")
    free._step(iter(free.loader))
    assert gradient_norm(free.model) == pytest.approx(float(result.values[0]), rel=1e-6)


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    large = trainer(tmp_path, "trainer.batch_size=8")
    small = trainer(tmp_path, "trainer.batch_size=2", "trainer.accumulate=4")
    results = [one._step(iter(one.loader)) for one in (large, small)]
    assert torch.allclose(results[0].values, results[1].values, atol=1e-6)
    assert sorted(results[1].indices) == list(range(8))
    for a, b in zip(large.model.parameters(), small.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_plateau_lowers_the_rate_when_the_score_stays(tmp_path: Path) -> None:
    one = trainer(tmp_path, "optimizer.schedule=plateau", "optimizer.patience=0", "trainer.max_epochs=4")
    one.fit()
    with (tmp_path / "epochs.csv").open() as stream:
        rates = [float(row["lr"]) for row in csv.DictReader(stream)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_network_computes_in_the_precision_asked_for(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    one, seen = trainer(tmp_path, f"trainer.precision={precision}"), []
    one.model.register_forward_hook(lambda _module, _args, output: seen.append(output.dtype))
    one._step(iter(one.loader))
    assert seen == [dtype]


def test_dropout_is_a_function_of_the_step_and_of_nothing_before_it(tmp_path: Path) -> None:
    def losses(disturb: bool, seed: int = 0) -> list[float]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 1, 1))
        one = trainer(tmp_path, "optimizer.lr=1e-12", "trainer.batch_size=8", f"seed={seed}", model=model)
        found: list[Tensor] = []
        for epoch in range(3):
            one.sampler.position(0, 0)
            if disturb:
                torch.rand(epoch + 1)
            found.append(one._step(iter(one.loader)).values[1])
        return [float(value) for value in found]

    plain = losses(disturb=False)
    assert losses(disturb=True) == plain
    assert len(set(plain)) == 3, "each step drops other units"
