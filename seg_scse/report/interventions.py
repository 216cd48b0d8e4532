"""What replacing the gates did: a table for the terminal and a forest plot, from `interventions.json`."""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, TypeAdapter

from seg_scse.files import write_bytes
from seg_scse.report.reading import STUDY, Checkpoint, Data, Part, Protocol, Score, read_json, visible
from seg_scse.report.wording import POLICIES, count, score

PLOT = "interventions.png"
INTERVENTIONS = {"identity": "#999999", "mean": "#0072B2", "other": "#D55E00", "shuffled": "#009E73"}
_WIDTH = 120
_MARKERS = "xosD"


class Change(Part):
    """A mean paired change of Dice with its interval; None = not available, for the reason given."""

    mean: float | None
    low: float | None
    high: float | None
    n: Annotated[int, Field(ge=0)]
    reason: str


class Cell(Part):
    """The scores under one intervention, and their change."""

    dice_per_image: Score
    dice_pooled: Score
    change: Change


class Row(Part):
    """A site, or all of them, by intervention; fewer where a block has no gates of its own to replace."""

    site: str
    kind: str
    interventions: dict[str, Cell]
    verdict: str | None
    reason: str
    """Why the verdict is `undecided` whatever the interval; empty otherwise."""


class InterventionProtocol(Protocol):
    """How the network was changed and compared, beside how it was scored."""

    seed: int
    mean_images: int
    resamples: int
    level: float
    unit: Literal["image", "group"]
    margin: float


class Interventions(Part):
    """The content of `interventions.json`, format 1."""

    format: Literal[1]
    name: str
    split: str
    images: int
    checkpoint: Checkpoint
    protocol: InterventionProtocol
    untouched: dict[str, Score]
    table: tuple[Row, ...]
    data: Data


def interventions_table(results: Mapping[str, Any], shown: str | None = None) -> str:
    """Lay out an intervention study as plain text.

    Args:
        results: content of `interventions.json`.
        shown: SHA-256 of the checkpoint whose results stand beside the table; a study of another carries a caution.

    Returns:
        Lines without colour and without a final line break: how the study was made, then one row per site with the
        change of the Dice per image by each intervention, its interval, and the verdict, then why some have none.

    Raises:
        pydantic.ValidationError: `results` is not what the study writes.
    """
    study = Interventions.model_validate(results)
    rows = [["stage", "gate", *INTERVENTIONS, "verdict"]]
    for row in study.table:
        cells = [_cell(row.interventions.get(intervention)) for intervention in INTERVENTIONS]
        rows.append([visible(row.site), visible(row.kind), *cells, row.verdict or "n/a"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*_preamble(study, shown), "", *lines, *_reasons(study)])


def _reasons(study: Interventions) -> list[str]:
    """Say where there are too few images for a verdict."""
    sites: dict[str, list[str]] = {}
    for row in study.table:
        if row.reason:
            sites.setdefault(row.reason, []).append(visible(row.site))
    sentences = [f"Undecided, {visible(reason)}: {', '.join(names)}." for reason, names in sites.items()]
    return [line for sentence in sentences for line in textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False)]


def _preamble(study: Interventions, shown: str | None) -> list[str]:
    protocol, available = study.protocol, study.data.samples.get(study.split, study.images)
    chosen = "all" if study.images == available else f"a random {study.images} of {available}"
    unit = "images" if protocol.unit == "image" else "groups"
    text = (
        f"{visible(study.name)}: {visible(study.split)} split, {chosen} images; {visible(study.checkpoint.file)} of "
        f"epoch {study.checkpoint.epoch}. Untouched: Dice per image {score(study.untouched['dice_per_image'])}, pooled "
        f"{score(study.untouched['dice_pooled'])} (foreground; class in neither truth nor prediction: "
        f"{POLICIES[protocol.empty]}). Cells: change of Dice per image in points (hundredths), mean of the paired "
        f"differences [{protocol.level:.0%} interval from {protocol.resamples} resamples of {unit}, n = "
        f"{_units(study)}]; below 0: the gate was of use. Means are of "
        f"{count(protocol.mean_images, 'training image')}. Verdict, from the interval of `mean`: `free to fold` "
        f"within +-{100 * protocol.margin:g} points, `earns its place` below 0, `better frozen` above 0."
    )
    if not study.data.same_as_training:
        text += " Caution: these are not the data that the network was trained with."
    if shown not in (None, study.checkpoint.sha256):
        text += " Caution: these are other weights than those of the results shown here; run --intervene again."
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)


def _units(study: Interventions) -> str:
    """Number of independent units behind the changes; they differ where some images are scored only in some cells."""
    found = [cell.change.n for row in study.table for cell in row.interventions.values()]
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"


def _cell(cell: Cell | None) -> str:
    """Change in points with its interval."""
    change = None if cell is None else cell.change
    if change is None or change.mean is None:
        return "n/a"
    mean = f"{100 * change.mean:+.2f}"
    if change.low is None or change.high is None:
        return mean
    return f"{mean} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"


def read_interventions(folder: Path) -> Interventions:
    """Read `interventions.json`.

    Raises:
        DataError: the file is absent or not what the study writes.
    """
    return read_json(folder / STUDY, TypeAdapter(Interventions))


def plot(results_dir: Path) -> Path:
    """Draw `interventions.png`: for each site and intervention the change of Dice with its interval.

    Args:
        results_dir: folder with `interventions.json`.

    Returns:
        The path of the PNG.

    Raises:
        DataError: `interventions.json` is absent or damaged.
        WriteError: the folder cannot be written.
    """
    study = read_interventions(results_dir)
    figure = Figure(figsize=(8, 1.6 + 0.62 * len(study.table)), dpi=120, layout="constrained")
    axes = figure.subplots()
    _draw(axes, study)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path = results_dir / PLOT
    write_bytes(path, buffer.getvalue())
    return path


def _draw(axes: Axes, study: Interventions) -> None:
    margin = study.protocol.margin
    axes.axvspan(-margin, margin, color="#dddddd", linewidth=0, label=f"within {margin:g}")
    axes.axvline(0, color="black", linewidth=0.8)
    for number, ((intervention, colour), marker) in enumerate(zip(INTERVENTIONS.items(), _MARKERS, strict=True)):
        found = [
            (place + 0.18 * (number - 1.5), row.interventions[intervention].change)
            for place, row in enumerate(study.table)
            if intervention in row.interventions
        ]
        points = [(y, change, change.mean) for y, change in found if change.mean is not None]
        for y, change, _ in points:
            if change.low is not None and change.high is not None:
                axes.plot((change.low, change.high), (y, y), color=colour, linewidth=1.6)
        label = "other image" if intervention == "other" else intervention
        axes.plot([mean for *_, mean in points], [y for y, *_ in points], marker, color=colour, ms=5, label=label)
    names = [f"{visible(row.site)} ({visible(row.kind)})\n{row.verdict or 'n/a'}" for row in study.table]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"change of Dice per image, {study.protocol.level:.0%} interval; {study.images} images")
    axes.set_title(f"{visible(study.name)}, {visible(study.split)}: gates replaced", loc="left", fontsize=10)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
