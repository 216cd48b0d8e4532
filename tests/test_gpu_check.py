import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "benchmarks/gpu_check.py", "--smoke"]


@pytest.mark.slow
def test_every_part_of_the_gpu_check_runs_and_is_right_without_a_gpu():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    lines = result.stdout.splitlines()
    assert ", triton " in lines[0]
    assert lines[1].startswith("copy: ")
    assert sum(line.endswith("| right |") for line in lines) == 3 * 3 * 2  # precisions, merges, layouts
    blocks = [line.split(" | ")[:2] for line in lines if line.startswith(("| 16 x 8", "| 40 x 4", "| all"))]
    forms = ["smp eager", "ours eager", "ours compiled", "ours triton"]
    assert blocks == [[name, form] for name in ("| 16 x 8", "| 40 x 4", "| all") for form in forms]
    assert [line.split(" | ")[0] for line in lines[-4:]] == [
        "| none",
        "| ours scse (r 2, add)",
        "| ours, preset smp",
        "| smp scse (r 16, add)",
    ]


def test_the_smoke_mode_says_what_it_needs():
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "--smoke needs TRITON_INTERPRET=1 in the environment" in result.stderr
