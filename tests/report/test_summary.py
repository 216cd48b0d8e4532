import json
from pathlib import Path

import pytest

from seg_scse.config import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.errors import ConfigError, DataError
from seg_scse.report.summary import summary

EPOCHS = "epoch,step,lr,train_loss,val_loss,dice_per_image,dice_pooled,iou_per_image,iou_pooled"
TIMING = "epoch,step,seconds,train_seconds,val_seconds,samples_per_second,peak_memory"
Score = float | str | None


def draw_run(
    folder: Path,
    *scores: Score,
    steps: int = 30,
    logged: int | None = None,
    test: int = 3,
    settings: tuple[str, ...] = (),
) -> Path:
    """Write the files of a run of ten steps an epoch; a score of None was not validated, "" is not available."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(load_config(None, list(settings))))
    facts = {"steps": steps, "data": {"samples": {"train": 5, "val": 3, "test": test}}, "device": "cpu"}
    (folder / "run.json").write_text(json.dumps(facts))
    if scores:
        epochs = [f"{n},{10 * n + 10},1e-3,0.9,{_cells(score)}" for n, score in enumerate(scores)]
        timing = [f"{n},{10 * n + 10},60.5,50.0,10.0,{10 + n}.0,{2 + n}00000000" for n in range(len(scores))]
        (folder / "epochs.csv").write_text("\n".join([EPOCHS, *epochs, ""]))
        (folder / "timing.csv").write_text("\n".join([TIMING, *timing, ""]))
    if logged is not None:
        rows = [f"{step},{step // 10},0.1,0.5,0.5,1.0" for step in range(logged)]
        (folder / "steps.csv").write_text("\n".join(["step,epoch,lr,loss,loss_ce,grad_norm", *rows, ""]))
    return folder


def _cells(score: Score) -> str:
    return ",,,," if score is None else f"0.5,{score},0.1,0.2,0.3"


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.partition("next:\n")[2].splitlines()]


def test_a_run_that_ended_says_what_was_best_what_it_cost_and_what_comes_next(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, 0.7, 0.6)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()
    assert summary(run).splitlines() == [
        "ended:   after 3 epochs, 30 steps",
        "best:    epoch 2, dice_per_image 0.7000 (last: 0.6000)",
        "cost:    3 min, 11 img/s in training, peak memory 400 MB",
        f"files:   config.yaml, checkpoints/best.ckpt, epochs.csv in {run}",
        "next:",
        f"  python evaluate.py {run} --split test",
        f"  seg-scse compare BASELINE {run}",
        f"  seg-scse card {run}",
    ]


def test_a_stopped_run_says_how_to_continue_first(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a run", 0.5, logged=17)
    text = summary(run)
    assert text.startswith("stopped: after 1 epoch, at step 17 of 30\n")
    assert commands(text)[:2] == [
        f"python train.py --resume '{run}'",
        f"python evaluate.py '{run}' --split test",
    ]


def test_a_run_that_was_stopped_in_its_first_epoch_can_only_be_continued(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", logged=4)
    text = summary(run)
    assert text.startswith("stopped: after 0 epochs, at step 4 of 30\n")
    assert "best:" not in text
    assert commands(text) == [f"python train.py --resume {run}"]


def test_the_time_of_a_run_that_was_resumed_is_said_to_be_incomplete(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, 0.6, 0.7)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"resumed": [{"step": 7}]}))
    assert "cost:    at least 3 min, 11 img/s in training" in summary(run)


@pytest.mark.parametrize("logged", [None, 0])
def test_a_run_without_a_step_is_at_step_0(tmp_path: Path, logged: int | None) -> None:
    assert "at step 0 of 30" in summary(draw_run(tmp_path / "a", logged=logged))


def test_the_last_step_of_a_long_log_is_found_at_its_end(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, steps=50_000, logged=20_000)
    with (run / "steps.csv").open("a") as stream:
        stream.write("20000,2000,0.")  # cut by a kill
    assert "at step 20,000 of 50,000" in summary(run)


def test_a_run_that_stopped_improving_has_ended(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, 0.4, None, 0.5, steps=100, settings=("trainer.early_stopping=2",))
    text = summary(run)
    assert text.startswith("ended:   after 4 epochs, 40 of 100 steps: 2 validations without improvement\n")
    assert "best:    epoch 1, " in text  # an equal score later is no improvement
    assert "--resume" not in text


def test_epochs_without_validation_and_scores_that_are_not_available_are_passed_over(tmp_path: Path) -> None:
    text = summary(draw_run(tmp_path / "a", None, "", 0.2))
    assert "best:    epoch 3, dice_per_image 0.2000 (last: 0.2000)" in text
    text = summary(draw_run(tmp_path / "b", None, "", ""))
    assert "best:    epoch 2, dice_per_image n/a (last: n/a)" in text


def test_the_monitored_score_is_the_one_that_is_told(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, settings=("trainer.monitor=iou_pooled",))
    assert "best:    epoch 1, iou_pooled 0.3000 (last: 0.3000)" in summary(run)


def test_without_a_test_split_the_validation_split_is_named(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, 0.6, 0.7, test=0)
    assert commands(summary(run)) == [
        f"python evaluate.py {run} --split val",
        f"seg-scse compare BASELINE {run} --split val",
        f"seg-scse card {run} --split val",
    ]


def test_a_run_that_has_been_evaluated_is_not_sent_there_again(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, 0.6, 0.7)
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "evaluation" / "test" / "results.json").touch()
    assert commands(summary(run)) == [f"seg-scse compare BASELINE {run}", f"seg-scse card {run}"]


def test_the_commands_are_those_of_the_command_line(tmp_path: Path) -> None:
    from seg_scse.cli.arguments import build_parser

    run = draw_run(tmp_path / "a", 0.5, logged=17, test=0)
    found = commands(summary(run))
    assert len(found) == 4, "resume, evaluate, compare, card"
    for command in found:
        words = command.replace("python train.py", "train").replace("python evaluate.py", "evaluate")
        assert build_parser().parse_args(words.replace("seg-scse ", "").split()).action


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        summary(tmp_path)


def test_damaged_files_are_named_with_the_cure(tmp_path: Path) -> None:
    run = draw_run(tmp_path / "a", 0.5, logged=3)
    (run / "steps.csv").write_text("step,epoch\nx,y\n")
    with pytest.raises(DataError, match=r"steps\.csv: its last row begins with 'x', which is no step\.\n`python train"):
        summary(run)
    (run / "run.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"run\.json: does not hold what it should(?s:.*)steps(?s:.*)`python train\.py`"
    ):
        summary(run)
