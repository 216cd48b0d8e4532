import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_scse.cli import main

from .evaluation.runs import FAST, another

Refused = Callable[[list[str], int], str]


@pytest.fixture(scope="module")
def evaluations(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One run, evaluated twice: with a low and a high threshold."""
    run = tmp_path_factory.mktemp("compared") / "run"
    shutil.copytree(trained, run)
    root = run / "evaluation"
    own = ["evaluation.resamples=1000", "evaluation.calibration=false"]
    for name, threshold in (("low", "0.2"), ("high", "0.8")):
        arguments = ["evaluate", str(run), "--out", str(root / name), f"evaluation.threshold={threshold}", *own]
        assert main(arguments) == 0
    return root / "low", root / "high"


def test_two_evaluations_are_compared_with_pictures(evaluations, tmp_path, capsys):
    low, high = map(str, evaluations)
    capsys.readouterr()
    assert main(["compare", low, high, "--out", str(tmp_path), "--cases", "1", "--json"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    (pair,) = content["pairs"]
    assert pair["no_cases"] == ""
    assert {case["kind"] for case in pair["cases"]} <= {"better", "worse"}
    assert all(case["remade"] for case in pair["cases"])
    assert [Path(path).name for path in content["written"]] == ["compare.html", "compare.md", "table.csv", "table.tex"]
    assert content["verdicts"][0] in " ".join(printed.err.split())  # the terminal wraps it
    assert "Some of these evaluations are of the same checkpoint." in content["remarks"]
    assert "`threshold` differs: 0.2 in run/low, 0.8 in run/high." in content["remarks"]
    page = (tmp_path / "compare.html").read_text()
    assert page.count("<figure>") == len(pair["cases"]) > 0


def test_pictures_are_drawn_of_an_ensemble_and_of_files_wherever_their_results_lie(
    trained, tiny, tmp_path, capsys, monkeypatch
):
    """The results lie outside of the runs, and everything is moved between the evaluation and the comparison."""
    place = tmp_path / "before"
    one, two = (str(another(trained, place / f"seed{seed}", seed)) for seed in (1, 2))
    monkeypatch.chdir(place)
    assert main(["evaluate", "seed1", "--out", "single", "--save-predictions", "maps", *FAST]) == 0
    assert (
        main(["evaluate", one, two, "--ensemble", "--out", "mean", "--tta", "flips", "--threshold", "0.3", *FAST]) == 0
    )
    data = [text for text in tiny if text.startswith("data.")]
    assert main(["evaluate", "maps", "--data", "seed1/config.yaml", "--out", "files", *data, *FAST]) == 0
    monkeypatch.chdir(tmp_path)
    place.rename(tmp_path / "after")
    for first in ("single", "files"):
        capsys.readouterr()
        assert main(["compare", f"after/{first}", "after/mean", "--out", first, "--cases", "1", "--json"]) == 0
        (pair,) = json.loads(capsys.readouterr().out)["pairs"]
        assert pair["no_cases"] == ""
        assert pair["cases"]
        assert all(case["remade"] for case in pair["cases"])


def test_what_is_no_picture_of_ours_stays(evaluations, tmp_path):
    (tmp_path / "cases").mkdir()
    for name in ("mine.png", "notes.txt", "1.7.truth.png"):
        (tmp_path / "cases" / name).touch()
    assert main(["compare", *map(str, evaluations), "--out", str(tmp_path), "--cases", "0"]) == 0
    assert {path.name for path in (tmp_path / "cases").iterdir()} == {"mine.png", "notes.txt"}


def test_the_table_and_the_verdict_are_printed(evaluations, tmp_path, capsys):
    assert main(["compare", *map(str, evaluations), "--out", str(tmp_path), "--cases", "0", "--metric", "iou"]) == 0
    out = capsys.readouterr().out
    assert "iou_per_image against run/low, test split, 3 images." in out
    assert "run/high against run/low is not tested" in out
    assert f"report: {tmp_path / 'compare.html'}" in out


def test_runs_may_follow_the_options(evaluations, tmp_path, capsys):
    low, high = map(str, evaluations)
    assert main(["compare", low, "--cases", "0", "--out", str(tmp_path), high]) == 0


def test_a_run_that_was_not_evaluated_is_refused(evaluations, tmp_path, refused: Refused):
    (tmp_path / "new").mkdir()
    message = refused(["compare", str(evaluations[0]), str(tmp_path / "new")], 2)
    assert f"python evaluate.py {tmp_path / 'new'} --split test" in message


def test_overrides_are_refused(evaluations, refused: Refused):
    assert "compare takes no overrides" in refused(["compare", *map(str, evaluations), "evaluation.empty=one"], 2)


def test_one_run_is_refused(evaluations, refused: Refused):
    assert "needs at least two runs" in refused(["compare", str(evaluations[0])], 2)
