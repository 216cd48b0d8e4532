"""The batch script and the table of results of docs/predict.md."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from seg_scse.cli.arguments import build_parser
from seg_scse.prediction.settings import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()


def test_the_script_gives_each_task_its_part(tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", PAGE, re.DOTALL)
    (tmp_path / "srun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "job.sh").write_text(script)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}
    done = subprocess.run(
        ["bash", tmp_path / "job.sh"], env={**os.environ, **own}, capture_output=True, text=True, check=True
    )
    program, *words = done.stdout.splitlines()
    assert program == "seg-scse"
    options = build_parser().parse_args(words)
    assert options.shard == (3, 16)
    assert options.save == ["labels", "polygons"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_names_every_kind_of_result(kind: str) -> None:
    assert f"| `{kind}/ID" in PAGE


def test_the_examples_are_commands() -> None:
    (examples,) = re.findall(r"```\n(seg-scse predict.*?)```", PAGE, re.DOTALL)
    for line in examples.splitlines():
        words = line.partition("#")[0].replace("'", "").split()
        options, rest = build_parser().parse_known_args(words[words.index("predict") :])
        assert options.input
        assert not rest
