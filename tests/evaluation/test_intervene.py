import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.attention import SCSE, Site, attach_gates
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import ConfigError
from seg_scse.evaluation import effects
from seg_scse.evaluation import intervene as module
from seg_scse.evaluation.evaluate import evaluate
from seg_scse.evaluation.intervene import intervene
from seg_scse.evaluation.partners import fitted, partners_of, with_partners
from seg_scse.inference.predictor import Predictor

from .runs import write_run

ROOT = Path(__file__).parents[2]
KINDS = ["identity", "mean", "other", "shuffled"]
Run = Callable[..., Path]


@pytest.fixture
def run(tiny: list[str], tmp_path: Path) -> Run:
    def write(*overrides: str, change: Callable[[nn.Module], None] = lambda model: None) -> Path:
        return write_run(tmp_path / "run", [*tiny, "data.split.test=0.5", "data.split.train=0.25", *overrides], change)

    return write


def changes(results: dict[str, Any], site: str) -> dict[str, tuple[float, float, float]]:
    (row,) = [row for row in results["table"] if row["site"] == site]
    found = {name: cell["change"] for name, cell in row["interventions"].items()}
    return {name: (change["mean"], change["low"], change["high"]) for name, change in found.items()}


def freeze(model: nn.Module) -> None:
    """Make the gates of one stage independent of the image."""
    for name, parameter in model.gates["decoder_5"].named_parameters():
        parameter.zero_()
        if name.endswith("excite.bias"):
            parameter.copy_(torch.linspace(-1, 1, len(parameter)))


def test_a_constant_gate_costs_nothing_to_freeze_or_to_take_from_another_image(run: Run) -> None:
    folder, results = intervene(run("model.attention.sites=[decoder.4, decoder.5]", change=freeze), "test", "best")
    found = changes(results, "decoder.5")
    assert found["mean"] == found["other"] == (0.0, 0.0, 0.0)
    assert [row["site"] for row in results["table"]] == ["decoder.4", "decoder.5", "all"]
    assert (results["table"][1]["verdict"], results["table"][1]["reason"]) == ("undecided", "fewer than 20 images")
    assert results["table"][2]["kind"] == "2 gates"
    assert json.loads((folder / "interventions.json").read_text()) == results
    assert folder.parts[-2:] == ("explain", "interventions-test")


def freeze_spatial(model: nn.Module) -> None:
    for parameter in model.gates["decoder_5"].parameters():
        parameter.zero_()


def test_shuffling_the_pixels_of_a_constant_spatial_gate_costs_nothing(run: Run) -> None:
    path = run("model.attention.type=sse", "model.attention.sites=[decoder.5]", change=freeze_spatial)
    _, results = intervene(path, "test", "best")
    found = changes(results, "decoder.5")
    assert found["shuffled"] == found["mean"] == (0.0, 0.0, 0.0)
    assert len(results["table"]) == 1, "one gate is all gates: no second row says the same"


def test_the_untouched_network_scores_as_in_the_evaluation(run: Run) -> None:
    path = run("model.attention.sites=[decoder.5]")
    folder, results = intervene(path, "test", "best")
    _, evaluated = evaluate(path, "test", "best")
    for name in ("dice_per_image", "dice_pooled"):
        assert results["untouched"][name] == evaluated["scores"][name]["foreground"]
    assert (results["checkpoint"], results["images"]) == (evaluated["checkpoint"], evaluated["images"])
    with (folder / "per_image.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "group", "all.untouched", *(f"decoder.5.{kind}" for kind in KINDS)]
    differences = [float(row["decoder.5.identity"]) - float(row["all.untouched"]) for row in rows]
    assert changes(results, "decoder.5")["identity"][0] == pytest.approx(np.mean(differences), abs=1e-12)


class Essential(nn.Module):
    """Segments by its gate alone: the features say only where something is bright, and the gate turns that into 0 / 1.

    The feature map has the brightness in channel 0 and a constant in channel 1, of which the head takes the latter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1)
        self.head = nn.Conv2d(2, 1, 1)
        attach_gates(
            self, [Site("only", "features")], lambda channels: SCSE(channels, channel=False), torch.rand(1, 3, 8, 8)
        )
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0]])[:, :, None, None])
            self.features.bias.copy_(torch.tensor([0.0, 1.0]))
            project = self.gates["only"].spatial.project
            project.weight.copy_(torch.tensor([[60.0, 0.0]]))
            project.bias.copy_(torch.tensor([-60 * (115 / 255 - 0.3) / 0.2]))
            self.head.weight.copy_(torch.tensor([[0.0, 20.0]])[:, :, None, None])
            self.head.bias.fill_(-10.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def test_an_essential_gate_earns_its_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path, build = run("model.attention.sites=[decoder.5]"), module.build_predictor

    def essential(*arguments: Any) -> Predictor:
        predictor = build(*arguments)
        return Predictor(**{**vars(predictor), "model": Essential()})

    monkeypatch.setattr(module, "build_predictor", essential)
    monkeypatch.setattr(effects, "LEAST_UNITS", 6)
    _, results = intervene(path, "test", "best")
    assert results["untouched"]["dice_per_image"] > 0.95
    for kind, (mean, low, high) in changes(results, "only").items():
        assert low <= mean <= high < -0.2, kind
    assert results["table"][0]["verdict"] == "earns its place"


def test_finished_cells_are_reused_and_an_interrupted_study_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path, counted = run("model.attention.sites=[decoder.5]"), []
    count = module.count_split

    def stop_at_third(*arguments: Any, progress: str, **others: Any) -> Any:
        if len(counted) == 3 and "interrupted" not in counted:
            counted.append("interrupted")
            raise KeyboardInterrupt
        counted.append(progress)
        return count(*arguments, progress=progress, **others)

    monkeypatch.setattr(module, "count_split", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        intervene(path, "test", "best")
    folder, results = intervene(path, "test", "best")
    assert counted == [
        "[1/5] all untouched", "[2/5] decoder.5 identity", "[3/5] decoder.5 mean", "interrupted",
        "[4/5] decoder.5 other", "[5/5] decoder.5 shuffled",
    ]  # fmt: skip
    _, again = intervene(path, "test", "best")
    assert len(counted) == 6
    assert again["table"] == results["table"]
    (folder / "cells" / "notes.txt").write_text("a file of somebody else")
    _, _whole = intervene(path, "test", "best", seed=1)
    assert len(counted) == 11, "another seed is another study"
    assert len(list((folder / "cells").glob("*/"))) == 1, "and the cells of the former are discarded"
    assert (folder / "cells" / "notes.txt").exists()


def test_a_limit_takes_a_seeded_random_subset_and_says_so(run: Run) -> None:
    path = run("model.attention.sites=[decoder.5]")
    drawn = {}
    for seed in (0, 1):
        folder, results = intervene(path, "test", "best", limit=3, seed=seed)
        with (folder / "per_image.csv").open() as stream:
            drawn[seed] = [row["id"] for row in csv.DictReader(stream)]
        assert (results["images"], results["data"]["samples"]["test"]) == (3, 6)
    assert drawn[0] != drawn[1]
    assert all(names == sorted(names) and len(set(names)) == 3 for names in drawn.values())


def test_groups_of_the_manifest_are_the_units(run: Run) -> None:
    path = run("model.attention.sites=[decoder.5]", r"data.split.group=s\d(\d)")
    _, results = intervene(path, "test", "best", sites=["decoder"])
    change = results["table"][0]["interventions"]["identity"]["change"]
    assert results["protocol"]["unit"] == "group"
    assert change["n"] < results["images"]


def test_sites_can_be_chosen_and_unknown_ones_are_named(run: Run) -> None:
    path = run()
    _, results = intervene(path, "test", "best", sites=["decoder.2", "decoder.5"], limit=2)
    assert [row["site"] for row in results["table"]] == ["decoder.2", "decoder.5"]
    with pytest.raises(ConfigError, match=r"`decoder.7`: the network has no gate there. Sites with gates: decoder.1, "):
        intervene(path, "test", "best", sites=["decoder.7"])


def test_blocks_without_separate_gates_are_replaced_by_identity_only(run: Run) -> None:
    path = run("model.attention.type=cbam", "model.attention.sites=[decoder.4, decoder.5]")
    _, results = intervene(path, "test", "best", limit=2)
    assert [list(row["interventions"]) for row in results["table"]] == [["identity"]] * 3
    assert [row["verdict"] for row in results["table"]] == [None] * 3


def test_a_run_without_gates_and_a_single_image_are_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no gates to replace: it was trained with model.attention.type = none"):
        intervene(run("model.attention.type=none"), "test", "best")
    with pytest.raises(ConfigError, match="the test split or `limit` leaves 1"):
        intervene(run(), "test", "best", limit=1)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_no_image_is_its_own_partner_and_each_is_one(count: int, seed: int) -> None:
    indices = list(range(10, 10 + count))
    partners = partners_of(indices, seed)
    assert sorted(partners) == sorted(partners.values()) == indices
    assert all(image != partner for image, partner in partners.items())


def test_a_partner_is_cut_or_mirrored_and_never_resampled() -> None:
    partner = np.arange(3 * 4).reshape(3, 4, 1).astype(np.uint8)
    assert np.array_equal(fitted(partner, np.zeros((2, 3, 1)))[..., 0], partner[:2, :3, 0])
    padded = np.pad(partner, ((0, 4), (0, 0), (0, 0)), mode="reflect")
    assert np.array_equal(fitted(partner, np.zeros((7, 4, 1))), padded)
    assert np.array_equal(fitted(partner[:1], np.zeros((2, 4, 1))), np.repeat(partner[:1], 2, axis=0))


def test_pairs_leave_the_prediction_of_an_untouched_network_as_it_is(run: Run) -> None:
    loaded = module.load_run(run(), "best")
    predictor = module.build_predictor(loaded, torch.device("cpu"))
    data = prepare_data(loaded.config.data, loaded.state["splits"])
    paired, pairs = with_partners(predictor, data, [1, 4], seed=0)
    alone = predictor.probabilities(np.asarray(data.store.image(1)))
    torch.testing.assert_close(paired.probabilities(pairs.store.image(1)), alone, rtol=1e-5, atol=1e-5)
    assert np.array_equal(pairs.store.image(1)[..., 3:], data.store.image(4))
    assert np.array_equal(pairs.store.mask(1), data.store.mask(1))


@pytest.mark.slow
def test_several_processes_count_what_one_counts_and_one_of_them_writes(run: Run) -> None:
    path = run("model.attention.sites=[decoder.5]")
    folder, alone = intervene(path, "test", "best")
    shutil.rmtree(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code = "import sys; from seg_scse.cli import main; sys.exit(main())"
    words = ["--no-python", sys.executable, "-c", code, "explain", str(path), "--intervene"]
    result = subprocess.run([*command, *words], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert result.stdout.count("written: ") == 1
    assert json.loads((folder / "interventions.json").read_text())["table"] == alone["table"]
