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
    progress = Progress(step=7, epoch=2, best_score=0.5, best_epoch=1, bad_validations=1)
    assert Progress(**progress.as_dict()) == progress
