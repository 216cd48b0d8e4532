import re
from pathlib import Path
from typing import Any

import pytest

from seg_scse.metrics.power import detectable_crossed
from seg_scse.metrics.two_way import Components

PAGE = (Path(__file__).parents[2] / "docs" / "seeds.md").read_text(encoding="utf-8")


def test_the_python_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "seeds.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"[+-]\d\.\d points \([+-]\d\.\d to [+-]\d\.\d\), p \d\.\d\d", line) for line in lines)


def test_the_detectable_differences_of_the_page_are_those_of_the_plan() -> None:
    section = PAGE.split("## What S seeds allow")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert [int(seeds) for seeds, _ in rows] == [2, 3, 5, 10, 20]
    components = Components(0.004, 0.02, 0.04)
    for seeds, cells in rows:
        sizes = [(units, tests) for tests in (1, 5) for units in (15, 50, 133)]
        points = [100 * detectable_crossed(components, int(seeds), units, tests) for units, tests in sizes]
        assert cells.split(" | ") == [f"{value:.1f}" for value in points]
