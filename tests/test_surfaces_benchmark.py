import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_surfaces_benchmark_prints_both_ratios_for_each_size_and_kind_of_mask() -> None:
    command = [sys.executable, "benchmarks/surfaces.py", "--sizes", "64,96", "--rounds", "1", "--spacing", "1,0.5"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [line for line in result.stdout.splitlines() if " of scipy (" in line]
    assert [line.split(maxsplit=1)[0] for line in lines] == ["64"] * 7 + ["96"] * 7
    assert all(" of MONAI (" in line for line in lines)
    assert "100 nuclei" in lines[2]
