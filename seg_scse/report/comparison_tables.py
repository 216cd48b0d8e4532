"""A comparison as text: the table on the terminal, `compare.md`, `table.csv` and `table.tex`."""

import csv
import io
import textwrap
from collections.abc import Iterator

from seg_scse.report import comparison_wording as words
from seg_scse.report.comparison_reading import Comparison, Pair, Pooled, Row
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.tables_text import markdown, markdown_table, tex, tex_table

_COLUMNS = (
    *(
        "run",
        "baseline",
        "class",
        "score",
        "images",
        "units",
        "baseline_score",
        "run_score",
        "difference",
        "low",
        "high",
    ),
    *("p", "p_holm", "comparisons", "effect", "better", "equal", "worse", "left_out", "detectable", "reason"),
    *("pooled_baseline", "pooled_run", "pooled_difference", "pooled_low", "pooled_high"),
)
_WIDTH = 100
_HEADING = ("Run", "Class", "Baseline", "Run's score", "Difference", "Interval", "p (Holm)", "Effect", "+ / = / -")


def rows_of(comparison: Comparison) -> Iterator[tuple[Pair, Row]]:
    """Every row of every pair."""
    return ((pair, row) for pair in comparison.pairs for row in pair.rows)


def cells(comparison: Comparison, row: Row) -> list[str]:
    """The numbers of a row as text: scores, difference, interval, p, effect, and better, equal, worse."""
    return [
        *_paired(comparison, row),
        words.p_text(row.p_holm),
        "n/a" if row.effect is None else f"{row.effect:+.2f}".replace("-", words.MINUS),
        f"{row.wins} / {row.ties} / {row.losses}",
    ]


def terminal(comparison: Comparison) -> str:
    """Lay out a comparison as plain text: the table, the verdict on each pair, remarks, and the caution on seeds."""
    lines = _aligned([list(_HEADING), *_named_rows(comparison)])
    said = [text for pair in comparison.pairs for text in pair_sentences(comparison, pair)]
    baseline = visible(comparison.runs[0].label)
    head = (
        f"{comparison.per_image} against {baseline}, {visible(comparison.split)} split, {comparison.images} images. "
        f"Difference in {words.unit_of(comparison)}, {words.level_text(comparison)} interval."
    )
    if len(comparison.classes) > 2:
        head += f" Foreground: {words.foreground(comparison)}."
    head = textwrap.fill(head, _WIDTH, break_on_hyphens=False)
    prose = [textwrap.fill(text, _WIDTH, break_on_hyphens=False) for text in (*said, *cautions(comparison))]
    return "\n".join([head, "", *lines, "", *prose])


def pair_sentences(comparison: Comparison, pair: Pair) -> list[str]:
    """The verdict, and what the single classes say."""
    return [text for text in (words.verdict(comparison, pair), words.by_class(comparison, pair)) if text]


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know besides the verdicts."""
    return [*(f"Note: {visible(remark)}" for remark in comparison.remarks), words.ONE_RUN_EACH]


def _named_rows(comparison: Comparison) -> list[list[str]]:
    return [
        [visible(comparison.runs[pair.b].label), visible(row.name), *cells(comparison, row)]
        for pair, row in rows_of(comparison)
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def csv_text(comparison: Comparison) -> str:
    """`table.csv`: one row per pair and class, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(_COLUMNS)
    for pair, row in rows_of(comparison):
        labels = [comparison.runs[number].label for number in (pair.b, pair.a)]
        pooled = row.pooled
        values = [
            *(row.images, row.units, row.a, row.b, row.difference, row.low, row.high, row.p, row.p_holm),
            *(comparison.comparisons, row.effect, row.wins, row.ties, row.losses, row.left_out, row.detectable),
            row.reason,
            *([None] * 5 if pooled is None else (pooled.a, pooled.b, pooled.difference, pooled.low, pooled.high)),
        ]
        writer.writerow(
            [*labels, row.name, comparison.per_image, *("" if value is None else value for value in values)]
        )
    return text.getvalue()


def markdown_text(comparison: Comparison) -> str:
    """`compare.md`: verdicts, table, how it was compared, and what differs between the runs."""
    names = [visible(run.label) for run in comparison.runs]
    parts = [
        f"# {markdown(', '.join(names[1:]))} against {markdown(names[0])}",
        *(markdown(text) for pair in comparison.pairs for text in pair_sentences(comparison, pair)),
        *(f"> {markdown(text)}" for text in cautions(comparison)),
        f"## {markdown(comparison.per_image)}",
        markdown_table(_HEADING, _named_rows(comparison)),
        *_markdown_pooled(comparison),
        "## How it was compared",
        "\n".join(f"- **{term}**: {markdown(text)}" for term, text in words.how_it_was_compared(comparison)),
        *_markdown_settings(comparison, names),
        "## Runs",
        "\n".join(f"- {markdown(name)}: {markdown(origin(comparison, k))}" for k, name in enumerate(names)),
    ]
    return "\n\n".join(parts) + "\n"


def pooled_cells(comparison: Comparison, row: Row) -> list[str] | None:
    """The pooled scores of a row, their difference and its interval as text; None without pooled scores."""
    return None if row.pooled is None else _paired(comparison, row.pooled)


def _paired(comparison: Comparison, found: Row | Pooled) -> list[str]:
    """Both scores, their difference and its interval as text."""
    measure = MEASURES[comparison.metric]
    digits = words.decimals(comparison, found.difference, found.low, found.high)
    return [
        measure.text(found.a),
        measure.text(found.b),
        words.difference(comparison, found.difference, digits),
        words.interval_text(comparison, found.low, found.high, digits) or "n/a",
    ]


def _markdown_pooled(comparison: Comparison) -> list[str]:
    rows = [
        [visible(comparison.runs[pair.b].label), visible(row.name), *found]
        for pair, row in rows_of(comparison)
        if (found := pooled_cells(comparison, row)) is not None
    ]
    if not rows:
        return []
    heading = ("Run", "Class", "Baseline", "Run's score", "Difference", "Interval")
    return [f"## {markdown(comparison.metric)}\\_pooled", markdown_table(heading, rows)]


def _markdown_settings(comparison: Comparison, names: list[str]) -> list[str]:
    if not comparison.settings:
        return []
    rows = [[visible(one.name), *(visible(value) or "null" for value in one.values)] for one in comparison.settings]
    return ["## What differs in the configurations", markdown_table(["Key", *names], rows)]


def origin(comparison: Comparison, number: int) -> str:
    """Where the masks of a run come from, in plain words."""
    run = comparison.runs[number]
    if run.predictions is not None:
        return f"{visible(run.folder)}, masks read from {visible(run.predictions)}"
    if run.checkpoint is None:
        return f"{visible(run.folder)}, {run.members} networks together"
    weights = run.checkpoint
    return (
        f"{visible(run.folder)}, {visible(weights.file)}, epoch {weights.epoch}, step {weights.step}, "
        f"SHA-256 {visible(weights.sha256)}"
    )


def tex_text(comparison: Comparison) -> str:
    """`table.tex`: a booktabs table with the difference, its interval, p and effect of every pair and class."""
    several = len(comparison.pairs) > 1
    heading = [
        *(["Run"] if several else []),
        "Class",
        "Baseline",
        "Run",
        "Difference",
        "Interval",
        "$p$",
        "Effect",
        "$+/=/-$",
    ]
    rows = [[tex(cell) for cell in (row if several else row[1:])] for row in _named_rows(comparison)]
    names = [visible(run.label) for run in comparison.runs]
    made = "BCa" if comparison.bootstrap.method == "bca" else "percentile"
    units = words.units(comparison, comparison.bootstrap.n)
    noun, tests = f"{comparison.bootstrap.unit}s", comparison.comparisons
    corrected = f" after Holm's correction for {tests} tests" if tests > 1 else ""
    caption = (
        f"{', '.join(names[1:])} against {names[0]} on the {visible(comparison.split)} split ({units}): "
        f"{comparison.per_image}, paired difference in {words.unit_of(comparison)} with {words.level_text(comparison)} "
        f"{made} bootstrap interval, two-sided Wilcoxon signed-rank p{corrected}, "
        f"rank-biserial effect size, and numbers of {noun} that are better, equal and worse. "
        f"{dict(words.how_it_was_compared(comparison))['Empty masks']} One run each."
    )
    return tex_table(heading, rows, tex(caption), label=f"tab:compare-{'-'.join(names)}-{comparison.split}")
