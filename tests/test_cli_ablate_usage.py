"""`seg-scse ablate` before its first run: plans, refusals, and the commands of its page."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_scse.cli import _parse, ablating, main
from seg_scse.config.loading import load_config

from .test_cli_ablate import CONFIG, command

Refused = Callable[[list[str], int], str]

ROOT = Path(__file__).parents[1]


def commands_of_the_page() -> list[str]:
    """The commands of docs/ablation.md, without what starts them on a cluster."""
    page = (ROOT / "docs" / "ablation.md").read_text().replace("\\\n", " ")
    found = re.findall(r"^(?:srun |torchrun [-\w ]*--no-python )?(seg-scse ablate .*)$", page, re.MULTILINE)
    return [text.replace("$SLURM_ARRAY_TASK_ID", "2") for text in found]


@pytest.fixture
def config(discs: Path, tmp_path: Path) -> Path:
    file = tmp_path / "drawn.yaml"
    file.write_text(CONFIG.format(discs=discs))
    return file


def test_a_plan_is_printed_and_nothing_is_written(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(config, tmp_path / "s", "--controls", "--sites", "decoder,encoder+decoder", "--dry-run", "--json")
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "scse-add@encoder+decoder" in printed.err
    assert "control left out: wider" in printed.err
    assert "frozen" in printed.err
    assert len(json.loads(printed.out)["seeds"]) == 5
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--select-by", "test"], "the split that shows how good the chosen variant is must not have chosen it"),
        (["--variants", "none,scse-ad"], "did you mean `scse-add`?"),
        (["--resume", "x"], "give one of --config FILE"),
        (["seed=3"], "the study sets it for each run"),
        (["data.split.fold=3"], "the study sets it for each run"),
        (["--metric", "dize"], "did you mean `dice`?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_study_is_refused(
    config: Path, tmp_path: Path, refused: Refused, words: list[str], message: str
) -> None:
    assert message in refused(command(config, tmp_path / "s", *words), 2)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("text", commands_of_the_page(), ids=lambda text: text[:60])
def test_each_command_of_the_page_is_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = _parse(shlex.split(text, comments=True)[1:])
    assert options.action is ablating.ablate
    ablating._check(options)  # raises where options do not go together
    if options.config:
        assert load_config(options.config, options.overrides).name


def test_a_time_that_is_none_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command(config, tmp_path / "s", "--budget", "long"))
    assert stop.value.code == 2
    assert "`long` is no duration: write 90m, 6h or 1.5d" in capsys.readouterr().err
