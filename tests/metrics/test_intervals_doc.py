import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seg_scse.metrics.power import detectable_difference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "intervals.md").read_text(encoding="utf-8")


def test_the_python_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "intervals.md", "exec"), names)
    assert names["low"] < names["a"][:, 1:].mean() < names["high"]
    assert names["foreground"].n == 20
    assert capsys.readouterr().out.startswith("0.0")


def test_the_half_widths_of_the_page_are_those_of_the_formula() -> None:
    rows = re.findall(r"^\| (0\.\d\d) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == ["0.05", "0.10", "0.20"]
    for spread, *points in rows:
        expected = [f"{100 * 1.96 * float(spread) / n**0.5:.1f}" for n in (20, 60, 100, 520)]
        assert points == expected
    assert f"{detectable_difference(1.0, 1):.1f} x that spread" in PAGE


def test_the_benchmark_of_the_page_prints_all_its_numbers() -> None:
    command = [sys.executable, "benchmarks/intervals.py", "--studies", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = result.stdout.splitlines()
    assert sum("bca" in line and "percentile" in line for line in lines) == 14
    assert sum("patients resampled" in line for line in lines) == 3
    assert sum("over runs" in line for line in lines) == 8
    assert sum("called different" in line for line in lines) == 3
    assert [line.endswith(" s") for line in lines[-4:]] == [True] * 4
