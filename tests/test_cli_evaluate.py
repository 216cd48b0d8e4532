import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.cli import main
from seg_scse.evaluation.tables import Tables

from .evaluation.runs import FAST, another

ROOT = Path(__file__).parents[1]
Refused = Callable[[list[str], int], str]


@pytest.fixture(scope="module")
def seeds(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two runs of one experiment."""
    folder = tmp_path_factory.mktemp("seeds")
    return [str(another(trained, folder / f"seed{seed}", seed)) for seed in (1, 2)]


def printed_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_several_runs_are_scored_each_and_then_together(seeds, capsys):
    assert main(["evaluate", seeds[0], "--split", "test", seeds[1], *FAST]) == 0
    out = capsys.readouterr().out
    folder = Path(seeds[0]).parent / "seed1+seed2-test"
    summary = json.loads((folder / "runs.json").read_text())
    for run in seeds:
        assert f"run: {run}\n" in out
        assert (Path(run) / "evaluation" / "test" / "report.html").exists()
    assert "2 runs, test split, 3 images" in out
    assert f"written: {folder / 'runs.csv'}" in out
    mean, (low, high) = (summary[key]["dice_per_image"]["foreground"] for key in ("mean", "intervals"))
    assert f"{mean:.4f}" in out
    assert f"{low:.4f} to {high:.4f}" in out


def test_the_table_over_runs_goes_where_it_was_asked_to(seeds, tmp_path, capsys):
    assert main(["evaluate", *seeds, "--out", str(tmp_path / "table"), "--json", *FAST]) == 0
    summary = printed_json(capsys)
    assert summary["folder"] == str(tmp_path / "table")
    assert {path.name for path in (tmp_path / "table").iterdir()} == {"runs.json", "runs.csv"}


def test_an_ensemble_is_reported_like_a_run(seeds, tmp_path, capsys):
    assert main(["evaluate", *seeds, "--ensemble", "--out", str(tmp_path / "out"), "--json", *FAST]) == 0
    results = printed_json(capsys)
    assert len(results["members"]) == 2
    assert results["report"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.md").exists()


def test_an_ensemble_of_last_checkpoints_does_not_replace_that_of_the_best(seeds, tmp_path, capsys):
    runs = [shutil.copytree(seed, tmp_path / Path(seed).name) for seed in seeds]
    for run in runs:
        shutil.copy(run / "checkpoints" / "best.ckpt", run / "checkpoints" / "last.ckpt")
    assert main(["evaluate", *map(str, runs), "--ensemble", "--checkpoint", "last", "--json", *FAST]) == 0
    results = printed_json(capsys)
    assert [member["file"] for member in results["members"]] == ["checkpoints/last.ckpt"] * 2
    evaluations = tmp_path / "seed1+seed2-ensemble" / "evaluation"
    assert [path.name for path in evaluations.iterdir()] == ["test-last"]
    assert [(evaluations / "test-last" / place).resolve() for place in results["sources"]] == [
        run / "checkpoints" / "last.ckpt" for run in runs
    ]


def test_options_reach_the_evaluation(seeds, tmp_path, capsys):
    options = ["--tta", "flips", "--threshold", "0.25", "--save-predictions", str(tmp_path / "maps")]
    assert main(["evaluate", seeds[0], *options, "--out", str(tmp_path / "out"), "--json", *FAST]) == 0
    protocol = printed_json(capsys)["protocol"]
    assert (protocol["tta"], protocol["threshold"], protocol["threshold_from"]) == ("flips", 0.25, "option")
    assert {path.stem for path in (tmp_path / "maps").iterdir()} == set(Tables.read(tmp_path / "out").ids)


def test_masks_are_scored_from_the_command_line(tmp_path, capsys):
    for folder, value in (("truth", 255), ("guess", 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / folder / "a.png")
    overrides = ["data.mask.encoding=binary", "data.classes=[background, cell]"]
    folders = [str(tmp_path / "truth"), str(tmp_path / "guess")]
    assert main(["evaluate", "--masks-only", *folders, *overrides, *FAST]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert (tmp_path / "guess-evaluation" / "all" / "report.html").exists()


def test_a_folder_of_predictions_is_scored_against_data(seeds, tiny, tmp_path, capsys):
    maps, config = tmp_path / "maps", tmp_path / "discs.yaml"
    config.write_text("seed: 0\n")
    assert main(["evaluate", seeds[0], "--save-predictions", str(maps), "--json", *FAST]) == 0
    network = printed_json(capsys)
    data = [text for text in tiny if text.startswith("data.")]
    assert main(["evaluate", str(maps), "--data", str(config), "--split", "test", "--json", *data, *FAST]) == 0
    assert printed_json(capsys)["scores"] == network["scores"]
    assert (tmp_path / "maps-evaluation" / "test" / "report.html").exists()


def test_a_run_and_a_folder_are_told_apart(seeds, tmp_path, refused: Refused):
    message = refused(["evaluate", str(tmp_path)], 2)
    assert f"{tmp_path}: is no run, for it has neither config.yaml nor checkpoints. If it holds predictions" in message
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.yaml").touch()
    assert "no checkpoints/best.ckpt" in refused(["evaluate", str(tmp_path / "untrained")], 6)
    (tmp_path / "data.yaml").write_text("seed: 0\n")
    message = refused(["evaluate", seeds[0], "--data", str(tmp_path / "data.yaml"), "--encoding", "index"], 2)
    assert "--encoding says how files of predictions are read" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "nothing to score: name a run"),
        (["--masks-only", "a", "b", "run"], "--masks-only: RUN has no meaning here"),
        (["--masks-only", "a", "b", "--split", "val"], "--masks-only: --split has no meaning here"),
        (["--masks-only", "a", "b", "--threshold", "0.4"], "--masks-only: --threshold has no meaning here"),
        ([".", "--data", "x.yaml", "--tta", "d4"], ". is a folder of predictions, no run: --tta has no meaning here"),
        ([".", "--data", "x.yaml", "--save-predictions", "y"], "--save-predictions has no meaning here"),
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments, part, refused: Refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert part in refused(["evaluate", *arguments], 2)


@pytest.mark.parametrize("value", ["0", "1", "1.5", "tune:test", "half"])
def test_a_threshold_is_a_probability_or_tuned(value, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "run", "--threshold", value])
    assert caught.value.code == 2
    assert f"`{value}` is neither a number between 0 and 1 nor tune:val" in capsys.readouterr().err


def test_help_shows_an_example_of_each_use(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    out = capsys.readouterr().out
    for part in (
        "--ensemble",
        "--data",
        "--masks-only truth predictions",
        "tune:val",
        "--save-predictions",
        "torchrun",
    ):
        assert part in out[out.index("examples:") :], part


def test_folders_of_predictions_are_scored_one_at_a_time(seeds, tmp_path, refused: Refused):
    said = f"{tmp_path} is a folder of predictions, no run: score one such folder at a time"
    assert said in refused(["evaluate", seeds[0], str(tmp_path), "--data", "x.yaml"], 2)


def test_runs_of_one_name_keep_their_own_predictions_and_columns(seeds, tmp_path, capsys):
    runs = [shutil.copytree(seed, tmp_path / name / "run") for name, seed in zip("ab", seeds, strict=True)]
    saved = ["--save-predictions", str(tmp_path / "maps")]
    assert main(["evaluate", *map(str, runs), *saved, "--json", *FAST]) == 0
    summary = printed_json(capsys)
    assert [run["run"] for run in summary["runs"]] == ["a-run", "b-run"]
    assert summary["folder"] == str(tmp_path / "a" / "a-run+b-run-test")
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"a-run", "b-run"}


def test_overrides_are_told_from_runs_whose_names_hold_an_equals_sign(seeds, tmp_path, refused: Refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(seeds[0], tmp_path / "lr=0.1")
    assert main(["evaluate", "lr=0.1", *FAST]) == 0
    assert (tmp_path / "lr=0.1" / "evaluation" / "test" / "results.json").exists()
    assert "`evaluaton=3` cannot be changed here" in refused(["evaluate", "lr=0.1", "evaluaton=3"], 2)


@pytest.mark.slow
def test_two_processes_measure_each_image_once(seeds, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "evaluate.py"]
    options = ["--split", "train", "evaluation.centerline=true", "evaluation.objects=true", "evaluation.resamples=1000"]
    chosen = [*options, "--save-predictions", str(tmp_path / "maps"), "--out"]
    result = subprocess.run(
        [*command, seeds[0], *chosen, str(tmp_path / "both")], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "maps").iterdir())) == 6
    assert main(["evaluate", seeds[0], *chosen, str(tmp_path / "alone")]) == 0
    for name in ("counts.csv", "surfaces.csv", "objects.csv", "centerlines.csv", "probabilities.json"):
        assert (tmp_path / "both" / name).read_text() == (tmp_path / "alone" / name).read_text(), name
    both, alone = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("both", "alone"))
    for key in ("scores", "averages", "intervals", "cases", "confusion"):
        assert both[key] == alone[key]
    with (tmp_path / "both" / "per_image.csv").open() as stream:
        assert len({row["id"] for row in csv.DictReader(stream)}) == 6
