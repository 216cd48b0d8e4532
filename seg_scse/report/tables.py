"""The tables of one evaluation for papers: `report.md`, `table.tex` and `table.csv`, from its result files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from seg_scse.files import write_text
from seg_scse.report import measured, precision
from seg_scse.report.citation import citation
from seg_scse.report.headings import AVERAGING, MEASURES, Measure, measure_of
from seg_scse.report.per_image import PerImage, read_per_image
from seg_scse.report.reading import FOREGROUND, Results, read_results, visible
from seg_scse.report.tables_text import markdown, markdown_table, tex, tex_table
from seg_scse.report.wording import POLICIES, count, foreground, when

MARKDOWN, TEX, CSV = "report.md", "table.tex", "table.csv"

PAPER = ("dice_per_image", "iou_per_image", "hd95_per_image", "nsd_per_image", "dice_pooled", "iou_pooled")
"""Scores of `table.tex`, as far as measured; `table.csv` and `report.md` hold all of them."""
WORST = 10
"""Images listed as the worst."""


def write_tables(evaluation_dir: Path) -> list[Path]:
    """Write `report.md`, `table.tex` and `table.csv` of an evaluation.

    Args:
        evaluation_dir: folder with `results.json` and `per_image.csv`.

    Returns:
        the paths of the three files.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: a file cannot be written.
    """
    results = read_results(evaluation_dir / "results.json")
    per_image = read_per_image(evaluation_dir / "per_image.csv", results)
    contents = {MARKDOWN: _markdown(results, per_image), TEX: _tex(results), CSV: _csv(results)}
    for name, content in contents.items():
        write_text(evaluation_dir / name, content)
    return [evaluation_dir / name for name in contents]


def _csv(results: Results) -> str:
    """One row per score and class: its interval, the independent units, the policy, and the images with the class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["score", "class", "value", "low", "high", "level", "units", "policy", "scored", "empty"])
    level = "" if results.bootstrap is None else results.bootstrap.level
    for key in _keys(results):
        for name in _names(results):
            value, interval = results.score(key, name), results.interval(key, name)
            ends = ["", "", ""] if interval is None else [*interval, level]
            cases = results.cases.get(name)
            held = ["", ""] if cases is None else [cases.scored, cases.empty]
            how = [results.units, results.protocol.empty]
            writer.writerow([key, name, "" if value is None else value, *ends, *how, *held])
    return text.getvalue()


def _keys(results: Results) -> list[str]:
    """Names of all scores, in the order of the tables."""
    order = list(MEASURES)
    averages = list(AVERAGING)
    known = [key for key in results.scores if measure_of(key) in MEASURES]
    return sorted(known, key=lambda key: (averages.index(_averaging(key)), order.index(measure_of(key))))


def _averaging(key: str) -> str:
    return next(averaging for averaging in AVERAGING if key.endswith(averaging))


def _names(results: Results) -> tuple[str, ...]:
    return (FOREGROUND, *results.classes)


def _row_label(results: Results, name: str) -> str:
    """The name of a class, or what the mean over the foreground is called."""
    if name != FOREGROUND or name in results.classes:
        return visible(name)
    return "Foreground" if len(results.foreground) == 1 else "Foreground (mean)"


def _tex(results: Results) -> str:
    """A booktabs table: classes downwards, scores across, with intervals in small print below each number."""
    keys = [key for key in PAPER if key in results.scores]
    unit = precision.unit_of(results)
    rows = []
    for name in _tex_names(results):
        rows.append([tex(_row_label(results, name)), *(_tex_value(results, key, name) for key in keys)])
        if any(results.interval(key, name) for key in keys):
            rows.append(["", *(_tex_interval(results, key, name) for key in keys)])
    heading = ["Class", *(tex(MEASURES[measure_of(key)].heading(unit)) for key in keys)]
    spans = [(label, sum(key.endswith(averaging) for key in keys)) for averaging, label in AVERAGING.items()]
    return tex_table(heading, rows, _caption(results), f"tab:{results.name}-{results.split}", spans)


def _tex_names(results: Results) -> list[str]:
    """Classes, then the foreground where it is more than one class."""
    classes = list(results.classes)
    return classes if len(results.foreground) == 1 else [*classes, FOREGROUND]


def _tex_value(results: Results, key: str, name: str) -> str:
    return tex(MEASURES[measure_of(key)].text(results.score(key, name)))


def _tex_interval(results: Results, key: str, name: str) -> str:
    ends = precision.short_interval(results.interval(key, name), MEASURES[measure_of(key)])
    return "" if ends is None else rf"{{\scriptsize {tex(ends)}}}"


def _caption(results: Results) -> str:
    """Everything that is needed to compare the numbers, as LaTeX."""
    intervals = precision.how_intervals_were_made(results)
    said = f"In small print: {intervals}" if intervals else ""
    text = (
        f"{visible(results.name)} on {measured.which_images(results)} (n = {precision.sample(results)}, "
        f"{measured.resolution(results)}). Per image: mean over the images of each image's score; pooled: one score "
        f"from the pixels of all images. Foreground: {foreground(results)}. A class in neither truth nor prediction of "
        f"an image is {POLICIES[results.protocol.empty]} ({measured.empty_pairs(results)} of "
        f"{measured.foreground_pairs(results)} cases). {said}"
    )
    return tex(text.strip())


def _markdown(results: Results, per_image: PerImage) -> str:
    parts = [
        f"# {markdown(visible(results.name))}",
        f"{markdown(measured.split_name(results))}, {count(results.images, 'image')}, evaluated "
        f"{markdown(when(results.created))}.",
        _headline(results),
        *(f"> **Caution:** {markdown(caution)}" for caution in measured.cautions(results)),
        "## What was measured",
        "\n".join(f"- **{term}**: {markdown(text)}" for term, text in measured.what_was_measured(results, per_image)),
        "## Scores per class",
        *_class_tables(results),
        "## Worst images",
        _worst(per_image),
        "## To cite these numbers",
        markdown(citation(results)),
        "## Provenance",
        _provenance(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(results: Results) -> str:
    rows = [
        [line.label, line.averaging, line.value, line.interval or "", line.half_width or "", line.n]
        for line in precision.headlines(results)
    ]
    heading = ["Score", "Averaging", "Value", f"{precision.level(results)} interval", "Half-width", "n"]
    allows = precision.what_the_size_allows(results)
    return markdown_table(heading, rows) + (f"\n\n{allows}" if allows else "")  # no name is in it, but code


def _class_tables(results: Results) -> list[str]:
    """One table for each averaging; a score and its interval in each cell."""
    unit, found = precision.unit_of(results), []
    for averaging, label in AVERAGING.items():
        keys = [key for key in _keys(results) if key.endswith(averaging)]
        heading = ["Class", *(MEASURES[measure_of(key)].heading(unit) for key in keys), "scored", "empty"]
        rows = []
        for name in _names(results):
            cases = results.cases.get(name)
            held = ["", ""] if cases is None else [str(cases.scored), str(cases.empty)]
            rows.append([_row_label(results, name), *(_cell(results, key, name) for key in keys), *held])
        found += [f"### {label}", markdown_table(heading, rows)]
    return found


def _cell(results: Results, key: str, name: str) -> str:
    measure: Measure = MEASURES[measure_of(key)]
    interval = results.interval(key, name)
    said = "" if interval is None else f" [{', '.join(map(measure.text, interval))}]"
    return measure.text(results.score(key, name)) + said


def _worst(per_image: PerImage) -> str:
    """The images with the lowest foreground Dice."""
    dice = per_image.column("dice") or ()
    ranked: Sequence[tuple[float, str]] = sorted(
        (value, name) for value, name in zip(dice, per_image.ids, strict=True) if value is not None
    )
    if not ranked:
        return "No image has a Dice."
    rows = [[visible(name), MEASURES["dice"].text(value)] for value, name in ranked[:WORST]]
    return markdown_table(["Image", "Foreground Dice"], rows)


def _provenance(results: Results) -> str:
    data, checkpoint = results.data, results.checkpoint
    facts = [("Weights", measured.origin(results))]
    if checkpoint is not None:
        facts.append(("SHA-256", checkpoint.sha256))
    facts += [(f"SHA-256 of {member.run}", member.sha256) for member in results.members]
    if data.digest is not None:
        facts.append(("Digest of the data", data.digest))
    facts.append(("Device", results.device))
    facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in results.versions.items())))
    return "\n".join(f"- **{markdown(visible(term))}**: {markdown(visible(text))}" for term, text in facts)
