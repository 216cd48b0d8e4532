import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_trainer_benchmark_prints_what_each_form_adds_to_the_bare_loop() -> None:
    command = [sys.executable, "benchmarks/trainer.py", "--steps", "20", "--rounds", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    machine, *lines = result.stdout.splitlines()
    names = ["ours", "bare"]
    if importlib.util.find_spec("lightning") is None:
        assert "lightning not installed: left out" in machine
    else:
        names.append("Lightning")
    expected = [[task, clock, name] for task in ("tiny", "small") for clock in ("processor", "wall") for name in names]
    assert [line.split()[:3] for line in lines] == expected
    assert all("1.000 of bare (1.000-1.000)" in line for line in lines if line.split()[2] == "bare")


def test_trainer_benchmark_refuses_a_gpu_that_is_not_there() -> None:
    code = (
        "import sys, torch; torch.cuda.is_available = lambda: False; sys.path.insert(0, 'benchmarks'); import trainer; "
    )
    command = [sys.executable, "-c", code + "sys.argv[1:] = ['--cuda']; trainer.main()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert "--cuda: torch sees no CUDA device." in result.stderr
