"""`seg-scse card`: the folder, what is said about it, and what is refused."""

import argparse
import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from seg_scse import checkpoint, from_pretrained
from seg_scse.cli import main
from seg_scse.cli.card import register_card
from seg_scse.config.schema import Config
from seg_scse.models import build_model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = Config.model_validate({"name": "drawn", "model": {"architecture": "classic_unet", "width": 4, "depth": 1}})
    state = {
        "config": config.model_dump(mode="json"),
        "data_digest": "d" * 64,
        "mean": [0.4] * 3,
        "std": [0.2] * 3,
        "model": build_model(config.model).state_dict(),
        "progress": {"epoch": 3, "step": 30},
        "splits": {"a": "train", "b": "test"},
    }
    for name in (checkpoint.BEST, checkpoint.LAST):
        checkpoint.save(tmp_path / "run" / name, state)
        state |= {"progress": {"epoch": 7, "step": 70}}
    return tmp_path / "run"


def test_the_folder_can_be_loaded_and_names_license_and_author(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(run), "--license", "mit", "--author", "A. Name"]) == 0
    folder = run / "pretrained"
    assert from_pretrained(folder).facts["checkpoint"]["epoch"] == 3
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert "Published by: A. Name." in card.text
    out = capsys.readouterr().out
    assert f"written: {folder / 'README.md'}" in out
    assert "license is unknown" not in out


def test_a_missing_license_is_noticed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(run), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"folder": str(run / "pretrained")}
    assert "note: the card says that the license is unknown, so that nobody knows what is allowed" in captured.err


def test_the_last_checkpoint_and_a_file_by_itself(run: Path, tmp_path: Path) -> None:
    assert main(["card", str(run), "--checkpoint", "last", "--out", str(tmp_path / "last")]) == 0
    assert from_pretrained(tmp_path / "last").facts["checkpoint"]["epoch"] == 7
    assert main(["card", str(run / checkpoint.LAST)]) == 0
    assert from_pretrained(run / "checkpoints" / "last-pretrained").facts["checkpoint"]["epoch"] == 7


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["{run}", "trainer.crop=64"], "takes no overrides"),
        (["{run}/checkpoints/best.ckpt", "--checkpoint", "last"], "--checkpoint chooses one of a run folder"),
        (["{run}", "--out", "{run}"], "holds other files, which are not overwritten"),
        (["{run}", "--license", "No Licence"], "is no identifier of the Hugging Face Hub"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_written(
    run: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.rglob("*"))
    assert main(["card", *(word.format(run=run) for word in words)]) == 2
    assert text in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_a_cross_validation_is_told_to_name_a_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("data: {split: {folds: 3}}\n")
    assert main(["card", str(tmp_path)]) == 2
    assert f"name one of its runs, such as {tmp_path}/fold0" in capsys.readouterr().err


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(tmp_path)]) == 6
    assert "no checkpoints/best.ckpt" in capsys.readouterr().err


def test_the_help_shows_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    register_card(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["card", "--help"])
    out = capsys.readouterr().out
    assert "seg-scse card runs/nuclei --license cc-by-4.0" in out
    assert "from seg_scse import from_pretrained" in out
