import json
from pathlib import Path

import pytest

from seg_scse import checkpoint, distributed
from seg_scse.config import load_config
from seg_scse.errors import ConfigError
from seg_scse.training.folder import claim, facts_of, has_run, is_restarted, note_resume, require_out, write_config


def test_folders_of_one_name_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [claim("a", None) for _ in range(3)] == [(Path("runs") / name, True) for name in ("a", "a-2", "a-3")]
    assert claim("a", tmp_path / "runs" / "a") == (tmp_path / "runs" / "a", False)


def test_each_resume_adds_a_line_and_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"seed": 3, "steps": 10, "resumed": []}))
    note_resume(tmp_path, 4, 10, [], 2)
    note_resume(tmp_path, 6, 20, ["changed: optimizer.lr: 1 -> 2"], 1)
    facts = facts_of(tmp_path)
    assert (facts["seed"], facts["steps"]) == (3, 20)
    assert [(line["step"], line["changes"], line["samples"]) for line in facts["resumed"]] == [
        (4, [], 2),
        (6, ["changed: optimizer.lr: 1 -> 2"], 1),
    ]


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_facts_that_are_lost_do_not_keep_a_run_from_going_on(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert facts_of(tmp_path) == {}
    note_resume(tmp_path, 4, 10, [], 2)
    assert len(facts_of(tmp_path)["resumed"]) == 1


def test_a_configuration_is_written_with_its_reasons(tmp_path: Path) -> None:
    config = load_config(None, ["trainer.crop=64"])
    write_config(tmp_path, config, {"trainer.crop": "fits the images"})
    assert "  # fits the images\n  crop: 64\n" in (tmp_path / "config.yaml").read_text()
    assert load_config(tmp_path / "config.yaml") == config


def test_only_a_restart_goes_on_with_what_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not is_restarted(tmp_path), "it did not come to a checkpoint"
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / checkpoint.LAST).write_bytes(b"")
    assert has_run(tmp_path)
    assert is_restarted(tmp_path)
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert not is_restarted(tmp_path)
    (tmp_path / "run.json").write_text('{"job": "417"}')
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "417")
    assert is_restarted(tmp_path), "torchrun with another number of nodes"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "418")
    assert not is_restarted(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert distributed.job() is None


def test_a_run_to_be_restarted_needs_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    require_out(None)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    require_out(Path("runs/a"))
    with pytest.raises(ConfigError, match=r"--max-restarts 2 without --out.*Name the folder"):
        require_out(None)
