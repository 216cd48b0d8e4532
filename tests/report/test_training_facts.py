"""How a network was trained, in words: what a reader of a report or a card has to know, and nobody's folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seg_scse.config import load_config
from seg_scse.report import write_report
from seg_scse.report.reading import read_results
from seg_scse.report.training_facts import RunFiles, facts_of_results, training_facts

from .drawn_evaluation import CHECKPOINT

Run = Callable[..., Path]
AT = (3, 60)
NOTHING = RunFiles({}, {})


def facts(*overrides: str, told: dict[str, Any] | None = None, moved: dict[str, Any] | None = None) -> dict[str, str]:
    return dict(training_facts(load_config(None, list(overrides)), AT, RunFiles(told or {}, moved or {})))


def test_a_plain_recipe_says_nothing_of_what_it_has_not() -> None:
    found = facts("model.encoder_weights=null")
    assert found["Recipe"] == "default"
    assert found["Start"] == "random weights"
    assert found["Weights"] == "after epoch 3, step 60"
    assert found["Loss"] == "1 ce + 1 dice"
    assert found["Augmentation"] == "light"
    assert found["Computed on"] == "unknown, unknown"
    assert not {"Frozen", "Resumed"} & found.keys()


def test_the_recipe_is_named() -> None:
    found = facts("recipe=nnunet_like")
    assert found["Recipe"] == "nnunet_like"
    assert found["Loss"] == "1 ce + 1 dice, deep supervision at 3 coarser stages"
    assert found["Optimizer"].startswith("sgd, learning rate 0.01, weight decay 3e-05, poly schedule")
    assert found["Augmentation"] == "heavy"


@pytest.mark.parametrize(
    ("overrides", "term", "words"),
    [
        (
            ("averaging.method=ema", "averaging.decay=0.99"),
            "Weights",
            "after epoch 3, step 60: exponential moving average over the steps, decay 0.99",
        ),
        (
            ("averaging.method=swa", "averaging.start=0.5"),
            "Weights",
            "after epoch 3, step 60: from 50% of the run on, the mean over the ends of the epochs (SWA)",
        ),
        (("loss.class_weights=[1, 2.5]",), "Loss", "1 ce + 1 dice, class weights 1, 2.5"),
        (
            ("loss.class_balance=inverse",),
            "Loss",
            "1 ce + 1 dice, class weights from the pixels of the training masks (inverse)",
        ),
        (
            ("loss.hardest=0.25", "loss.label_smoothing=0.1"),
            "Loss",
            "1 ce + 1 dice, ce and focal of the 0.25 of the pixels with the largest loss, label smoothing 0.1",
        ),
        (("model.deep_supervision=1",), "Loss", "1 ce + 1 dice, deep supervision at 1 coarser stage"),
        (
            ("optimizer.lr_factors={encoder: 0.1}", "optimizer.layer_decay=0.7"),
            "Optimizer",
            "adamw, learning rate 0.001, weight decay 0.01, cosine schedule, 0 steps of warm-up, learning rate of the "
            "encoder x 0.1, layer decay 0.7",
        ),
        (
            ("trainer.accumulate=4", "trainer.hard_share=0.25"),
            "Batches",
            "8 crops of 256 x 256 px (placed: random), an unknown number of processes, 4 of them for a step, "
            "25% of the crops from images in proportion to their errors",
        ),
        (
            ("augmentation.mix=cutmix", "augmentation.mix_share=0.3"),
            "Augmentation",
            "light, cutmix in 30% of the batches",
        ),
        (
            ("finetune.source=owner/name", "finetune.freeze=[encoder]"),
            "Frozen",
            "encoder, with the statistics of BatchNorm, all the time",
        ),
        (
            ("finetune.source=owner/name", "finetune.freeze=[encoder, gates]", "finetune.unfreeze_epoch=1"),
            "Frozen",
            "encoder and gates, with the statistics of BatchNorm, for 1 epoch",
        ),
    ],
)
def test_what_differs_from_the_default_is_said(overrides: tuple[str, ...], term: str, words: str) -> None:
    assert facts(*overrides)[term] == words


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("owner/name", "owner/name"),
        ("runs/nuclei", "runs/nuclei"),
        ("/data/somebody/runs/nuclei", "nuclei"),
        ("/data/somebody/runs/nuclei/checkpoints/best.ckpt", "nuclei"),
        ("../somebody/unet.safetensors", "unet.safetensors"),
    ],
)
def test_the_source_of_a_fine_tuning_is_named_without_its_folders(source: str, name: str) -> None:
    assert facts(f"finetune.source={source}")["Start"] == f"fine-tuned from {name}"


def test_what_a_fine_tuning_took_from_its_source_is_counted() -> None:
    actions = ["loaded", "loaded", "adapted", "new"]
    tensors = {f"tensor{number}": {"part": "encoder", "action": action} for number, action in enumerate(actions)}
    found = facts("finetune.source=owner/name", "finetune.statistics=source", moved={"tensors": tensors})
    assert found["Start"] == "fine-tuned from owner/name; tensors: 2 loaded, 1 adapted, 1 new; standardised as there"


def test_where_a_run_was_resumed_and_with_what_is_said_without_folders() -> None:
    changes = [
        "changed: trainer.max_epochs: 3 -> 5",
        "changed: model.weights: None -> '/data/somebody/x'",
        "schedule: ends at step 90",
    ]
    resumed = [{"step": 20, "changes": []}, {"step": 41, "changes": changes}]
    words = "at step 20; at step 41 with trainer.max_epochs: 3 -> 5, another model.weights"
    assert facts(told={"resumed": resumed})["Resumed"] == words


@pytest.mark.parametrize("text", ["", "no json", "[1]"])
def test_a_damaged_file_of_the_run_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert RunFiles.of(tmp_path) == NOTHING == RunFiles.of(None)


def test_the_report_says_how_the_network_was_trained(make_run: Run) -> None:
    config = load_config(None, ["averaging.method=ema", "finetune.source=<b>/<i>"]).model_dump(mode="json")
    folder = make_run(config=config)
    (folder.parents[1] / "run.json").write_text(json.dumps({"device": "a device", "precision": "bf16"}))
    html = write_report(folder).read_text()
    section = html.partition('<section id="training">')[2].partition("</section>")[0]
    assert "exponential moving average over the steps, decay 0.999" in section
    assert "fine-tuned from &lt;b&gt;/&lt;i&gt;" in section
    assert "a device, bf16" in section
    assert "<img" not in section  # no epochs.csv, no curves
    assert '<a href="#training">' in html


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": {"name": "drawn", "key_of_another_version": 1}},
        {"predictions": "folder", "checkpoint": None},
        {"members": [CHECKPOINT | {"run": "a"}], "checkpoint": None},
    ],
    ids=["no configuration", "another version", "predictions of a folder", "several networks"],
)
def test_nothing_is_said_where_no_training_of_one_network_is_known(make_run: Run, changes: dict[str, Any]) -> None:
    folder = make_run(**changes)
    assert facts_of_results(read_results(folder / "results.json"), folder.parents[1]) == []


def test_of_a_cross_validation_what_all_folds_share_is_said(make_run: Run) -> None:
    config = load_config(None, []).model_dump(mode="json")
    folder = make_run(members=[CHECKPOINT | {"run": "fold-0"}], folds=2, checkpoint=None, config=config)
    found = dict(facts_of_results(read_results(folder / "results.json"), folder.parents[1]))
    assert found["Recipe"] == "default"
    assert not {"Weights", "Computed on"} & found.keys()
