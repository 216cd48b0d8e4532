from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_scse.training import step as step_module
from seg_scse.training.averaging import ExponentialAverage
from seg_scse.training.journal import StepResult
from seg_scse.training.loop import Trainer
from seg_scse.training.mixing import Targets

from .small import EVERYTHING, IMAGES, MASKS, Net, trainer


def gradient_norm(model: nn.Module) -> float:
    return float(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm())


def one_step(one: Trainer) -> StepResult:
    return one._step(iter(one.loader))


class Plain(nn.Module):
    """A network without a state or random numbers, so that a loss can be computed again."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)


def test_gradients_are_clipped_and_the_norm_before_is_logged(tmp_path: Path) -> None:
    one = trainer(tmp_path, "trainer.clip_grad_norm=0.01")
    result = one_step(one)
    assert gradient_norm(one.model) == pytest.approx(0.01, rel=1e-4)
    assert float(result.values[0]) > 0.1
    free = trainer(tmp_path, "trainer.clip_grad_norm=null")
    result = one_step(free)
    assert gradient_norm(free.model) == pytest.approx(float(result.values[0]), rel=1e-6)


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    large = trainer(tmp_path, "trainer.batch_size=8")
    small = trainer(tmp_path, "trainer.batch_size=2", "trainer.accumulate=4")
    results = [one_step(one) for one in (large, small)]
    assert torch.allclose(results[0].values, results[1].values, atol=1e-6)
    assert sorted(results[1].indices) == sorted(results[0].indices)
    for a, b in zip(large.model.parameters(), small.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_network_computes_in_the_precision_asked_for(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    one, seen = trainer(tmp_path, f"trainer.precision={precision}"), []
    one.model.register_forward_hook(lambda _module, _args, output: seen.append(output.dtype))
    one_step(one)
    assert seen == [dtype]


def test_dropout_is_a_function_of_the_step_and_of_nothing_before_it(tmp_path: Path) -> None:
    def losses(disturb: bool, seed: int = 0) -> list[float]:
        def model() -> nn.Module:
            torch.manual_seed(1)
            return nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 1, 1))

        one = trainer(tmp_path, "optimizer.lr=1e-12", "trainer.batch_size=16", f"seed={seed}", model=model)
        found: list[Tensor] = []
        for epoch in range(3):
            one.sampler.position(0, 0)
            if disturb:
                torch.rand(epoch + 1)
            found.append(one_step(one).values[1])
        return [float(value) for value in found]

    plain = losses(disturb=False)
    assert losses(disturb=True) == plain
    assert len(set(plain)) == 3, "each step drops other units"


@pytest.mark.parametrize("rank", [0, 1])
def test_the_seed_of_a_step_is_a_function_of_run_step_and_rank_alone(rank: int) -> None:
    expected = [np.random.SeedSequence([3, step, rank]).generate_state(1, np.uint64)[0] >> 1 for step in range(45)]
    found = [step_module._seeds(3, step // step_module._BLOCK, rank)[step % step_module._BLOCK] for step in range(45)]
    assert found == expected


def test_a_group_has_its_own_share_of_the_rate(tmp_path: Path) -> None:
    one = trainer(
        tmp_path, "optimizer.lr_factors={encoder: 0.1}", "optimizer.lr=0.5", "optimizer.warmup_steps=4", model=Net
    )
    assert one_step(one).lr == pytest.approx(0.1), "the first step of the warm-up"
    assert {round(group["lr"], 9) for group in one.optimizer.param_groups} == {0.1, 0.01}


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_nothing_in_a_step_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: str) -> None:
    """The device `meta` has no values: whoever reads one on the host fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which `meta` does not know
    everything = [*EVERYTHING, f"augmentation.mix={mix}", "augmentation.mix_share=0.5", "optimizer.name=sgd"]
    terms = "loss.terms={ce: 1.0, dice: 1.0, focal: 0.5}"
    one = trainer(tmp_path, *everything, terms, model=Net, device=torch.device("meta"))
    one.sampler.position(0, 0)
    batches = iter(one.loader)
    results = [one._step(batches) for _ in range(4)]
    assert [result.values.shape for result in results] == [(5,)] * 4
    with pytest.raises(RuntimeError, match="meta"):
        results[0].values.sum().item()


@pytest.mark.parametrize("mix", ["none", "cutmix", "mixup"])
def test_the_loss_is_the_weighted_sum_against_the_mixed_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: str
) -> None:
    settings = [f"augmentation.mix={mix}", "augmentation.mix_share=1.0", "loss.terms={ce: 1.0, dice: 0.5}"]
    one = trainer(tmp_path, *settings, model=Plain)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    mixed: list[tuple[Tensor, Targets]] = []
    mixing = step_module.mix
    monkeypatch.setattr(step_module, "mix", lambda *given: mixed.append(mixing(*given)) or mixed[-1])
    result = one_step(one)
    index = torch.tensor(result.indices)
    images, targets = mixed[0] if mix != "none" else (IMAGES[index], [(1.0, MASKS[index])])
    assert len(targets) == (2 if mix == "mixup" else 1)
    one.model.load_state_dict(before)
    found = [(weight, one.loss(one.model(images), target)) for weight, target in targets]
    total = sum(weight * float(loss.detach()) for weight, (loss, _) in found)
    dice = sum(weight * float(terms["dice"]) for weight, (_, terms) in found)
    assert [float(value) for value in result.values[[1, 3]]] == pytest.approx([total, dice], rel=1e-5)


def test_mixtures_are_functions_of_seed_step_and_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    mixing = step_module.mix

    def noted(images: Tensor, target: Tensor, config: object, rng: np.random.Generator) -> object:
        drawn.append(rng.random())
        return mixing(images, target, config, rng)  # type: ignore[arg-type]

    monkeypatch.setattr(step_module, "mix", noted)

    def draws(seed: int) -> list[float]:
        drawn.clear()
        settings = ["augmentation.mix=cutmix", "trainer.accumulate=2", f"seed={seed}"]
        one = trainer(tmp_path, *settings)
        batches = iter(one.loader)
        one._step(batches)
        np.random.random(3)  # noqa: NPY002 - the global numbers must not matter
        one._step(batches)
        return list(drawn)

    first = draws(0)
    assert draws(0) == first
    assert len({*first, *draws(1)}) == 8


def test_errors_are_observed_of_unmixed_crops_only(tmp_path: Path) -> None:
    def seen(*settings: str) -> int:
        one = trainer(tmp_path, "trainer.hard_share=0.5", *settings, model=Net)
        one_step(one)
        assert one.learner.difficulty is not None
        return int(one.learner.difficulty.state_dict()["seen"].sum())

    assert seen() == 4
    assert seen("augmentation.mix=cutmix", "augmentation.mix_share=0.0") == 4
    assert seen("augmentation.mix=cutmix", "augmentation.mix_share=0.9999") == 0


def test_the_average_moves_after_each_step(tmp_path: Path) -> None:
    one = trainer(tmp_path, "averaging.method=ema", "optimizer.lr=0.5", model=Net)
    averager = one.learner.averager
    assert isinstance(averager, ExponentialAverage)
    assert one.learner.scored is averager.network
    before = averager.network.segmentation_head.weight.clone()  # type: ignore[union-attr, operator]
    batches = iter(one.loader)
    for count in (1, 2):
        one._step(batches)
        assert averager.updates == count
    assert not torch.equal(averager.network.segmentation_head.weight, before)  # type: ignore[union-attr, arg-type]
