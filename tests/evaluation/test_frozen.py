import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.attention import probe
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import ConfigError
from seg_scse.evaluation.changed_predictions import Unavailable, remake
from seg_scse.evaluation.comparable import read_candidates, remarks, require_comparable
from seg_scse.evaluation.evaluate import evaluate
from seg_scse.evaluation.frozen import evaluate_frozen
from seg_scse.evaluation.gate_means import MEAN_IMAGES, frozen_gates, gate_means, subset
from seg_scse.evaluation.intervene import intervene
from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.evaluation.tables import Tables

from .runs import FAST, write_run

CPU = torch.device("cpu")


SMALL = ("model.architecture=classic_unet", "model.width=4", "model.depth=2", "model.decoder_channels=null")


def looking(model: nn.Module) -> None:
    """Make the gates follow the image, and the answer the gates."""
    for gate in model.gates.values():
        gate.spatial.project.weight.mul_(20)
        gate.channel.excite.weight.mul_(20)
    model.segmentation_head.weight.mul_(10)


@pytest.fixture
def run(tiny: list[str], tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [*tiny, *SMALL], looking)


def test_the_scores_are_those_of_the_intervention_on_all_gates(run: Path) -> None:
    folder, results = evaluate_frozen(run, "test", FAST)
    _, own = evaluate(run, "test", "best", FAST, notes=False)
    assert folder == run / "evaluation" / "test-frozen"
    assert results["scores"]["dice_per_image"] != own["scores"]["dice_per_image"]
    study, _ = intervene(run, "test", "best")
    with (study / "per_image.csv").open() as stream:
        expected = {row["id"]: float(row["all.mean"]) for row in csv.DictReader(stream)}
    tables = Tables.read(folder)
    found = dict(zip(tables.ids, tables.columns("exclude")["dice"][:, 1], strict=True))
    assert found == pytest.approx(expected, abs=1e-12)


def test_everything_is_measured_and_the_results_say_what_stood_in_for_the_gates(run: Path) -> None:
    folder, results = evaluate_frozen(run, "test", ["evaluation.resamples=1000"])
    _, own = evaluate(run, "test", "best", ["evaluation.resamples=1000"], notes=False)
    assert results["scores"].keys() == own["scores"].keys() >= {"dice_per_image", "iou_per_image", "hd95_per_image"}
    assert json.loads((folder / "results.json").read_text()) == results
    assert results["protocol"] == {**own["protocol"], "gates": "mean"}
    assert "gates" not in own["protocol"]
    assert (results["cost"], own["cost"] is None) == (None, False)
    for key in ("checkpoint", "data", "images", "classes", "config"):
        assert results[key] == own[key]


def test_a_gate_that_does_not_look_at_the_image_is_its_own_mean(tiny: list[str], tmp_path: Path) -> None:
    def lively(model: nn.Module) -> None:
        for gate in model.gates.values():
            gate.score.copy_(torch.linspace(-2, 2, len(gate.score)))

    run = write_run(tmp_path / "run", [*tiny, *SMALL, "model.attention.type=constant"], lively)
    frozen, _ = evaluate_frozen(run, "test", FAST)
    own, _ = evaluate(run, "test", "best", FAST, notes=False)
    assert (frozen / "counts.csv").read_text() == (own / "counts.csv").read_text()


def test_results_of_these_weights_and_settings_are_kept(run: Path, tiny: list[str]) -> None:
    folder, first = evaluate_frozen(run, "test", FAST)
    file = folder / "results.json"
    file.write_text(json.dumps({**first, "created": "earlier"}))
    assert evaluate_frozen(run, "test", FAST)[1]["created"] == "earlier"
    _, other = evaluate_frozen(run, "test", [*FAST, "evaluation.threshold=0.9"])
    assert (other["protocol"]["threshold"], other["created"] != "earlier") == (0.9, True)
    write_run(run, [*tiny, *SMALL])
    _, again = evaluate_frozen(run, "test", [*FAST, "evaluation.threshold=0.9"])
    assert again["checkpoint"]["sha256"] != other["checkpoint"]["sha256"]


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 2, "checkpoint": null}'])
def test_damaged_results_are_made_again(run: Path, content: str) -> None:
    folder = run / "evaluation" / "test-frozen"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(content)
    assert evaluate_frozen(run, "test", FAST)[1]["protocol"]["gates"] == "mean"


def test_the_usual_results_do_not_pass_for_frozen_ones(run: Path) -> None:
    own, _ = evaluate(run, "test", "best", FAST, notes=False)
    shutil.copytree(own, run / "evaluation" / "test-frozen")
    assert evaluate_frozen(run, "test", FAST)[1]["protocol"]["gates"] == "mean"


def test_the_network_is_its_own_again_afterwards(run: Path) -> None:
    loaded = load_run(run, "best")
    predictor, data = build_predictor(loaded, CPU), prepare_data(loaded.config.data, loaded.state["splits"])
    image = data.store.image(data.manifest.indices("test")[0])
    before = predictor.probabilities(image)
    with frozen_gates(predictor, data):
        frozen = predictor.probabilities(image)
    assert not torch.allclose(frozen, before, atol=1e-3)
    assert torch.equal(predictor.probabilities(image), before)


def test_the_means_are_those_of_the_training_images(run: Path) -> None:
    loaded = load_run(run, "best")
    predictor, data = build_predictor(loaded, CPU), prepare_data(loaded.config.data, loaded.state["splits"])
    means = gate_means(predictor, data)["decoder.2"]
    with probe.averaged(predictor.model) as expected:
        for index in data.manifest.indices("train"):
            predictor.probabilities(data.store.image(index))
    assert torch.equal(means.channel, expected()["decoder.2"].channel)
    assert torch.equal(means.spatial, expected()["decoder.2"].spatial)


def test_of_many_training_images_a_seeded_hundred_is_taken() -> None:
    chosen = subset(range(500), MEAN_IMAGES, seed=0)
    assert len(set(chosen)) == 100
    assert (
        chosen == sorted(chosen) == subset(range(500), MEAN_IMAGES, seed=0) != subset(range(500), MEAN_IMAGES, seed=1)
    )
    assert np.max(chosen) > 400, "from all of them"


def test_gates_that_cannot_be_separated_are_named(tiny: list[str], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [*tiny, *SMALL, "model.attention.type=cbam"])
    with pytest.raises(ConfigError) as error:
        evaluate_frozen(run, "test")
    assert str(error.value) == (
        "gates without a channel or spatial gate by itself have no mean that could stand in for them: "
        "decoder.1 (cbam), decoder.2 (cbam). This control is for cse, sse, scse, constant and attention_gate."
    )
    assert not (run / "evaluation").exists()


def test_a_network_without_gates_is_refused(tiny: list[str], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [*tiny, *SMALL, "model.attention.type=none"])
    with pytest.raises(
        ConfigError, match=re.escape(f"{run} has no gates to replace: it was trained with model.attention.type = none.")
    ):
        evaluate_frozen(run, "test")


def test_a_comparison_with_the_network_itself_says_what_differs(run: Path) -> None:
    frozen, _ = evaluate_frozen(run, "test", FAST)
    own, _ = evaluate(run, "test", "best", FAST, notes=False)
    candidates = read_candidates([own, frozen], "test")
    require_comparable(candidates, "dice")
    assert "`gates` differs: own in run/test, mean in run/test-frozen." in remarks(candidates)
    assert remake(candidates[1], candidates[1].tables.ids[:1]) == Unavailable(
        "No pictures: the predictions of run/test-frozen could not be made again (its gates were replaced by their "
        "means)."
    )
