from seg_scse.config import load_config
from seg_scse.training.pace import Pace
from seg_scse.training.state import Progress


def test_best_is_the_highest_score_and_ties_keep_the_earlier() -> None:
    progress, improved = Progress(), []
    for epoch, score in enumerate((0.5, 0.7, 0.7, 0.6, None, 0.8), start=1):
        progress.epoch = epoch
        improved.append(progress.validated(score))
    assert improved == [True, True, False, False, False, True]
    assert (progress.best_epoch, progress.best_score, progress.bad_validations) == (6, 0.8, 0)


def test_first_validation_is_best_even_without_a_score() -> None:
    progress = Progress(epoch=1)
    assert progress.validated(None)
    progress.epoch = 2
    assert not progress.validated(None)
    assert progress.bad_validations == 1
    assert progress.validated(0.0), "any score is better than none"


def test_progress_survives_a_checkpoint() -> None:
    progress = Progress(step=7, epoch=2, in_epoch=3, closed=True, best_score=0.5, best_epoch=1, bad_validations=1)
    assert Progress.restored(progress.as_dict(), 2) == progress


def test_steps_and_epochs_are_counted_together() -> None:
    progress = Progress()
    for _ in range(3):
        progress.advance()
    progress.closed = True
    progress.end_epoch()
    progress.advance()
    assert progress == Progress(step=4, epoch=1, in_epoch=1)


def test_the_place_in_an_epoch_follows_from_the_steps_in_an_old_state() -> None:
    old = {"step": 11, "epoch": 2, "best_score": None, "best_epoch": None, "bad_validations": 0, "finished": False}
    assert Progress.restored(old, 4) == Progress(step=11, epoch=2, in_epoch=3)
    # the last epoch of a run with max_steps may be shorter
    assert Progress.restored({**old, "epoch": 3, "finished": True}, 4).in_epoch == 0


def test_minutes_are_counted_from_the_last_save() -> None:
    now = [0.0]
    pace = Pace(load_config(None, ["trainer.save_every_minutes=2"]).trainer, lambda: now[0])
    due = []
    for now[0] in (119.0, 120.0, 121.0):
        due.append(pace.by_clock())
    pace.saved()
    for now[0] in (240.0, 241.0):
        due.append(pace.by_clock())
    assert due == [False, True, True, False, True]


def test_steps_between_saves_are_counted_over_the_whole_run() -> None:
    pace = Pace(load_config(None, ["trainer.save_every_steps=3", "trainer.save_every_minutes=null"]).trainer)
    assert [step for step in range(1, 10) if pace.by_count(step)] == [3, 6, 9]
    assert not pace.by_clock()
    assert not Pace(load_config(None).trainer).by_count(3)
