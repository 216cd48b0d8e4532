"""A study as Markdown: the same answer, tables and facts as on the page."""

from seg_scse.report import study_outlook as outlook
from seg_scse.report import study_tables as tables
from seg_scse.report import study_wording as words
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.study_figures import forest_groups, numbers
from seg_scse.report.study_parts import Row
from seg_scse.report.study_reading import Study
from seg_scse.report.tables_text import markdown, markdown_table
from seg_scse.report.wording import when

_TEXT_WIDTH = 41  # characters of a drawn interval; odd, so that one of them stands for 0


def markdown_text(study: Study) -> str:
    """`report.md`: answer, what it would take, tables, forest plot in characters, selection, runs, how it was made."""
    summary, *said = words.sentences(study)
    takes = outlook.what_it_would_take(study)
    parts = [
        f"# {markdown(visible(study.name))}",
        f"{markdown(visible(study.declaration.split))} split, {study.data.images} images, {markdown(study.per_image)}; "
        f"made {markdown(when(study.created))}.",
        *(f"> {markdown(text)}" for text in words.cautions(study)),
        f"**{markdown(summary)}**",
        _list(said),
        "## What it would take",
        markdown(takes[0]),
        _list(takes[1]),
        markdown(outlook.why_wide(study)),
        "## Table",
        _table(study),
        markdown(" ".join(filter(None, [outlook.whose_mean(study), outlook.what_costs_are_of(study)]))),
        "## Differences",
        _forest(study),
        "## Selection",
        " ".join(markdown(text) for text in outlook.what_validation_chooses(study)),
        _selection(study),
        "## Runs",
        _runs(study),
        "## How it was made",
        "\n".join(f"- **{markdown(term)}**: {markdown(text)}" for term, text in outlook.how_it_was_made(study)),
        "### Variants",
        _variants(study),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(texts: list[str]) -> str:
    return "\n".join(f"- {markdown(text)}" for text in texts)


def _pair(pair: tuple[str, str]) -> str:
    return f"{pair[0]} ({pair[1]})" if pair[1] else pair[0]


def _table(study: Study) -> str:
    others = [MEASURES[name].heading(study.unit(name) or "px") for name in study.metrics[1:]]
    heading = [
        *("Variant", "Kind", "Seeds", MEASURES[study.metric].label, "Difference", "Two-level bootstrap", "p (Holm)"),
        *("Effect (dz)", "+ / = / −", *(f"{label} difference" for label in others)),
        *("Parameters", "Step time", "Memory"),
    ]
    rows = [
        [
            *(one.name, one.kind, one.seeds, one.mean, _pair(one.difference), one.bootstrap, one.p),
            *(one.effect, _pair(one.images), *(_pair(pair) for pair in one.others)),
            *(_pair(one.parameters), one.step, one.memory),
        ]
        for one in tables.lines(study)
    ]
    return markdown_table(heading, [*rows, *_against(study, len(others) + 3)])


def _against(study: Study, empty: int) -> list[list[str]]:
    """The treatment minus each control as rows of the table, whose last cells are empty."""
    rows = []
    for one, (control, cells) in zip(study.against, tables.against_lines(study), strict=True):
        difference, p, effect, images, bootstrap = map(_pair, cells)
        name = f"{visible(one.treatment)} - {control}"
        rows.append(
            [name, "comparison", str(one.row.seeds), "", difference, bootstrap, p, effect, images, *[""] * empty]
        )
    return rows


def _forest(study: Study) -> str:
    """Differences as a column of characters: `o` the mean, `-` its interval, `|` zero."""
    groups = forest_groups(study)
    rows = [entry.row for _, entries in groups for entry in entries]
    ends = [abs(value) for row in rows for value in (row.difference, row.low, row.high) if value is not None]
    reach = max(ends, default=0.0) or 1.0
    width = max((len(tables.shortened(entry.name)) for _, entries in groups for entry in entries), default=0)
    lines = []
    for heading, entries in groups:
        lines.append(heading)
        lines += [
            f"  {tables.shortened(one.name):{width}}  {_drawn(one.row, reach)}  {numbers(study, one.row)}"
            for one in entries
        ]
    return "\n".join(["```text", *(line.replace("`", "'") for line in lines), "```"])


def _drawn(row: Row, reach: float) -> str:
    def place(value: float) -> int:
        return round((_TEXT_WIDTH - 1) * (value + reach) / (2 * reach))

    cells = [" "] * _TEXT_WIDTH
    if row.low is not None and row.high is not None:
        first, last = place(row.low), place(row.high)
        cells[first : last + 1] = "-" * (last + 1 - first)
    cells[place(0.0)] = "|"
    if row.difference is not None:
        cells[place(row.difference)] = "o"
    return "".join(cells)


def _selection(study: Study) -> str:
    rows = outlook.chosen_rows(study)
    heading = [
        "Variant",
        f"{study.selection.by} {study.selection.metric}",
        f"{study.declaration.split} {study.per_image}",
    ]
    return markdown_table(heading, rows) if rows else ""


def _runs(study: Study) -> str:
    rows = [[name, *cells, error] for name, cells, error in tables.run_rows(study)]
    return markdown_table(["Variant", *tables.run_headings(study), "Error"], rows)


def _variants(study: Study) -> str:
    return markdown_table(["Variant", "Kind", "What it is", "Overrides"], tables.variant_rows(study))
