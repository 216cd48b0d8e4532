import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_losses_benchmark_prints_ratios_and_kept_memory_for_each_number_of_classes() -> None:
    command = [sys.executable, "benchmarks/losses.py", "--classes", "2,5", "--size", "32", "--rounds", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("K=")]
    assert [line[:2] for line in lines] == [[k, name] for k in ("K=2", "K=5") for name in ("ours", "smp", "MONAI")]
    assert all("kept" in line for line in lines)
    ours = [" ".join(line) for line in lines if line[1] == "ours"]
    assert all(" of smp (" in line and " of MONAI (" in line for line in ours)
    kept = {line[1]: float(line[line.index("kept") + 1]) for line in lines[3:]}
    assert kept["ours"] < 1 < kept["smp"]
