"""Every test that docs/robustness.md names exists."""

import ast
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "robustness.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)


@lru_cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_named_test_exists() -> None:
    missing = [f"{path}::{name}" for path, name in NAMED if not (ROOT / path).exists() or name not in names_in(path)]
    assert missing == []


def test_each_case_names_a_test_and_twenty_come_first() -> None:
    sections = TEXT.split("\n## ")[1:]
    cases = [[row for row in section.splitlines() if row.startswith("| ")][1:] for section in sections]
    assert len(cases[0]) == 20
    assert all("`tests/" in row for rows in cases for row in rows)
    assert len(NAMED) == TEXT.count("::")
