import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_scse.cli import main
from seg_scse.config.loading import load_config

QUICKSTART = str(Path(__file__).parents[1] / "configs" / "quickstart.yaml")
Refused = Callable[[list[str], int], str]


@pytest.fixture
def overrides(tiny: list[str]) -> list[str]:
    kept = [text for text in tiny if not text.startswith("model.decoder_channels")]
    network = ["model.architecture=classic_unet", "model.encoder=resnet18", "model.width=4", "model.depth=2"]
    return [*kept, *network, "data.card=null", "name=my_discs"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_find_lr_prints_one_line_to_copy_and_leaves_no_run(
    here: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find-lr", "--config", QUICKSTART, "--steps", "30", *overrides]) == 0
    out = capsys.readouterr().out
    [line] = re.findall(r"^optimizer\.lr=.*$", out, re.MULTILINE)
    assert load_config(Path(QUICKSTART), [*overrides, line]).optimizer.lr > 0
    [following] = re.findall(r"^next: python train\.py --config .*$", out, re.MULTILINE)
    assert following.endswith(line)
    assert all(text.split("=")[0] in following for text in overrides)
    files = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
    assert files == ["lr_finder/my_discs/lr_finder.csv", "lr_finder/my_discs/lr_finder.png"]


def test_find_lr_as_json_with_a_folder_and_a_cross_validation(
    here: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--steps", "20", "--out", "found", "--json"]
    folds = [text for text in overrides if not text.startswith("data.split")] + ["data.split.folds=3"]
    # an earlier search is replaced
    for _ in range(2):
        assert main(["find-lr", "--config", QUICKSTART, *given, *folds]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["written"] == ["found/lr_finder.csv", "found/lr_finder.png"]
    assert result["steps"] == len(Path("found/lr_finder.csv").read_text().splitlines()) - 1
    assert result.keys() == {"lr", "lowest_tenth", "steps", "ended", "written"}
    assert result["lr"] is None or result["lr"] == float(f"{result['lr']:.1e}")


def test_find_lr_refuses_too_few_steps_and_data_that_are_not_there(
    here: Path, overrides: list[str], refused: Refused
) -> None:
    message = refused(["find-lr", "--config", QUICKSTART, "--steps", "19", *overrides], 2)
    assert "--steps 19: too few to see a loss fall and rise. Give 20 or more." in message
    refused(["find-lr", "--config", QUICKSTART, *overrides, "data.root=nowhere"], 3)
    refused(["find-lr", "--config", QUICKSTART, "--out", "deep/below", *overrides, "trainer.accumulate=99"], 2)
    assert not (here / "lr_finder").exists(), "nothing is left behind"
    assert not (here / "deep" / "below").exists()


def test_find_lr_does_not_touch_a_folder_that_was_there(here: Path, overrides: list[str], refused: Refused) -> None:
    kept = here / "mine" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    refused(["find-lr", "--config", QUICKSTART, "--out", "mine", *overrides, "data.root=nowhere"], 3)
    assert kept.read_text() == "mine"


def test_find_lr_in_a_folder_that_cannot_be_written_is_refused_before_it_trains(
    here: Path, overrides: list[str], refused: Refused
) -> None:
    (here / "file").write_text("")
    message = refused(["find-lr", "--config", QUICKSTART, "--out", "file/below", *overrides], 5)
    assert "cannot be written" in message
