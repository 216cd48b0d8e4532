import math
from pathlib import Path

import pytest
import torch

from seg_scse.config.loading import load_config
from seg_scse.config.schema import Config, OptimizerConfig
from seg_scse.errors import DivergedError
from seg_scse.training import lr_finder
from seg_scse.training.lr_finder import Finding, Point, Ramp, find_rate, suggest, valley

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def config(tiny: list[str]) -> Config:
    kept = [text for text in tiny if not text.startswith("model.decoder_channels")]
    own = ["data.card=null", "model.architecture=classic_unet", "model.width=4", "model.depth=2", "optimizer.name=sgd"]
    other = ["model.encoder=resnet18", "model.encoder_weights=null", "trainer.clip_grad_norm=null"]
    return load_config(QUICKSTART, [*kept, *own, *other])


def reference(losses: list[float]) -> int:
    """The `valley` rule as fastai 2.8 computes it, index by index."""
    size, end, start = len(losses), 0, 0
    lengths = [1] * size
    for i in range(1, size):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end = i
                start = end - lengths[end]
    sections = (end - start) / 3
    return start + int(sections) + int(sections / 2)


@pytest.mark.parametrize("seed", range(10))
def test_the_valley_is_that_of_fastai(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.linspace(-3, 3, 40 + seed)
    losses = (x.square() + 0.5 * torch.rand(len(x), generator=random)).tolist()
    assert valley(losses) == reference(losses)


def test_the_valley_of_a_straight_fall_is_its_middle() -> None:
    assert valley([10.0, *map(float, range(60, 0, -1)), 50.0]) in (29, 30, 31)


@pytest.mark.parametrize("losses", [[], [1.0], [2.0, 1.0], [1.0, 2.0, 3.0], [math.inf] * 5])
def test_a_loss_that_does_not_fall_has_no_valley(losses: list[float]) -> None:
    assert valley(losses) is None


def test_the_ramp_rises_by_one_factor_from_the_lowest_to_the_highest_rate() -> None:
    ramp = Ramp(OptimizerConfig(lr=0.5, warmup_steps=10), 9)
    rates = [ramp.rate(step) for step in range(9)]
    assert rates == pytest.approx([1e-7 * 10**step for step in range(9)])


def test_the_first_tenth_and_the_last_five_points_are_not_read() -> None:
    # the lowest values of all lie in what is left out
    losses = [0.0] * 5 + [float(45 - k) for k in range(40)] + [0.0] * 5
    points = [Point(k, 10.0**k, loss, loss) for k, loss in enumerate(losses)]
    found = suggest(points, "done", 50)
    assert found.tenth == pytest.approx(10.0**43)
    assert found.valley == 10.0 ** (5 + reference(losses[5:45]))


def test_a_flat_loss_suggests_nothing() -> None:
    points = [Point(k, 10.0**k, 1.0, 1.0) for k in range(40)]
    found = suggest(points, "done", 40)
    assert (found.valley, found.tenth) == (None, None)
    assert len(found.points) == 40


def test_a_search_is_repeatable_and_leaves_nothing_behind(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lr_finder.tempfile, "tempdir", str(tmp_path))
    first, second = find_rate(config, 30), find_rate(config, 30)
    assert first == second
    assert list(tmp_path.iterdir()) == []
    assert [point.step for point in first.points] == list(range(len(first.points)))
    assert first.points[0].lr == 1e-7
    assert first.points[0].smoothed == pytest.approx(first.points[0].loss)
    average = 0.98 * 0.02 * first.points[0].loss + 0.02 * first.points[1].loss
    assert first.points[1].smoothed == pytest.approx(average / (1 - 0.98**2))
    assert 1e-6 < first.valley < 10
    # at the lowest rates nothing is learnt: the first steps are those of a training that stands still
    assert first.points[0].loss == find_rate(config, 20).points[0].loss


def test_a_search_ends_where_the_loss_is_not_finite(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "HIGHEST", 1e30)
    found = find_rate(config, 20)
    assert len(found.points) < 20
    assert found.reason.startswith(("the loss was not finite at", "the loss was 4 times its lowest value at"))
    assert all(math.isfinite(point.loss) for point in found.points)


def test_a_search_ends_where_the_loss_is_four_times_its_lowest(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "DIVERGED", 1.02)
    found = find_rate(config, 40)
    smoothed = [point.smoothed for point in found.points]
    assert found.reason.startswith("the loss was 1.02 times its lowest value at")
    assert smoothed[-1] > 1.02 * min(smoothed)
    assert smoothed[-2] <= 1.02 * min(smoothed[:-1])


def test_a_loss_that_is_never_finite_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "LOWEST", 1e38)
    monkeypatch.setattr(lr_finder, "_search", lambda trainer, steps: ([], "the loss was not finite"))
    with pytest.raises(DivergedError, match="not finite at the first step"):
        find_rate(config, 20)


def test_averages_and_compilation_are_left_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = find_rate(config, 20)
    dumped = config.model_dump(mode="json")
    dumped["averaging"]["method"] = "swa"
    dumped["trainer"]["compile"] = "network"
    assert find_rate(Config.model_validate(dumped), 20) == plain
    assert isinstance(plain, Finding)
