"""The pages of a study of variants, from its result files: no network and no data are needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seg_scse.files import write_bytes, write_text
from seg_scse.report import study_outlook as outlook
from seg_scse.report import study_tables as tables
from seg_scse.report import study_wording as words
from seg_scse.report.figures import IMAGES, picture_uri
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import damaged, visible
from seg_scse.report.rendering import data_uri, environment
from seg_scse.report.study_csv import csv_text
from seg_scse.report.study_figures import forest, seed_scores
from seg_scse.report.study_forest import forest_png
from seg_scse.report.study_gates import read_gate_pictures
from seg_scse.report.study_markdown import markdown_text
from seg_scse.report.study_parts import Row
from seg_scse.report.study_reading import Study, read_study
from seg_scse.report.wording import joined, when

PAGE, MARKDOWN, TABLE, FOREST = "report.html", "report.md", "table.csv", "forest.png"
CURVES = "curves.png"


@dataclass(frozen=True)
class Minus:
    """The treatment minus a control as text, and what was found."""

    kind: str
    cells: list[tuple[str, str]]


def write_study(folder: Path) -> list[Path]:
    """Write `report.html`, `report.md`, `table.csv` and `forest.png` of a study.

    Args:
        folder: with `study.json`; `curves.png` and the pictures of `gates/index.json` are shown where they are there.

    Returns:
        the paths of the four files, the page first.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: a file cannot be written.
    """
    study = read_study(folder)
    texts = {PAGE: page(folder, study), MARKDOWN: markdown_text(study), TABLE: csv_text(study)}
    for name, text in texts.items():
        write_text(folder / name, text)
    write_bytes(folder / FOREST, forest_png(study))
    return [folder / name for name in (*texts, FOREST)]


def study_table(content: Mapping[str, Any]) -> str:
    """Lay out a study as plain text of at most 120 columns for the terminal.

    Args:
        content: of `study.json`.

    Raises:
        pydantic.ValidationError: it is not what a study writes.
    """
    return tables.terminal(Study.model_validate(content))


def study_grid(content: Mapping[str, Any]) -> str:
    """Lay out the table of a study as `study_table` does, without the sentences below it.

    Args:
        content: of `study.json`.

    Raises:
        pydantic.ValidationError: it is not what a study writes.
    """
    return tables.grid(Study.model_validate(content))


def study_sentences(content: Mapping[str, Any]) -> list[str]:
    """Say what was found: a summary, then a sentence for each declared comparison.

    Args:
        content: of `study.json`.

    Raises:
        pydantic.ValidationError: it is not what a study writes.
    """
    return words.sentences(Study.model_validate(content))


def page(folder: Path, study: Study) -> str:
    """Render the page.

    Args:
        folder: with `curves.png` and `gates/`, where they were drawn.
        study: content of `study.json`.

    Raises:
        DataError: a picture is missing or damaged.
    """
    return (
        environment()
        .get_template("study.html")
        .render(
            study=study,
            created=when(study.created),
            config=yaml.safe_dump(study.config, sort_keys=False, allow_unicode=True) if study.config else None,
            **_answer(study),
            **_numbers(study),
            **_pictures(folder, study),
        )
    )


def _answer(study: Study) -> dict[str, Any]:
    """What the page says in sentences."""
    summary, *said = words.sentences(study)
    rows: list[Row] = words.declared(study)
    pairs = [False] * len(study.variants) + [True] * len(study.against)
    return {
        "summary": summary,
        "answers": [(text, words.finding(study, row), pair) for text, row, pair in zip(said, rows, pairs, strict=True)],
        "cautions": words.cautions(study),
        "take": outlook.what_it_would_take(study),
        "wide": outlook.why_wide(study),
        "of_table": [text for text in (outlook.whose_mean(study), outlook.what_costs_are_of(study)) if text],
        "selection": outlook.what_validation_chooses(study),
        "facts": outlook.how_it_was_made(study),
    }


def _numbers(study: Study) -> dict[str, Any]:
    """What the page says in tables."""
    lines = tables.lines(study)
    base = visible(study.baseline.name)
    kinds = (("", "baseline"), (f"Variants against {base}", "variant"), (f"Controls against {base}", "control"))
    others = [MEASURES[name].heading(study.unit(name) or "px") for name in study.metrics[1:]]
    runs = tables.run_rows(study)
    return {
        "measure": MEASURES[study.metric],
        "unit": study.unit(study.metric) or "points",
        "level": words.level_text(study),
        "noun": outlook.unit_noun(study),
        "others": others,
        "other_names": joined([*(MEASURES[name].label for name in study.metrics[1:]), "controls"]),
        "groups": [
            (heading, found) for heading, kind in kinds if (found := [one for one in lines if one.kind == kind])
        ],
        "against": [
            (name, one.row, Minus(words.finding(study, one.row), cells))
            for (name, cells), one in zip(tables.against_lines(study), study.against, strict=True)
        ],
        "spread": outlook.spread_rows(study),
        "chosen": outlook.chosen_rows(study),
        "winner": visible(study.selection.winner or ""),
        "runs": runs,
        "run_headings": tables.run_headings(study),
        "has_errors": any(error for _, _, error in runs),
        "variants": tables.variant_rows(study),
    }


def _pictures(folder: Path, study: Study) -> dict[str, Any]:
    """What the page draws, and the pictures that it embeds."""
    unit = study.unit(study.metric)
    curves, gates = folder / CURVES, read_gate_pictures(folder)
    return {
        "forest": forest(study),
        "axis_label": f"{unit}, lower is better" if unit else "points (hundredths of the score)",
        "seeds": seed_scores(study),
        "curves": data_uri(_bytes(curves)) if curves.exists() else None,
        "gates": [(_gate_uri(one.path, IMAGES // len(gates)), visible(one.caption)) for one in gates],
    }


def _gate_uri(path: Path, room: int) -> str:
    try:
        return picture_uri(_bytes(path), room)
    except (OSError, ValueError) as error:
        raise damaged(path, f"is no picture ({error}).") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error}).") from error
