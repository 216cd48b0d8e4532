"""A run that is killed or stopped anywhere ends as one that was left alone, to the last byte."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch

from seg_scse.errors import Stopped
from seg_scse.inference.counting import Scored
from seg_scse.training.averaging import StochasticAverage
from seg_scse.training.loop import Trainer

from .small import (
    EVERYTHING,
    RUNS,
    SWA,
    Killed,
    Net,
    continued,
    differing,
    outcome,
    rows,
    run_until_killed,
    state_of,
    stop_before_step,
    trainer,
)


def signal_at_image(one: Trainer, epoch: int, image: int, signum: int = signal.SIGTERM) -> None:
    """Send a signal when this image of an epoch's validation is about to be predicted."""
    validate, seen = one.validate, []

    def sending(check: Callable[[], None]) -> Scored:
        def counted() -> None:
            if one.progress.epoch == epoch and len(seen) == image:
                os.kill(os.getpid(), signum)
            seen.append(1)
            check()

        seen.clear()
        return validate(counted)

    one.validate = sending


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_before_each_step_ends_as_the_uninterrupted_one(
    uninterrupted: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    expected = outcome(uninterrupted(name))
    for step in range(int(rows(uninterrupted(name))[-1]["step"])):
        one = continued(tmp_path / "a", *RUNS[name], "trainer.save_every_steps=1", model=Net)
        assert one.progress.step == step
        stop_before_step(one, step + 1 if step else 1)
        run_until_killed(one)
    assert differing(outcome(tmp_path / "a"), expected) == []


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_by_a_signal_after_each_step_ends_as_the_uninterrupted_one(
    uninterrupted: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    for step in range(1, int(rows(uninterrupted(name))[-1]["step"])):
        one = continued(tmp_path / "a", *RUNS[name], model=Net)
        step_of = one._step

        def then_signal(*arguments: object, one: Trainer = one, step_of: object = step_of, step: int = step) -> object:
            result = step_of(*arguments)  # type: ignore[operator]
            if one.progress.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        one._step = then_signal  # type: ignore[assignment, method-assign]
        with pytest.raises(Stopped, match=f"stopped at step {step}, resumable: python train.py --resume") as stopped:
            one.fit()
        assert stopped.value.exit_code == 143
    continued(tmp_path / "a", *RUNS[name], model=Net).fit()
    assert differing(outcome(tmp_path / "a"), outcome(uninterrupted(name))) == []


class Line:
    """Kills the run at a line of `seg_scse/training`, counted from the start; None only counts.

    A kill at the end of a `with` block leaves it open, so what such blocks set for the process is set back here.
    """

    def __init__(self, number: int | None) -> None:
        self.number, self.count = number, 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> object:
        if "seg_scse/training/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.count += 1
            if self.count == self.number:
                sys.settrace(None)
                raise Killed
        return self

    def run(self, one: Trainer) -> None:
        before = sys.gettrace()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        sys.settrace(self)
        try:
            one.fit()
        finally:
            sys.settrace(before)
            torch.set_grad_enabled(True)
            for number, handler in handlers.items():
                signal.signal(number, handler)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that nobody could close
@pytest.mark.parametrize("name", ["everything", "swa"])
def test_a_run_killed_between_any_two_lines_ends_as_the_uninterrupted_one(
    uninterrupted: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    settings, expected, all_lines = (
        [*RUNS[name], "trainer.save_every_steps=3"],
        outcome(uninterrupted(name)),
        Line(None),
    )
    all_lines.run(trainer(tmp_path / "counted", *settings, model=Net))
    for number in range(50, all_lines.count, all_lines.count // 8):
        folder = tmp_path / str(number)
        with pytest.raises(Killed):
            Line(number).run(trainer(folder, *settings, model=Net))
        continued(folder, *settings, model=Net).fit()
        assert differing(outcome(folder), expected) == [], f"killed at line {number} of {all_lines.count}"


def test_no_sample_is_seen_twice_or_left_out_when_an_epoch_is_resumed_twice(tmp_path: Path) -> None:
    settings, seen = ["trainer.batch_size=2", "trainer.max_epochs=2", "trainer.save_every_steps=1"], []
    for step in (3, 5, 99):
        one = continued(tmp_path / "a", *settings)
        before = one.progress.step
        stop_before_step(one, step)
        run_until_killed(one)
        seen += one.loader.given[: 2 * (one.progress.step - before)]  # type: ignore[attr-defined]
    epochs = [[index for at, _, index in seen if at == epoch] for epoch in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(16))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("name", ["everything", "swa"])
def test_a_signal_during_validation_ends_it_after_the_image_and_costs_nothing(
    uninterrupted: Callable[[str], Path], tmp_path: Path, name: str, signum: int, code: int
) -> None:
    folder, epoch = tmp_path / "a", 1
    predicted: list[int] = []
    one = trainer(folder, *RUNS[name], model=Net)
    one.learner.scored.register_forward_hook(
        lambda module, *_: predicted.append(one.progress.epoch) if not module.training else None
    )
    signal_at_image(one, epoch, 1, signum)
    with pytest.raises(Stopped, match="stopped at step 8, resumable") as stopped:
        one.fit()
    assert stopped.value.exit_code == code
    assert predicted.count(epoch) == 1, "the second image is not predicted any more"
    progress = state_of(folder)["progress"]
    assert (progress["step"], progress["epoch"], progress["in_epoch"]) == (8, epoch, 4), "before its validation"
    again = continued(folder, *RUNS[name], model=Net)
    again.fit()
    assert differing(outcome(folder), outcome(uninterrupted(name))) == []
    assert not [key for key in again.loader.given if key[0] == epoch], "no step of the epoch is done again"


@pytest.mark.parametrize("moment", ["save_best", "save_last"])
def test_a_signal_during_saving_waits_for_the_file(
    uninterrupted: Callable[[str], Path], tmp_path: Path, moment: str
) -> None:
    one = trainer(tmp_path / "a", *EVERYTHING, model=Net)
    save = getattr(one.checkpoints, moment)

    def interrupted(*arguments: object) -> None:
        if one.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        save(*arguments)

    setattr(one.checkpoints, moment, interrupted)
    with pytest.raises(Stopped, match="stopped at step 4"):
        one.fit()
    assert state_of(tmp_path / "a")["progress"]["epoch"] == 1, "the epoch is done"
    assert len(rows(tmp_path / "a")) == 1
    continued(tmp_path / "a", *EVERYTHING, model=Net).fit()
    assert differing(outcome(tmp_path / "a"), outcome(uninterrupted("everything"))) == []


def test_early_stopping_goes_on_counting_after_a_kill(tmp_path: Path) -> None:
    settings = ["trainer.early_stopping=3", "trainer.max_epochs=20", "optimizer.lr=1e-12", "trainer.save_every_steps=1"]
    one = trainer(tmp_path / "a", *settings)
    stop_before_step(one, 13)  # one validation was the best, two were not
    with pytest.raises(Killed):
        one.fit()
    again = continued(tmp_path / "a", *settings)
    assert again.progress.bad_validations == 2
    assert again.fit().epoch == 4, "one more"
    assert again.progress.finished


def test_the_rate_of_each_step_is_that_of_the_uninterrupted_run(
    uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    for name, steps in (("everything", (3, 6)), ("swa", (6, 11))):
        for step in steps:
            one = continued(tmp_path / name, *RUNS[name], "trainer.save_every_steps=1", model=Net)
            stop_before_step(one, step)
            with pytest.raises(Killed):
                one.fit()
        continued(tmp_path / name, *RUNS[name], model=Net).fit()
        trace = [row["lr"] for row in rows(uninterrupted(name), "steps.csv")]
        assert [row["lr"] for row in rows(tmp_path / name, "steps.csv")] == trace
        assert len(set(trace)) >= 2


def test_a_kill_between_the_batches_of_a_step_begins_the_step_again(tmp_path: Path) -> None:
    settings = ["trainer.batch_size=1", "trainer.accumulate=4", "trainer.max_epochs=2", "optimizer.name=adamw"]
    trainer(tmp_path / "whole", *settings, model=Net).fit()
    one = trainer(tmp_path / "a", *settings, "trainer.save_every_steps=1", model=Net)
    backward = one.learner._backward

    def killed(batch: object, place: tuple[int, int, int]) -> object:
        if place == (2, 0, 2):
            raise Killed
        return backward(batch, place)  # type: ignore[arg-type]

    one.learner._backward = killed  # type: ignore[assignment, method-assign]
    with pytest.raises(Killed):
        one.fit()
    again = continued(tmp_path / "a", *settings, model=Net)
    assert again.progress.step == 2
    again.fit()
    assert differing(outcome(tmp_path / "a"), outcome(tmp_path / "whole")) == []


def test_swa_counts_an_epoch_once_though_its_validation_is_abandoned(tmp_path: Path) -> None:
    folder, settings = tmp_path / "a", [*SWA, "trainer.val_every=1"]
    for _ in range(2):
        one = continued(folder, *settings, model=Net)
        signal_at_image(one, 3, 0)
        with pytest.raises(Stopped):
            one.fit()
    again = continued(folder, *settings, model=Net)
    again.fit()
    assert isinstance(again.learner.averager, StochasticAverage)
    assert again.learner.averager.averaged == 2, "the third and the fourth epoch began after 30 % of the run"
