import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from seg_scse.attention.functional import Recipe
from seg_scse.attention.gates import SCSE
from seg_scse.attention.triton_form import scse_triton, supports

CASES = Path(__file__).with_name("interpreted")
pytestmark = pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="these describe a process without interpreter")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["values.py", "operators.py"])
def test_every_case_holds_in_the_interpreter(name):
    """Run `TRITON_INTERPRET=1 PYTHONPATH=tests/attention/interpreted pytest tests/attention/interpreted/NAME`.

    The interpreter must be chosen before triton is first imported, hence the process. It truncates where a GPU rounds,
    which doubles the error of half precision.
    """
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES / name)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(CASES)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]


def test_triton_is_not_imported_with_the_module():
    code = "import sys, seg_scse.attention.triton_form; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_a_map_on_the_cpu_is_refused_with_the_cure():
    block, x = SCSE(4), torch.zeros(1, 4, 3, 3)
    assert not supports(x, *block._weights(), block.recipe)
    with pytest.raises(ValueError, match=r"on 'cpu': call seg_scse\.attention\.functional\.scse"):
        scse_triton(x, *block._weights(), block.recipe)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_cuda_map_is_taken_and_keeps_its_layout_and_type(memory_format):
    pytest.importorskip("triton")
    with FakeTensorMode(), torch.device("cuda"):
        block = SCSE(4)
        x = torch.empty(2, 4, 3, 5, dtype=torch.bfloat16).to(memory_format=memory_format)
        assert supports(x, *block._weights(), Recipe())
        y = scse_triton(x, *block._weights(), Recipe())
    assert (y.shape, y.dtype, y.stride(), y.device) == (x.shape, x.dtype, x.stride(), x.device)


def test_without_triton_nothing_is_supported(monkeypatch):
    monkeypatch.setattr("seg_scse.attention.triton_form._INSTALLED", False)
    with FakeTensorMode(), torch.device("cuda"):
        block, x = SCSE(4), torch.empty(2, 4, 3, 5)
        assert not supports(x, *block._weights(), Recipe())
