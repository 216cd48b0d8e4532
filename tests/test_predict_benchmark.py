import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def printed() -> str:
    """What it prints of all its parts, in small; libraries take most of the time, so all is asked for at once."""
    small = ["--tile", "64", "--rounds", "1", "--side", "150", "--encoder", "resnet18"]
    wanted = ["--sizes", "200", "--classes", "2", "--methods", "MONAI,whole arrays", "--network", "--memory"]
    command = [sys.executable, "benchmarks/predict.py", *small, *wanted]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_predict_benchmark_lets_all_methods_find_the_same_labels(printed: str) -> None:
    lines = [line for line in printed.splitlines() if "labels equal" in line]
    assert [re.split(r"  +", line)[0] for line in lines] == ["ours", "MONAI", "whole arrays"]
    assert all(line.endswith("labels equal 1.000000") for line in lines)
    assert all(re.search(r"memory +\d+ MB", line) for line in lines)
    assert "ours             processor" in lines[0]
    assert "(1.000; 1.000-1.000)" in lines[0]


def test_predict_benchmark_measures_the_command_on_files(printed: str) -> None:
    assert "unet-resnet18, float32, 9 tiles of 64 px of a GeoTIFF of 150 x 150 x 3" in printed
    (ratio,) = re.findall(r"seg-scse predict processor +[\d.]+ s \(([\d.]+);", printed)
    assert float(ratio) > 0.5
    assert "GeoTIFF of 150 x 150 x 4 uint16" in printed
    (memory,) = re.findall(r"seg-scse predict: (-?\d+) MB beyond what was there before", printed)
    assert 0 < int(memory) < 500


def test_predict_benchmark_refuses_a_method_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", ["predict.py", "--methods", "MONAI,whole"])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("predict").main()
    error = capsys.readouterr().err.rstrip()
    assert "argument --methods: `whole` is not known" in error
    assert error.endswith("Known: ours, MONAI, MONAI buffered, MONAI one map, whole arrays")
