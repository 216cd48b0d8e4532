"""Text for Markdown and LaTeX: escaped, so that no name can change the layout or run a command."""

import re
from collections.abc import Sequence

from seg_scse.report.reading import visible

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "[": "{[}",  # after the end of a row, [ would be its height
    "]": "{]}",
    "*": "{*}",  # and * would forbid a page break
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl does not exist in the encoding that LaTeX begins with
    "\u202f": r"\,",
    "×": r"$\times$",
    "±": r"$\pm$",
    "\u2212": r"$-$",
    "“": "``",
    "”": "''",
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#&~])")
_LABEL = re.compile(r"[^A-Za-z0-9:.-]+")


def tex(text: str) -> str:
    """Escape plain text for LaTeX, also at the beginning of a row; characters that cannot be printed are shown."""
    return "".join(_TEX.get(char) or (char if char.isprintable() else tex(visible(char))) for char in text)


def markdown(text: str) -> str:
    """Escape plain text for Markdown, also inside a table, so that names cannot become markup or HTML."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; the first column to the left, numbers to the right. Cells are escaped."""
    lines = [_row(heading), _row(["---", *["---:"] * (len(heading) - 1)], escape=False), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str], escape: bool = True) -> str:
    return f"| {' | '.join(markdown(cell) if escape else cell for cell in cells)} |"


def tex_table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    label: str,
    spans: Sequence[tuple[str, int]] = (),
) -> str:
    r"""Lay out a `table` environment for `\usepackage{booktabs}`.

    Args:
        heading: cells, escaped.
        rows: cells, escaped.
        caption: escaped text.
        label: of any characters; those that LaTeX does not take in a label become `-`.
        spans: headings above the heading, escaped, from the second column on, each with its number of columns.
    """
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{{_LABEL.sub('-', label)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}",
        r"\toprule",
        *_spans(spans),
        " & ".join(heading) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _spans(spans: Sequence[tuple[str, int]]) -> list[str]:
    """A row of headings over several columns, with a rule below each."""
    present, cells, rules, first = [span for span in spans if span[1]], [""], [], 2
    for label, columns in present:
        cells.append(rf"\multicolumn{{{columns}}}{{c}}{{{label}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + columns - 1}}}")
        first += columns
    return [" & ".join(cells) + r" \\", " ".join(rules)] if present else []
