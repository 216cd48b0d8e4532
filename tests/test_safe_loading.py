"""Files of other programs: their tensors are read, and nothing in them can run."""

import ast
import inspect
import os
import tomllib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_scse import checkpoint
from seg_scse.errors import CheckpointError


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


WEIGHTS = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        torch.nn.Sequential(OrderedDict(conv=torch.nn.Linear(3, 2))).state_dict() | WEIGHTS,
        {"epoch": 3, "state_dict": WEIGHTS},
        {"model": WEIGHTS, "optimizer": {"state": {}}},
        {"model_state_dict": {f"module.{name}": value for name, value in WEIGHTS.items()}, "loss": 0.1},
        {f"_orig_mod.module.{name}": value for name, value in WEIGHTS.items()},
        {"model": {"state_dict": WEIGHTS | {"extra": "text"}}},
    ],
    ids=["plain", "module", "state_dict", "model", "parallel", "compiled", "nested"],
)
@pytest.mark.parametrize("archive", [True, False])
def test_a_state_dict_of_any_program_is_found(tmp_path: Path, content: Any, archive: bool) -> None:
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    tensors = checkpoint.load_tensors(tmp_path / "a.pth")
    assert tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_model_saved_whole_is_refused_with_the_line_that_cures_it(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "ran"
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": Payload(trace)}, path)
    with pytest.raises(CheckpointError, match="could run code and are not read") as caught:
        checkpoint.load_tensors(path)
    assert "torch.save(model.state_dict(), 'weights.pt')" in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "not a file of torch.save"),
        (b"PK\x03\x04cut", "not a file of torch.save"),
        ({"epoch": 3, "notes": "none"}, "holds no state dict (its keys are epoch, notes)"),
        ([1, 2], "holds no state dict (no names)"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: Any, part: str) -> None:
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_tensors(path)
    assert part in str(caught.value)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load_tensors(tmp_path)


PACKAGE = Path(checkpoint.__file__).parent
_UNSAFE = {"load", "loads", "Unpickler"}


def _unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Calls that could run code from a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        module, _, function = name.rpartition(".")
        if module in {"torch", "torch.serialization", "torch.jit", "pickle", "joblib", "dill"} and function in _UNSAFE:
            yield name
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        if options.get("allow_pickle", "False") != "False" or options.get("weights_only", "True") != "True":
            yield ast.unparse(node)
        if name in {"eval", "exec"}:
            yield name


def test_one_function_reads_pickles_and_it_is_safe() -> None:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        calls = list(_unsafe_calls(ast.parse(file.read_text())))
        if calls:
            found[str(file.relative_to(PACKAGE))] = calls
    own = {"export/graphs.py": ["torch.jit.load"]}  # reads what was written a moment before, to check it
    assert found == {"checkpoint.py": ["torch.load"]} | own
    assert "weights_only=True" in inspect.getsource(checkpoint._unpickled)
    assert "torch.load" in inspect.getsource(checkpoint._unpickled)


def test_the_linter_bans_unsafe_readers() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert banned.keys() >= {"torch.load", "pickle.load", "pickle.loads", "yaml.load"}
