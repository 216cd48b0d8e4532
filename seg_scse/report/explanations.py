"""What an explanation shows: a picture per image, an HTML page, a section of the report, a table for the terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg_scse.files import write_bytes, write_text
from seg_scse.report import interventions, wording
from seg_scse.report.explained import PROFILES, Explanation, Spread, Stage, StageStudy, read_arrays, read_explanation
from seg_scse.report.gate_page import draw_page
from seg_scse.report.profiles import draw_profiles
from seg_scse.report.reading import EXPLANATION, STUDY, Results, visible
from seg_scse.report.rendering import data_uri, environment
from seg_scse.report.sheet import png_of

MOST_EMBEDDED = 12
"""Pictures put into the HTML page, so that it can be mailed; all of them are files."""
PROFILE, PAGE = "profile.png", "explain.html"

_INTERVENTIONS = "interventions-"
_WIDTH = 100


@dataclass(frozen=True)
class GateRow:
    """One gate of a stage in the table; a stage whose block has no separate gates has one row without `gate`."""

    stage: Stage
    gate: str | None
    spread: Spread | None
    study: StageStudy

    @property
    def auroc(self) -> float | None:
        """Mean AUROC of a spatial gate for the foreground."""
        score = self.study.auroc.get("foreground") if self.gate == "spatial" else None
        return score.mean if score else None

    @property
    def between_images(self) -> float | None:
        """Standard deviation over the images of a channel's gate."""
        return self.study.between_images if self.gate == "channel" else None

    @property
    def eta_squared(self) -> float | None:
        """Share of a channel gate's variance between groups of tiles."""
        return self.study.eta_squared if self.gate == "channel" else None


@dataclass(frozen=True)
class Replaced:
    """What replacing gates did, as a text table and a picture inside the page."""

    table: str
    plot: str


@dataclass(frozen=True)
class AttentionSection:
    """What a page says about the gates of a network; `explanation` is None where none was made."""

    command: str = ""
    explanation: Explanation | None = None
    same_weights: bool = True
    rows: tuple[GateRow, ...] = ()
    profile: str | None = None
    interventions: Replaced | None = None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(term, sentence) pairs on what was studied, how to read it, and what was noticed."""
        if self.explanation is None:
            return []
        flags = [("Noticed", sentence) for sentence in wording.noticed(self.explanation)]
        return [*wording.what_was_studied(self.explanation), *wording.how_to_read_gates(self.explanation), *flags]


def write_explanation(folder: Path) -> list[Path]:
    """Draw `pages/N.png` and `profile.png`, and write `explain.html` of an explanation.

    Args:
        folder: with `explain.json`, `profiles.npz` and `pages/N.npz`.

    Returns:
        The files written.

    Raises:
        DataError: a file is missing or damaged; the message names it and the cure.
        WriteError: a file cannot be written.
    """
    explanation = read_explanation(folder)
    written = []
    for page in explanation.pages:
        picture = (folder / page.arrays).with_suffix(".png")
        write_bytes(picture, png_of(draw_page(explanation, page, read_arrays(folder / page.arrays))))
        written.append(picture)
    profile = draw_profiles(explanation, read_arrays(folder / PROFILES))
    (folder / PROFILE).unlink(missing_ok=True)
    if profile is not None:
        write_bytes(folder / PROFILE, profile)
        written.append(folder / PROFILE)
    return [*written, write_explanation_page(folder)]


def write_explanation_page(folder: Path) -> Path:
    """Write `explain.html` from an explanation whose pictures are drawn."""
    section = _section(folder)
    assert section.explanation is not None
    pages = section.explanation.pages[:MOST_EMBEDDED]
    pictures = [(page, data_uri((folder / page.arrays).with_suffix(".png").read_bytes())) for page in pages]
    html = environment().get_template("explain.html").render(attention=section, pictures=pictures)
    write_text(folder / PAGE, html)
    return folder / PAGE


def explanation_folder(evaluation_dir: Path) -> Path:
    """Return where the explanation lies that belongs to an evaluation: `RUN/explain/<split>`."""
    kinds = evaluation_dir.resolve().parent
    return kinds.with_name(kinds.name.removesuffix("evaluation") + "explain") / evaluation_dir.name


def explained_folder(interventions_dir: Path) -> Path:
    """Return where the explanation lies that belongs to interventions in `RUN/explain/interventions-<split>`."""
    return interventions_dir.with_name(interventions_dir.name.removeprefix(_INTERVENTIONS))


def evaluation_folder(explain_dir: Path) -> Path:
    """Return where the evaluation lies that belongs to an explanation: `RUN/evaluation/<split>`."""
    kinds = explain_dir.resolve().parent
    return kinds.with_name(kinds.name.removesuffix("explain") + "evaluation") / explain_dir.name


def attention_section(evaluation_dir: Path, results: Results) -> AttentionSection | None:
    """Return what the report of an evaluation says about gates; None for a network without them, and for several."""
    if results.checkpoint is None or results.config.get("model", {}).get("attention", {}).get("type", "none") == "none":
        return None
    folder, weights = explanation_folder(evaluation_dir), results.checkpoint.sha256
    section = (
        _section(folder, weights)
        if (folder / EXPLANATION).exists()
        else AttentionSection(interventions=_interventions(folder, weights))
    )
    last = " --checkpoint last" if evaluation_dir.name.endswith("-last") else ""
    same = section.explanation is None or section.explanation.checkpoint.sha256 == weights
    return replace(section, command=f"seg-scse explain RUN --split {results.split}{last}", same_weights=same)


def _section(folder: Path, weights: str | None = None) -> AttentionSection:
    """Gather what is known; `weights`: the digest of those that the page is about, else those of the explanation."""
    explanation = read_explanation(folder)
    profile = folder / PROFILE
    return AttentionSection(
        explanation=explanation,
        rows=tuple(gate_rows(explanation)),
        profile=data_uri(profile.read_bytes()) if profile.exists() else None,
        interventions=_interventions(folder, weights or explanation.checkpoint.sha256),
    )


def _interventions(folder: Path, weights: str) -> Replaced | None:
    """Return the interventions on the split of an explanation, where there are any, for a page about `weights`."""
    results = folder.with_name(_INTERVENTIONS + folder.name)
    if not (results / STUDY).exists():
        return None
    table = interventions.interventions_table(interventions.read_interventions(results).model_dump(), weights)
    return Replaced(table, data_uri(interventions.plot(results).read_bytes()))


def gate_rows(explanation: Explanation) -> Iterator[GateRow]:
    """Yield the rows of the table of gates, in the order of the network; none without a study."""
    for stage in explanation.stages if explanation.study else ():
        study = explanation.study.stages[stage.site] if explanation.study else None
        assert study is not None
        if not study.gates:
            yield GateRow(stage, None, None, study)
        for name, spread in study.gates.items():
            yield GateRow(stage, name, spread, study)


def explanation_table(content: Mapping[str, Any]) -> str:
    """Lay out what was found out about the gates as plain text.

    Args:
        content: content of `explain.json`.

    Returns:
        Lines of at most 100 columns without a final line break: what was studied, a row per gate, and the flags.

    Raises:
        pydantic.ValidationError: `content` is not what `explain` writes.
    """
    explanation = Explanation.model_validate(content)
    lines = _wrapped(sentence for _, sentence in wording.what_was_studied(explanation))
    rows = list(gate_rows(explanation))
    if not rows:
        return "\n".join(lines)
    width = min(26, max(len("stage"), *(len(row.stage.site) for row in rows)))
    columns = f"{'C':>5}{'mean':>7}{'spread':>8}{'satur.':>8}{'AUROC':>8}{'eta2':>7}"
    head = f"{'stage':{width}}  {'block':<10}{'gate':<9}{columns}"
    table = [f"{head}  flags", *(_line(row, width) for row in rows)]
    return "\n".join([*lines, "", *table, *_wrapped(wording.noticed(explanation))])


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [line for sentence in sentences for line in textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False)]


def _line(row: GateRow, width: int) -> str:
    site = row.stage.site if len(row.stage.site) <= width else "…" + row.stage.site[1 - width :]
    head = f"{visible(site):{width}}  {row.stage.type:<10}{row.gate or '-':<9}{row.stage.channels:>5}"
    if row.spread is None:
        return f"{head}  no separate gates: see the maps before and after it"
    saturated = f"{row.spread.low + row.spread.high:.1%}"
    numbers = f"{row.spread.mean:>7.3f}{row.spread.std:>8.3f}{saturated:>8}"
    others = f"{_cell(row.auroc):>8}{_cell(row.eta_squared):>7}"
    return f"{head}{numbers}{others}  {' '.join(row.spread.flags)}".rstrip()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
