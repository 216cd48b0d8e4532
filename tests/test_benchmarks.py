import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_train_step_benchmark_prints_a_ratio_for_each_network() -> None:
    small = ["--encoder", "resnet18", "--size", "32", "--batch", "2", "--rounds", "1"]
    command = [sys.executable, "benchmarks/train_step.py", *small]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [line for line in result.stdout.splitlines() if " of none (" in line]
    assert [line.split("  ")[0] for line in lines] == [
        "none",
        "ours scse (r 2, add)",
        "ours, preset smp",
        "smp scse (r 16, add)",
    ]
    assert "1.000 of none" in lines[0]


@pytest.mark.slow  # about a minute: it compiles C++ for each shape
def test_attention_benchmark_prints_a_ratio_for_each_form_and_kind_of_pass() -> None:
    small = ["--quick", "--size", "16", "--batch", "1"]
    command = [sys.executable, "benchmarks/attention.py", *small]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    lines = [line for line in result.stdout.splitlines() if line.startswith(("fp32", "bf16"))]
    assert len(lines) == 2 * 2 * 2 * 2  # precisions, formats, shapes, forward with backward and inference
    assert all("eager " in line and "compiled " in line for line in lines)


def test_data_benchmark_prints_a_ratio_for_each_form_of_loading() -> None:
    small = ["--size", "64", "--crop", "32", "--images", "2", "--batch", "1", "--rounds", "1", "--workers", "0"]
    command = [sys.executable, "benchmarks/data.py", *small]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [line for line in result.stdout.splitlines() if " x the time of ours (" in line]
    names = [line.split("  ")[0] for line in lines]
    ours = ["ours, cached", "ours, beyond cache_gb", "ours, first epoch", "plain, PIL", "plain, OpenCV"]
    assert names[:5] == ours
    assert all(name.startswith("MONAI, cache: ") for name in names[5:])
    assert len(names[5:]) == 3 or "MONAI is not installed: left out" in result.stdout
    assert "1.00 x the time of ours (1.00-1.00)" in lines[0]
    assert "0.004 MB a sample to the device" in result.stdout  # 32 x 32 pixels of 3 + 1 bytes
