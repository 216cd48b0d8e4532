import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seg_scse.config.schema import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def python_examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(8))
def test_each_python_example_of_the_attention_page_runs_by_itself(number: int) -> None:
    examples = python_examples(ROOT / "docs" / "attention.md")
    assert len(examples) == 8
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(examples[number], f"attention.md, example {number}", "exec"), names)
    if "losses" in names:  # chance gives ln 2
        assert set(names["losses"]) == {"plain", "with SE"}
        assert max(names["losses"].values()) < 0.6


def test_the_python_example_of_the_performance_page_runs() -> None:
    (code,) = python_examples(ROOT / "docs" / "performance.md")
    names: dict[str, Any] = {}
    exec(compile(code, "performance.md", "exec"), names)
    assert all(gate._compiled_call_impl is not None for gate in names["model"].gates.values())


@pytest.mark.parametrize("name", ["SCSE", "attach_attention", "build_model", "recalibrate"])
def test_each_public_name_has_an_example(name: str) -> None:
    code = "\n".join(python_examples(ROOT / "docs" / "attention.md"))
    assert re.search(rf"import .*\b{name}\b", code)
    assert re.search(rf"\b{name}\(", code)


def test_the_python_examples_of_the_readme_run(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loading, attaching = python_examples(ROOT / "README.md")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "nuclei_unet_scse").symlink_to(trained)
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "scene.tif")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"image": np.zeros((33, 47, 3), np.uint8)}
    exec(compile(loading, "README.md", "exec"), names)
    assert names["mask"].shape == (33, 47)
    assert (tmp_path / "map.tif").exists()
    exec(compile(attaching, "README.md", "exec"), names)
    assert len(names["resnet"].gates) == 8
    assert {gate.recipe.merge for gate in names["unet"].gates.values()} == {"max"}


def test_the_config_of_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert Config.model_validate(yaml.safe_load(text)).model.attention.type == "scse"


def test_both_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    commands = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert commands == ["quickstart", "test"]
    assert set(commands) <= set(targets)


def test_every_target_of_the_makefile_explains_itself() -> None:
    lines = re.findall(r"^[a-z]+:.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(lines) > 5
    assert all("## " in line for line in lines)
