import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_scse.config.schema import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_python_example_of_the_attention_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "attention.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "attention.md", "exec"), names)
    assert any(key.startswith("gates.stem.") for key in names["host"].state_dict())


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
