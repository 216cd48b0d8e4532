"""Loader processes that die, hang, or run out of something end in one message with its cause and cure."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seg_scse.data.loader_faults import LoaderError, explained

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets limits and signals as Linux has them")

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, str(Path(__file__).with_name("faulty_loader.py"))]
TEXTS = {
    "killed": ("was killed (SIGKILL)", "memory ran out", "trainer.workers=0"),
    "segfault": ("crashed (SIGSEGV)", "seg-scse data check", "trainer.workers=0"),
    "bus": ("SIGBUS", "shared memory (/dev/shm) is too small", "--shm-size", "trainer.workers=0"),
    "hang": ("delivered nothing for 3 s", "hangs", "trainer.workers=0"),
    "exit": ("ended with code 3", "trainer.workers=0"),
    "files": ("too many files are open", "ulimit -n", "trainer.workers=0"),
    "files in the worker": ("too many files are open", "ulimit -n", "trainer.workers=0"),
}


@pytest.fixture(scope="module")
def met():
    command = [*COMMAND, *TEXTS, "full", "defect"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=100, check=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize("fault", TEXTS)
def test_a_fault_of_a_loader_process_is_named_with_cause_and_cure(met, fault):
    assert met[fault]["type"] == "LoaderError"
    for part in TEXTS[fault]:
        assert part in met[fault]["text"]
    assert "\n" not in met[fault]["text"]
    assert met[fault]["seconds"] < 60


def test_an_error_of_the_program_in_a_loader_process_arrives_as_it_was(met):
    assert met["full"] == met["full"] | {"type": "WriteError", "text": "cache: the disk is full"}


def test_a_defect_is_no_fault_of_the_machine(met):
    assert met["defect"]["type"] == "ValueError"
    assert "a defect in the program" in met["defect"]["text"]


def test_shared_memory_of_a_megabyte_is_refused_with_its_cure():
    inside = 'mount -t tmpfs -o size=1m none /dev/shm && exec "$@"'
    unshare = [shutil.which("unshare") or "unshare", "-m", "sh", "-c"]
    try:
        subprocess.run([*unshare, inside, "sh", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not permitted")
    command = [*unshare, inside, "sh", *COMMAND, "shared memory"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=100, check=True)
    found = json.loads(result.stdout)["shared memory"]
    assert found["type"] == "LoaderError"
    assert "shared memory (/dev/shm) is too small" in found["text"]
    assert "--shm-size" in found["text"]


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -u"),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), "--shm-size"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
    ],
)
def test_a_limit_of_the_machine_is_recognised(error, part):
    found = explained(error)
    assert isinstance(found, LoaderError)
    assert found.exit_code == 1
    assert part in str(found)


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), OSError(errno.ENOENT, "no such file"), EOFError()])
def test_another_error_is_left_as_it_is(error):
    assert explained(error) is error
