"""The storm with three kills; `make test-storm` has ten."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a session in /proc")


@pytest.mark.slow
def test_a_run_killed_three_times_within_an_epoch_ends_as_the_quiet_one() -> None:
    storm = Path(__file__).with_name("storm.py")
    command = [sys.executable, str(storm), "--kills", "3", "--epochs", "2", "--repeats", "16", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "byte-identical" in result.stdout
