"""The table of scores for the terminal."""

import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Any

from seg_scse.report.reading import AVERAGES, FOREGROUND, METRICS, Results, visible
from seg_scse.report.wording import POLICIES, foreground, score

_WIDTH = 100
_SCORE = 8
_GROUP = _SCORE * len(METRICS)
_HEADINGS = "".join(f"{heading:>{_SCORE}}" for heading in ("Dice", "IoU", "Prec.", "Recall"))
_FOREGROUND_LABEL = "foreground"


def results_table(results: Mapping[str, Any]) -> str:
    """Lay out the scores of an evaluation as plain text.

    Args:
        results: content of `results.json`.

    Returns:
        Lines of at most 100 columns, without colour and without a final line break: what was measured, then one row per
        class and one for the foreground, with the scores per image and pooled and the number of images.

    Raises:
        pydantic.ValidationError: `results` is not what the evaluation writes.
    """
    checked = Results.model_validate(results)
    counts = max(len("scored"), len(str(checked.images))) + 2
    room = _WIDTH - 2 * _GROUP - 2 * counts
    names = [_shortened(visible(name), room) for name in checked.classes]
    width = max(map(_columns, [*names, _FOREGROUND_LABEL]))
    lines = [
        *_preamble(checked),
        "",
        f"{'':{width}}{'per image':>{_GROUP}}{'pooled':>{_GROUP}}{'images':>{2 * counts}}",
        f"{'class':{width}}{_HEADINGS}{_HEADINGS}{'scored':>{counts}}{'empty':>{counts}}",
    ]
    for name, label in zip(checked.classes, names, strict=True):
        cases = checked.cases[name]
        lines.append(f"{_row(checked, name, label, width)}{cases.scored:>{counts}}{cases.empty:>{counts}}")
    lines.append(_row(checked, FOREGROUND, _FOREGROUND_LABEL, width))
    return "\n".join(lines)


def _preamble(results: Results) -> list[str]:
    protocol = results.protocol
    epoch = "" if results.folds else f" of epoch {results.checkpoint.epoch}"
    text = (
        f"{visible(results.name)}: {visible(results.split)} split, {results.images} images, "
        f"{visible(protocol.resolution)} resolution, {visible(results.checkpoint.file)}{epoch}. "
        "Per image: mean over images; pooled: from the pixels of all images together. "
        f"Foreground: {foreground(results)}. Class in neither truth nor prediction: {POLICIES[protocol.empty]}."
    )
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)


def _row(results: Results, key: str, label: str, width: int) -> str:
    values = [results.scores[f"{metric}_{average}"][key] for average in AVERAGES for metric in METRICS]
    padding = " " * (width - _columns(label))
    return label + padding + "".join(f"{score(value):>{_SCORE}}" for value in values)


def _shortened(name: str, room: int) -> str:
    """Cut the middle out of a name that is too long: related names often share their beginning."""
    if _columns(name) <= room:
        return name
    head, tail = name, name
    while _columns(head) > room // 2:
        head = head[:-1]
    while _columns(tail) > room - room // 2 - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def _columns(text: str) -> int:
    """Terminal columns: East Asian characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
