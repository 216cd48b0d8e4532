"""The batch script of docs/distributed.md, with stand-ins of SLURM's programs."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "distributed.md"
SRUN = """#!/bin/bash
echo "$@" >> "$LOG"
trap 'echo stopped >> "$LOG"; exit 143' TERM
echo ready >> "$LOG"
while :; do sleep 0.05; done
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'first\\nsecond\\n'; else echo "scontrol $@" >> "$LOG"; fi
"""


@pytest.mark.parametrize("begun", [False, True])
def test_the_script_hands_the_signal_on_and_queues_the_job_again(tmp_path: Path, begun: bool) -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", PAGE.read_text(), re.DOTALL)
    run = tmp_path / "runs" / "nuclei"
    (run / "checkpoints").mkdir(parents=True)
    if begun:
        (run / "checkpoints" / "last.ckpt").touch()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    own = {"LOG": str(log), "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_NNODES": "2", "SLURM_JOB_ID": "17"}
    job = tmp_path / "job.sh"
    job.write_text(script.replace("/shared/runs", str(tmp_path / "runs")))
    process = subprocess.Popen(["bash", str(job)], env={**os.environ, **own, "SLURM_JOB_NODELIST": "n[1-2]"})
    try:
        deadline = time.monotonic() + 20
        while not (log.exists() and "ready" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
    finally:
        process.kill()
    lines = log.read_text().splitlines()
    way = f"--resume {run}" if begun else f"--config configs/nuclei_unet_scse.yaml --out {run}"
    assert lines[0].endswith(f"--rdzv-endpoint first:29500 train.py {way}")
    assert lines[1:] == ["ready", "stopped", "scontrol requeue 17"]
