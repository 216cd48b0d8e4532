"""The pages and tables of a comparison, from its result files: no network and no data are needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_scse.files import write_text
from seg_scse.report.comparison_page import page
from seg_scse.report.comparison_reading import Comparison, read_comparison, read_differences
from seg_scse.report.comparison_tables import csv_text, markdown_text, pair_sentences, terminal, tex_text

PAGE, MARKDOWN, CSV, TEX = "compare.html", "compare.md", "table.csv", "table.tex"


def write_comparison(folder: Path) -> list[Path]:
    """Write `compare.html`, `compare.md`, `table.csv` and `table.tex` of a comparison.

    Args:
        folder: with `compare.json`, `differences.csv` and `cases/`.

    Returns:
        the paths of the four files, the page first.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: a file cannot be written.
    """
    comparison = read_comparison(folder)
    differences = read_differences(folder, len(comparison.runs))
    contents = {
        PAGE: page(folder, comparison, differences),
        MARKDOWN: markdown_text(comparison),
        CSV: csv_text(comparison),
        TEX: tex_text(comparison),
    }
    for name, content in contents.items():
        write_text(folder / name, content)
    return [folder / name for name in contents]


def comparison_text(content: Mapping[str, Any]) -> str:
    """Lay out a comparison as plain text for the terminal.

    Args:
        content: of `compare.json`.

    Raises:
        pydantic.ValidationError: it is not what a comparison writes.
    """
    return terminal(Comparison.model_validate(content))


def verdicts(content: Mapping[str, Any]) -> list[str]:
    """Say what was found of each pair, in the order of `pairs`.

    Args:
        content: of `compare.json`.
    """
    comparison = Comparison.model_validate(content)
    return [" ".join(pair_sentences(comparison, pair)) for pair in comparison.pairs]
