import csv
import json
import os
import shutil
import signal
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seg_scse import checkpoint
from seg_scse.cli import main
from seg_scse.metrics.counts import CountsTable
from seg_scse.training.loop import Trainer

Refused = Callable[[list[str], int], str]


@pytest.fixture(scope="module")
def command(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    config = tmp_path_factory.mktemp("config") / "discs.yaml"
    config.write_text("data: {split: {folds: 2}}\noptimizer: {warmup_steps: 0}\n")
    return ["train", "--config", str(config), *tiny, "trainer.max_epochs=1", "trainer.threads=1"]


@pytest.fixture(scope="module")
def finished(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crossed") / "run"
    assert main([*command, "--out", str(folder)]) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def ids_of(fold: Path, *splits: str) -> set[str]:
    return {row["id"] for row in rows(fold / "splits.csv") if row["split"] in splits}


def results(folder: Path) -> dict:
    return json.loads((folder / "evaluation" / "test" / "results.json").read_text())


def weights(fold: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(fold / checkpoint.LAST)[0]["model"]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_image_is_scored_once_by_a_network_that_never_saw_it(finished: Path) -> None:
    folds = [finished / "fold0", finished / "fold1"]
    scored = [set(CountsTable.from_csv(fold / "evaluation/test/counts.csv").ids) for fold in folds]
    for fold, ids in zip(folds, scored, strict=True):
        assert ids == ids_of(fold, "test")
        assert not ids & ids_of(fold, "train", "val")
        assert ids_of(fold, "val")
    everything = CountsTable.from_csv(finished / "evaluation/test/counts.csv").ids
    assert sorted(scored[0] | scored[1]) == sorted(everything) == [f"s{index:02}" for index in range(12)]
    assert not scored[0] & scored[1]


def test_the_merged_scores_are_those_of_all_images(finished: Path) -> None:
    merged, per_image = results(finished), rows(finished / "evaluation/test/per_image.csv")
    assert merged["images"] == len(per_image) == 12
    assert merged["folds"] == 2
    dice = statistics.fmean(float(row["dice_foreground"]) for row in per_image)
    assert merged["scores"]["dice_per_image"]["foreground"] == pytest.approx(dice)
    parts = [results(finished / f"fold{k}") for k in range(2)]
    assert merged["confusion"] == [
        [sum(part["confusion"][row][column] for part in parts) for column in range(2)] for row in range(2)
    ]


def test_mean_and_deviation_over_the_folds_are_written(finished: Path) -> None:
    folds = json.loads((finished / "evaluation/test/folds.json").read_text())
    scores = [results(finished / f"fold{k}")["scores"]["iou_pooled"]["foreground"] for k in range(2)]
    assert [fold["scores"]["iou_pooled"]["foreground"] for fold in folds["folds"]] == scores
    assert folds["mean"]["iou_pooled"]["foreground"] == pytest.approx(sum(scores) / 2)
    assert folds["sd"]["iou_pooled"]["foreground"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    page = (finished / "evaluation/test/report.html").read_text()
    assert "Folds of the cross-validation" in page
    assert '<th scope="row">fold1</th>' in page
    assert "each image was scored once, by a network that saw it neither in training" in page


def test_a_fold_alone_is_the_same_run(command: list[str], finished: Path, tmp_path: Path) -> None:
    assert main([*command, "--out", str(tmp_path / "one"), "data.split.fold=1"]) == 0
    assert equal(weights(tmp_path / "one"), weights(finished / "fold1"))
    assert not (tmp_path / "one" / "fold1").exists()


def test_an_interrupted_cross_validation_goes_on(
    command: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, step, steps = tmp_path / "run", Trainer._step, [0]

    def stop_in_the_second_fold(self: Trainer, *arguments: object) -> object:
        steps[0] += 1
        if self.folder.name == "fold1" and steps[0] > 0:
            steps[0] = -100
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", stop_in_the_second_fold)
    assert main([*command, "--out", str(folder)]) == 143
    assert f"with this and the other folds: python train.py --resume {folder}\n" in capsys.readouterr().err
    assert not (folder / "evaluation").exists()
    before = {path: path.stat().st_mtime_ns for path in (folder / "fold0").rglob("*.c*") if path.is_file()}
    assert main(["train", "--resume", str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for name in ("counts.csv", "per_image.csv"):
        assert (folder / "evaluation/test" / name).read_text() == (finished / "evaluation/test" / name).read_text()


def test_a_finished_one_is_only_reported_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "fold0/evaluation/test/results.json").read_text()
    assert main(["train", "--resume", str(finished)]) == 0
    assert "already finished after 1 epoch." in capsys.readouterr().out
    assert (finished / "fold0/evaluation/test/results.json").read_text() == before


def test_a_changed_configuration_is_refused(finished: Path, tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("batch_size: 2", "batch_size: 3"))
    message = refused(["train", "--resume", str(folder)], 2)
    assert (
        "config.yaml was changed since fold0 was started: a setting differs:\n  - trainer.batch_size: 2 -> 3" in message
    )
    assert "cannot be changed here" in refused(["train", "--resume", str(folder), "seed=3"], 2)
    assert "--allow-change has no meaning here" in refused(["train", "--resume", str(folder), "--allow-change"], 2)


def test_a_restart_goes_on_with_its_own_folds_only(
    command: list[str],
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert "holds a cross-validation that this command did not start" in refused(
        [*command, "--out", str(finished), "seed=3"], 2
    )
    assert main([*command, "--out", str(finished)]) == 0
    assert "already finished after 1 epoch." in capsys.readouterr().out


def test_it_is_scored_again_with_another_policy(finished: Path, tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    assert main(["evaluate", str(folder), "evaluation.empty=one"]) == 0
    assert results(folder)["protocol"]["empty"] == "one"
    assert "val split: a cross-validation is scored on its test folds" in refused(
        ["evaluate", str(folder), "--split", "val"], 2
    )
    assert "best checkpoint of each fold" in refused(["evaluate", str(folder), "--checkpoint", "last"], 2)
    assert main(["evaluate", str(folder / "fold0"), "evaluation.empty=zero"]) == 0
    shutil.rmtree(folder / "fold1" / "checkpoints")
    assert "Train first" in refused(["evaluate", str(folder)], 6)


def test_what_cannot_start_leaves_no_folder(command: list[str], tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "run"
    message = refused([*command, "--out", str(folder), "data.split.folds=20"], 3)
    assert "data.split.folds=20, but only 12 independent samples (or groups): ask for fewer folds" in message
    assert not folder.exists()
    assert "a cross-validation is scored on its test folds" in refused(
        [*command, "--out", str(folder), "--evaluate", "val"], 2
    )


def test_a_folder_that_is_in_use_is_never_overwritten(command: list[str], finished: Path, refused: Refused) -> None:
    before = (finished / "config.yaml").read_text()
    assert "holds a run already" in refused([*command, "--out", str(finished), "seed=3"], 2)
    assert (finished / "config.yaml").read_text() == before
