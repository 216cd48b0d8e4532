import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from seg_scse import checkpoint
from seg_scse.errors import DivergedError, Stopped
from seg_scse.inference.counting import Scored
from seg_scse.training import loop
from seg_scse.training.loop import EpochEnd, Trainer
from seg_scse.training.pace import Pace

from .small import (
    IMAGES,
    RUNS,
    Killed,
    Net,
    continued,
    differing,
    outcome,
    plain,
    rows,
    run_until_killed,
    state_of,
    stop_before_step,
    trainer,
    weights,
)


def test_checkpoints_within_an_epoch_come_every_so_many_steps_and_minutes(tmp_path: Path) -> None:
    def saved(*settings: str, seconds_per_step: float = 0.0) -> list[int]:
        one, steps, now = trainer(tmp_path / "a", "trainer.batch_size=2", "trainer.max_epochs=1", *settings), [], [0.0]
        one.pace._clock = lambda: now[0]
        one.pace.saved()
        save, step = one.checkpoints.save_last, one._step

        def slow(*arguments: object) -> object:
            now[0] += seconds_per_step
            return step(*arguments)  # type: ignore[arg-type]

        def noted(state: dict[str, object]) -> None:
            steps.append(one.progress.step)
            save(state)

        one._step, one.checkpoints.save_last = slow, noted  # type: ignore[assignment, method-assign]
        one.fit()
        return steps

    assert saved() == [8], "the default leaves minutes between them"
    assert saved("trainer.save_every_steps=3") == [3, 6, 8]
    assert saved("trainer.save_every_minutes=1", seconds_per_step=25.0) == [3, 6, 8]
    assert saved("trainer.save_every_minutes=null", seconds_per_step=1e6) == [8]
    assert saved("trainer.save_every_minutes=1", "trainer.save_every_steps=4", seconds_per_step=25.0) == [3, 4, 7, 8, 8]


def test_last_is_the_last_epoch_and_best_stays_best_over_a_kill(tmp_path: Path) -> None:
    scores = iter([0.5, 0.9, 0.3, 0.2, 0.3, 0.2, 0.1])
    folder, settings = tmp_path / "a", ["trainer.max_epochs=6"]

    def scoring(one: Trainer) -> Trainer:
        validate = one.validate

        def validated(check: Callable[[], None]) -> Scored:
            one._scores = lambda _: dict.fromkeys(("dice_per_image", "val_loss"), next(scores))  # type: ignore[assignment, method-assign]
            return validate(check)

        one.validate = validated
        return one

    one = scoring(trainer(folder, *settings))
    stop_before_step(one, 18)  # in the fifth epoch
    with pytest.raises(Killed):
        one.fit()
    best = weights(folder, checkpoint.BEST)
    again = scoring(continued(folder, *settings))
    assert again.progress.epoch == 4, "not the best one"
    again.fit()
    assert [float(row["dice_per_image"]) for row in rows(folder)] == [0.5, 0.9, 0.3, 0.2, 0.3, 0.2]
    assert weights(folder, checkpoint.BEST) == best
    progress = state_of(folder, checkpoint.BEST)["progress"]
    assert (progress["epoch"], progress["best_epoch"], progress["best_score"]) == (2, 2, 0.9)
    assert state_of(folder)["progress"]["best_epoch"] == 2


def test_the_scale_of_half_precision_is_restored(tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=2", "optimizer.lr=1e-3"]

    def scaled(folder: Path) -> Trainer:
        one = trainer(folder, *settings, model=Net)
        one.learner.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        if (folder / checkpoint.LAST).exists():
            one.load(checkpoint.load(folder / checkpoint.LAST)[0])
        return one

    scaled(tmp_path / "whole").fit()
    one = scaled(tmp_path / "a")
    stop_before_step(one, 5)
    with pytest.raises(Killed):
        one.fit()
    again = scaled(tmp_path / "a")
    assert again.learner.scaler.get_scale() == 16.0, "doubled after three good steps"
    again.fit()
    assert state_of(tmp_path / "a")["scaler"]["scale"] == 32.0
    assert differing(outcome(tmp_path / "a"), outcome(tmp_path / "whole")) == []


@pytest.mark.parametrize("name", ["everything", "swa"])
def test_the_averaged_network_is_validated_and_the_trained_one_goes_on(
    uninterrupted: Callable[[str], Path], name: str
) -> None:
    state = state_of(uninterrupted(name))
    one = continued(uninterrupted(name), *RUNS[name], model=Net)
    averaged, trained = one.learner.averager.network, one.model  # type: ignore[union-attr]
    assert plain(averaged.state_dict()) == plain(state["model"])
    assert plain(trained.state_dict()) == plain(state["training"]["model"])
    assert plain(state["model"]) != plain(state["training"]["model"])
    last = [row for row in rows(uninterrupted(name)) if row["val_loss"]][-1]
    assert one.validate(lambda: None).loss == pytest.approx(float(last["val_loss"]), abs=1e-6)


def test_a_state_without_averages_begins_them_at_its_weights(tmp_path: Path) -> None:
    trainer(tmp_path / "a", "trainer.max_epochs=1", model=Net).fit()
    one = continued(tmp_path / "a", "averaging.method=ema", "trainer.max_epochs=2", model=Net)
    assert plain(one.learner.scored.state_dict()) == plain(one.model.state_dict())


def test_a_checkpoint_of_the_first_format_goes_on_in_the_middle_of_its_epoch(tmp_path: Path) -> None:
    folder, settings = tmp_path / "a", ["trainer.max_epochs=2"]
    trainer(tmp_path / "whole", *settings).fit()
    one = trainer(folder, *settings, "trainer.save_every_steps=1")
    stop_before_step(one, 6)
    with pytest.raises(Killed):
        one.fit()
    state = dict(state_of(folder))
    state.pop("kept")
    state["progress"] = {key: value for key, value in state["progress"].items() if key not in ("in_epoch", "closed")}
    checkpoint.save(folder / checkpoint.LAST, state)
    again = continued(folder, *settings)
    assert (again.progress.epoch, again.progress.in_epoch) == (1, 2)
    again.fit()
    assert (folder / "steps.csv").read_bytes() == (tmp_path / "whole" / "steps.csv").read_bytes()
    assert weights(folder) == weights(tmp_path / "whole")


@pytest.mark.parametrize("averaged", [False, True], ids=["trained", "averaged"])
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, averaged: bool) -> None:
    one = trainer(tmp_path / "a", "averaging.method=ema", "trainer.save_every_steps=2", model=Net)
    step = one._step

    def poisoned(*arguments: object) -> object:
        result = step(*arguments)  # type: ignore[arg-type]
        if one.progress.step == 2:
            network = one.learner.scored if averaged else one.model
            network.segmentation_head.weight.data[0, 0] = np.inf  # type: ignore[union-attr, index]
        return result

    one._step = poisoned  # type: ignore[assignment, method-assign]
    with pytest.raises(
        DivergedError, match=r"step 1: its update made 1 of \d+ tensors non-finite \(first: segmentation_head\.weight"
    ):
        one.fit()
    assert not list((tmp_path / "a").rglob("*.ckpt"))


def test_several_processes_ask_each_other_seldom_and_at_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process's clock decides, and a signal of any process."""
    asked: list[int] = []
    saved: list[int] = []
    others: tuple[object, ...] = (None, False, 99)

    def gather(value: object) -> list[object]:
        asked.append(one.progress.step)
        return [value, others]

    def made(name: str, seconds: float) -> Trainer:
        made = trainer(
            tmp_path / name, "trainer.batch_size=1", "trainer.max_epochs=2", "trainer.save_every_minutes=0.001"
        )
        made.learner.network = made.model  # not wrapped
        made.pace = Pace(made.config.trainer, lambda: seconds * made.progress.step)
        made.checkpoints.save_last = lambda _: saved.append(made.progress.step)  # type: ignore[method-assign]
        return made

    asking = {0.01: [1, 2, 16, 32], 0.25: [1, 2, 6, 10, 14, 16, 20, 24, 28, 32], 5.0: [*range(1, 33)]}
    runs = {seconds: made(f"a{seconds}", seconds) for seconds in asking}
    stopped = made("b", 0.01)
    monkeypatch.setattr(loop.distributed, "gather", gather)
    monkeypatch.setattr(loop.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(loop.distributed, "barrier", lambda: None)
    for seconds, steps in asking.items():
        one = runs[seconds]
        asked.clear()
        saved.clear()
        one.fit()
        assert sorted({*asked}) == steps, "at the ends of epochs, and each second or every SYNC_EVERY steps"
        assert sorted({*saved}) == [step for step in steps if step % 16 == 0 or seconds * step >= 0.06]
    one, others = stopped, (signal.SIGINT, False, 99)
    with pytest.raises(Stopped, match="stopped at step 1,"):
        one.fit()


def test_plateau_lowers_the_rate_when_the_score_stays(tmp_path: Path) -> None:
    settings = ["optimizer.schedule=plateau", "optimizer.patience=0", "trainer.max_epochs=4"]
    one = trainer(tmp_path, *settings)
    one._scores = lambda _: {"dice_per_image": 0.5, "val_loss": 0.1}  # type: ignore[assignment, method-assign]
    one.fit()
    assert [float(row["lr"]) for row in rows(tmp_path)] == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])


def test_hard_images_are_drawn_more_often_from_the_second_epoch_on(tmp_path: Path) -> None:
    one = trainer(tmp_path / "a", "trainer.hard_share=0.5", "trainer.max_epochs=2", "optimizer.lr=1e-9")
    assert one.learner.difficulty is not None
    end = one.learner.difficulty.end_epoch

    def only_seven() -> np.ndarray:
        end()
        one.learner.difficulty._weights = np.eye(len(IMAGES))[7]  # type: ignore[union-attr]
        return one.learner.difficulty._weights  # type: ignore[union-attr, return-value]

    one.learner.difficulty.end_epoch = only_seven  # type: ignore[method-assign]
    one.fit()
    first, second = ([key[2] for key in one.loader.given if key[0] == epoch] for epoch in (0, 1))  # type: ignore[attr-defined]
    assert sorted(first) == list(range(16))
    assert second.count(7) >= 8


def test_frozen_parts_and_their_statistics_stay_until_they_are_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["finetune.source=x", "finetune.freeze=[encoder]", "finetune.unfreeze_epoch=1", "trainer.max_epochs=2"]
    seen: list[dict[str, object]] = []
    one = trainer(tmp_path / "a", *settings, model=Net)
    before = plain(one.model.state_dict())
    one.on_epoch = lambda _: seen.append(plain(one.model.state_dict())) or {}  # type: ignore[func-returns-value]
    one.fit()

    def changed(now: dict[str, object]) -> set[str]:
        return {key.split("/")[1].split(".")[0] for key in before if now[key] != before[key]}

    assert changed(seen[0]) == {"decoder", "segmentation_head"}
    assert changed(seen[1]) == {"encoder", "decoder", "segmentation_head"}
    assert capsys.readouterr().out.count("from epoch 2 on, encoder is trained too") == 1


def test_frozen_parts_stay_frozen_after_a_resume(tmp_path: Path) -> None:
    settings = ["finetune.source=x", "finetune.freeze=[encoder]", "finetune.unfreeze_epoch=1", "trainer.max_epochs=2"]
    trainer(tmp_path / "whole", *settings, model=Net).fit()
    for step in (2, 6, 99):
        one = continued(tmp_path / "a", *settings, "trainer.save_every_steps=1", model=Net)
        stop_before_step(one, step)
        run_until_killed(one)
    assert differing(outcome(tmp_path / "a"), outcome(tmp_path / "whole")) == []


def test_each_epoch_is_told_with_its_folder_and_pictures_go_to_the_loggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[EpochEnd] = []
    shown: list[tuple[str, int]] = []
    one = trainer(tmp_path / "a", "trainer.max_epochs=2")
    monkeypatch.setattr(
        loop.Journal, "images", lambda _, pictures, step: shown.extend((name, step) for name in pictures)
    )
    one.on_epoch = lambda end: ends.append(end) or {"panel": np.zeros((2, 2, 3), np.uint8)}  # type: ignore[func-returns-value]
    one.fit()
    assert ends == [EpochEnd(tmp_path / "a", 1), EpochEnd(tmp_path / "a", 2)]
    assert shown == [("panel", 4), ("panel", 8)]
