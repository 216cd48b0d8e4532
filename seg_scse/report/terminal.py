"""The table of scores for the terminal."""

import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Any

from seg_scse.report.citation import decision
from seg_scse.report.headings import MEASURES, measure_of
from seg_scse.report.measured import split_name
from seg_scse.report.precision import level, sample, unit_of
from seg_scse.report.reading import FOREGROUND, Results, visible
from seg_scse.report.wording import POLICIES, foreground

_WIDTH = 100
_COLUMN = 13
_FOREGROUND_LABEL = "foreground"
_COLUMNS = {
    "dice_per_image": "Dice/image",
    "dice_pooled": "Dice pooled",
    "iou_per_image": "IoU/image",
    "iou_pooled": "IoU pooled",
    "hd95_per_image": "HD95",
}


def results_table(results: Mapping[str, Any]) -> str:
    """Lay out the scores of an evaluation as plain text.

    Args:
        results: content of `results.json`.

    Returns:
        Lines of at most 100 columns, without colour and without a final line break: what was measured, then one row per
        class and one for the foreground with Dice and IoU per image and pooled, HD95 where it was measured and the
        number of images, and a last row with the intervals of the foreground.

    Raises:
        pydantic.ValidationError: `results` is not what the evaluation writes.
    """
    checked = Results.model_validate(results)
    keys = [key for key in _COLUMNS if key in checked.scores]
    counts = max(len("scored"), len(str(checked.images))) + 2
    room = _WIDTH - _COLUMN * len(keys) - 2 * counts
    names = [_shortened(visible(name), room) for name in checked.classes]
    interval = f"{level(checked)} interval"
    width = max(map(_columns, [*names, _FOREGROUND_LABEL, interval]))
    headings = "".join(f"{_heading(key, checked):>{_COLUMN}}" for key in keys)
    lines = [*_preamble(checked), "", f"{'class':{width}}{headings}{'scored':>{counts}}{'empty':>{counts}}"]
    for name, label in zip(checked.classes, names, strict=True):
        cases = checked.cases[name]
        row = _row(checked, keys, name, label, width)
        lines.append(f"{row}{cases.scored:>{counts}}{cases.empty:>{counts}}")
    lines.append(_row(checked, keys, FOREGROUND, _FOREGROUND_LABEL, width))
    if any(checked.interval(key) for key in keys):
        cells = "".join(f"{_interval(checked, key):>{_COLUMN}}" for key in keys)
        lines.append(f"{interval:{width}}{cells}")
    return "\n".join(lines)


def _preamble(results: Results) -> list[str]:
    text = (
        f"{visible(results.name)}: {split_name(results)}, {sample(results)}, "
        f"{visible(results.protocol.resolution)} resolution, {decision(results)}{_origin(results)}. "
        "Per image: mean over images; pooled: from the pixels of all images together. "
        f"Foreground: {foreground(results)}. Class in neither truth nor prediction: "
        f"{POLICIES[results.protocol.empty]}."
    )
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)


def _origin(results: Results) -> str:
    if results.predictions is not None:
        return f"masks from {visible(results.predictions)}"
    if results.checkpoint is None:
        return f"{len(results.members)} networks together"
    epoch = "" if results.folds else f" of epoch {results.checkpoint.epoch}"
    return f"{visible(results.checkpoint.file)}{epoch}"


def _heading(key: str, results: Results) -> str:
    return f"{_COLUMNS[key]} ({unit_of(results)})" if MEASURES[measure_of(key)].length else _COLUMNS[key]


def _row(results: Results, keys: list[str], name: str, label: str, width: int) -> str:
    cells = (MEASURES[measure_of(key)].text(results.score(key, name)) for key in keys)
    return label + " " * (width - _columns(label)) + "".join(f"{cell:>{_COLUMN}}" for cell in cells)


def _interval(results: Results, key: str) -> str:
    """`0.831-0.876`; empty without an interval."""
    interval = results.interval(key)
    if interval is None:
        return ""
    digits = 3
    if MEASURES[measure_of(key)].length:
        digits = 1 if interval[1] < 100 else 0  # pixels of a large image would not fit
    return f"{interval[0]:.{digits}f}-{interval[1]:.{digits}f}"


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
