"""What may change when a run is resumed, on the real command line."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seg_scse import checkpoint, distributed
from seg_scse.cli import main
from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.errors import ConfigError
from seg_scse.training.loop import Trainer
from seg_scse.training.resuming import Plan, differences

from ..launching import small_config

Refused = Callable[[list[str], int], str]


@pytest.fixture(scope="module")
def config(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_config(tmp_path_factory.mktemp("resuming"), discs, "panel: 0, workers: 0")


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    original = Trainer._step

    def watched(self: Trainer, *given: object) -> object:
        result = original(self, *given)
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    patch.setattr(Trainer, "_step", watched)


@pytest.fixture(scope="module")
def stopped_once(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of four steps, stopped after the sixth."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)
        assert main(["train", "--config", str(config), "--out", str(folder)]) == 143
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.fixture(scope="module")
def finished_once(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "--config", str(config), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_once, tmp_path / "run"))


def facts(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def progress(folder: Path) -> dict:
    return checkpoint.load(folder / checkpoint.LAST)[0]["progress"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / checkpoint.LAST)[0]["model"]


def resume(folder: Path, *words: str) -> int:
    return main(["train", "--resume", str(folder), *words])


def seen_samples(patch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collect the samples of each step from now on."""
    found, original = [], Trainer._step

    def watched(self: Trainer, *given: object) -> object:
        result = original(self, *given)
        found.append(list(result.indices))
        return result

    patch.setattr(Trainer, "_step", watched)
    return found


def test_every_changed_setting_is_named_and_refused(stopped: Path, refused: Refused) -> None:
    before = (stopped / checkpoint.LAST).read_bytes()
    text = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(text.replace("weight_decay: 0.01", "weight_decay: 0.02"))
    message = refused(["train", "--resume", str(stopped), "optimizer.lr=1e-4", "trainer.workers=0"], 2)
    assert "not as the checkpoint was written: 2 settings differ:" in message
    assert "- optimizer.lr: 0.001 -> 0.0001" in message
    assert "- optimizer.weight_decay: 0.01 -> 0.02" in message
    assert "Undo it, or go on with it: --allow-change." in message
    assert (stopped / checkpoint.LAST).read_bytes() == before


def test_settings_without_influence_on_the_weights_change_freely(stopped: Path, finished_once: Path) -> None:
    assert resume(stopped, "trainer.save_every_steps=3", "trainer.panel=1", "trainer.workers=1") == 0
    assert all(torch.equal(value, weights(finished_once)[name]) for name, value in weights(stopped).items())
    (line,) = facts(stopped)["resumed"]
    assert (line["step"], line["changes"], line["processes"], line["samples"]) == (6, [], 1, 2)
    assert line["versions"]["torch"] == torch.__version__.split("+")[0]
    assert load_config(stopped / "config.yaml").trainer.save_every_steps == 3
    for name in ("epochs.csv", "steps.csv"):
        assert (stopped / name).read_bytes() == (finished_once / name).read_bytes()


def test_a_new_end_says_what_becomes_of_the_schedule(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer.max_epochs=5", "optimizer.schedule=poly", "optimizer.weight_decay=0.5"]
    assert resume(stopped, "--allow-change", *words) == 0
    said = capsys.readouterr().out
    assert "changed: trainer.max_epochs: 3 -> 5" in said
    old = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 6 / 12)))
    rates = f"learning rate of the next step, 6: {1e-3 * (0.01 + 0.99 * (1 - 6 / 20) ** 0.9):g} instead of"
    assert f"schedule: ends at step 20 instead of 12; {rates} {1e-3 * (0.01 + 0.99 * float(old)):g}" in said
    assert progress(stopped)["step"] == 20
    assert facts(stopped)["steps"] == 20
    assert load_config(stopped / "config.yaml").optimizer.schedule == "poly"
    state, _ = checkpoint.load(stopped / checkpoint.LAST)
    assert state["config"]["trainer"]["max_epochs"] == 5
    assert state["optimizer"]["param_groups"][0]["weight_decay"] == 0.5
    capsys.readouterr()
    assert resume(stopped) == 0
    assert "already finished after 5 epochs" in capsys.readouterr().out


def test_a_finished_run_goes_on_when_it_is_made_longer(finished: Path, refused: Refused) -> None:
    assert "trainer.max_epochs: 3 -> 4" in refused(["train", "--resume", str(finished), "trainer.max_epochs=4"], 2)
    assert resume(finished, "--allow-change", "trainer.max_epochs=4") == 0
    assert (progress(finished)["step"], progress(finished)["epoch"]) == (16, 4)
    assert len((finished / "epochs.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_between_two_epochs_of_which_none_is_left_any_more_has_ended(
    finished: Path, epochs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    state, _ = checkpoint.load(finished / checkpoint.BEST)
    state["progress"] |= {"step": 8, "epoch": 2, "finished": False}
    checkpoint.save(finished / checkpoint.LAST, state)
    assert resume(finished, "--allow-change", f"trainer.max_epochs={epochs}") == 0
    assert "already finished after 2 epochs" in capsys.readouterr().out
    assert progress(finished)["step"] == 8


def test_a_run_past_its_new_end_is_validated_and_ends_where_it_is(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(stopped, "--allow-change", "trainer.max_steps=2") == 0
    assert "schedule: ends at step 6 instead of 12\n" in capsys.readouterr().out
    assert (progress(stopped)["step"], progress(stopped)["epoch"], progress(stopped)["finished"]) == (6, 2, True)
    assert facts(stopped)["steps"] == 6
    last = (stopped / "epochs.csv").read_text().splitlines()[-1].split(",")
    assert last[:2] == ["1", "6"]
    assert "" not in last


def test_other_batches_let_the_epoch_begin_anew(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = seen_samples(monkeypatch)
    assert resume(stopped, "--allow-change", "trainer.batch_size=4") == 0
    said = capsys.readouterr().out
    assert "the current epoch begins anew: its steps would see other samples" in said
    assert "ends at step 10 instead of 12" in said, "4 steps before the epoch, 2 in it so far, 2 + 2 to come"
    assert [len(step) for step in found] == [4] * 4
    for epoch in (found[:2], found[2:]):
        assert len({index for step in epoch for index in step}) == 8


def test_the_same_step_in_smaller_batches_goes_on_in_the_epoch(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = seen_samples(monkeypatch)
    assert resume(stopped, "--allow-change", "trainer.batch_size=1", "trainer.accumulate=2") == 0
    assert "begins anew" not in capsys.readouterr().out
    assert [len(step) for step in found] == [2] * 6, "two steps of the epoch were left, then four"
    assert progress(stopped)["step"] == 12


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["model.width=8"], "model.width: 4 -> 8 (the weights fit no other network)"),
        (["model.attention.type=scse"], "(the weights fit no other network)"),
        (["data.classes=[background, cell]"], "data.classes: "),
        (["data.split.seed=3"], "(the samples stay as splits.csv divides them)"),
        (["optimizer.name=sgd"], "(the state of another optimizer means nothing to it)"),
        (["loss.terms={ce: 1.0}"], "loss.terms.dice: 1.0 -> None (steps.csv has a column for each term"),
        (["averaging.method=ema"], "averaging.method: 'none' -> 'ema'"),
        (["trainer.monitor=iou_pooled"], "(the best checkpoint so far was chosen by the other)"),
    ],
    ids=lambda value: value[0].split("=")[0] if isinstance(value, list) else "",
)
def test_what_cannot_change_is_refused_even_if_allowed(
    stopped_once: Path, words: list[str], why: str, refused: Refused
) -> None:
    message = refused(["train", "--resume", str(stopped_once), "--allow-change", *words], 2)
    assert "a run cannot go on with this change:" in message
    assert why in message
    assert f"fine-tune from the run instead: train.py --config FILE --from {stopped_once}" in message


def test_changed_data_need_to_be_allowed(
    stopped: Path, discs: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(discs, tmp_path / "data")
    (tmp_path / "data" / "images" / "s00.png").write_bytes((discs / "images" / "s01.png").read_bytes())
    moved = f"data.root={tmp_path / 'data'}"
    message = refused(["train", "--resume", str(stopped), moved], 6)
    assert "the images or masks are not those of the checkpoint" in message
    assert "--allow-change" in message
    before = checkpoint.load(stopped / checkpoint.LAST)[0]
    assert resume(stopped, "--allow-change", moved) == 0
    assert "changed: the images or masks; the standardisation stays" in capsys.readouterr().out
    after = checkpoint.load(stopped / checkpoint.LAST)[0]
    assert after["data_digest"] != before["data_digest"]
    assert after["mean"] == before["mean"]
    assert resume(stopped, moved) == 0, "the new data are now those of the run"


def test_precision_changes_as_a_cure_for_divergence(stopped: Path) -> None:
    assert resume(stopped, "--allow-change", "trainer.precision=bf16") == 0
    assert progress(stopped)["finished"]


@pytest.mark.parametrize(("world", "samples"), [(1, 8), (2, 4), (8, 1)])
def test_the_batch_is_divided_among_the_processes(
    stopped_once: Path, monkeypatch: pytest.MonkeyPatch, world: int, samples: int
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    config = load_config(stopped_once / "config.yaml")
    state = {**checkpoint.load(stopped_once / checkpoint.LAST)[0], "processes": 4, "world": 4}
    plan = Plan.of(stopped_once, config, config, state, allowed=False)
    assert (plan.samples, plan.processes, plan.anew) == (samples, 4, False)
    (line,) = plan.lines(state)
    assert f"4 -> {world} processes: a step's batch stays 8 samples, now {world} x {samples}" in line


def test_a_batch_that_the_processes_do_not_divide_is_refused(
    stopped_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    config = load_config(stopped_once / "config.yaml")
    state = {**checkpoint.load(stopped_once / checkpoint.LAST)[0], "processes": 4, "world": 4}
    with pytest.raises(
        ConfigError, match=r"4 x 2 samples cannot be divided among 3 processes.*divide 8 \(1, 2, 4, 8\)"
    ):
        Plan.of(stopped_once, config, config, state, allowed=False)
    other = override(config, ["trainer.batch_size=3"])
    plan = Plan.of(stopped_once, config, other, state, allowed=True)
    assert (plan.samples, plan.processes, plan.anew) == (3, 3, True), "a number that is given is per process"


def test_an_automatic_batch_is_no_change() -> None:
    config = load_config(None, ["trainer.batch_size=16"])
    assert differences(config, override(config, ["trainer.batch_size=auto"])) == []
    assert [str(one) for one in differences(config, override(config, ["trainer.batch_size=4"]))] == [
        "trainer.batch_size: 16 -> 4"
    ]


def test_memory_that_runs_out_names_what_needs_less(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    def full(self: Trainer, *_: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(Trainer, "_step", full)
    message = refused(["train", "--resume", str(stopped)], 1)
    assert "step 6: out of memory with batches of 2 crops of 32 x 32 px in fp32" in message
    assert "`trainer.batch_size=1 trainer.accumulate=2` halves it and keeps the step the same" in message
    assert "trainer.precision=bf16" in message
    assert f"Kept: {stopped / checkpoint.LAST}" in message
    assert f"python train.py --resume {stopped} --allow-change" in message
    assert progress(stopped)["step"] == 6
