"""A study as text: the table on the terminal, and the tables of the pages."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from seg_scse.report.comparison_wording import p_text
from seg_scse.report.differences import MINUS, signed, span
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.study_parts import Cost, Row, StudyRun
from seg_scse.report.study_reading import Compared, Study
from seg_scse.report.study_wording import cautions, finding, level_text, sentences
from seg_scse.report.wording import grouped

_WIDTH = 120
_NAME = 30


@dataclass(frozen=True)
class Line:
    """A row of the page's table as text: pairs are a number and what stands in small print below it."""

    name: str
    says: str
    kind: str
    finding: str
    declared: bool
    seeds: str
    mean: str
    difference: tuple[str, str]
    bootstrap: str
    p: str
    effect: str
    images: tuple[str, str]
    others: tuple[tuple[str, str], ...]
    parameters: tuple[str, str]
    step: str
    memory: str
    reason: str


def shortened(name: str, room: int = _NAME) -> str:
    """Cut the middle out of a name that is too long: names of variants often share their beginning."""
    text = visible(name)
    return text if len(text) <= room else f"{text[: room // 2]}…{text[-(room - room // 2 - 1) :]}"


def lines(study: Study) -> list[Line]:
    """The baseline, the variants and the controls as rows of the page's table."""
    return [_baseline_line(study), *(_line(study, row) for row in (*study.variants, *study.controls))]


def _baseline_line(study: Study) -> Line:
    base, measure = study.baseline, MEASURES[study.metric]
    levels = [base.metrics[name] for name in study.metrics]
    sd = levels[0].sd
    spread = "" if sd is None else f"seeds ± {sd * (1 if measure.length else 100):.2f}"
    texts = [MEASURES[name].text(level.mean) for name, level in zip(study.metrics, levels, strict=True)]
    parameters = _parameters(base.cost, None)
    return Line(
        name=visible(base.name), says=visible(base.says), kind="baseline", finding="", declared=False,
        seeds=str(len(levels[0].by_seed) or ""), mean=texts[0], difference=("baseline", spread), bootstrap="", p="",
        effect="", images=("", ""), others=tuple((text, "mean") for text in texts[1:]), parameters=parameters,
        step=_step(base.cost), memory=_memory(base.cost), reason="",
    )  # fmt: skip


def _line(study: Study, one: Compared) -> Line:
    row, cost = one.metrics[study.metric], one.cost
    return Line(
        name=visible(one.name), says=visible(one.says), kind=one.kind, finding=finding(study, row),
        declared=one.kind != "control", seeds=str(row.seeds), mean=MEASURES[study.metric].text(row.mean),
        difference=_change(study, study.metric, row), bootstrap=_bootstrap(study, row),
        p=_p(one.kind != "control", row), effect=_effect(row), images=_images(row),
        others=tuple(_change(study, name, one.metrics[name]) for name in study.metrics[1:]),
        parameters=_parameters(cost, study.baseline.cost), step=_ratio(cost.step_ratio if cost else None),
        memory=_ratio(cost.memory_ratio if cost else None), reason=visible(row.reason),
    )  # fmt: skip


def against_lines(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """The treatment minus each control: (control, [difference and interval, p, effect, images, bootstrap])."""
    return [(visible(one.control), _against_cells(study, one.row)) for one in study.against]


def _against_cells(study: Study, row: Row) -> list[tuple[str, str]]:
    p, effect, bootstrap = ((text, "") for text in (_p(True, row), _effect(row), _bootstrap(study, row)))
    return [_change(study, study.metric, row), p, effect, _images(row), bootstrap]


def _change(study: Study, metric: str, row: Row) -> tuple[str, str]:
    unit, digits = study.unit(metric), study.digits(metric)
    return signed(unit, row.difference, digits), span(unit, row.low, row.high, digits)


def _bootstrap(study: Study, row: Row) -> str:
    """The two-level bootstrap's interval of the primary metric."""
    return span(study.unit(study.metric), row.bootstrap_low, row.bootstrap_high, study.digits(study.metric))


def _p(is_declared: bool, row: Row) -> str:
    return p_text(row.p_holm) if is_declared and row.tested else "not tested"


def _effect(row: Row) -> str:
    return "n/a" if row.effect is None else f"{row.effect:+.2f}".replace("-", MINUS)


def _images(row: Row) -> tuple[str, str]:
    """Units improved, equal and worse, and the share improved."""
    if not row.units:
        return "n/a", ""
    return f"{row.improved} / {row.ties} / {row.worse}", f"{100 * row.improved / row.units:.0f} % improved"


def _parameters(cost: Cost | None, base: Cost | None) -> tuple[str, str]:
    if cost is None or cost.parameters is None:
        return "n/a", ""
    more = ""
    if base is not None and base.parameters:
        more = f"{100 * (cost.parameters / base.parameters - 1):+.2f} %".replace("-", MINUS)
    return grouped(cost.parameters), more


def _step(cost: Cost | None) -> str:
    return "n/a" if cost is None or cost.step_ms is None else f"{cost.step_ms:.3g} ms"


def _memory(cost: Cost | None) -> str:
    return "n/a" if cost is None or cost.memory_bytes is None else f"{cost.memory_bytes / 2**20:.3g} MiB"


def _ratio(value: float | None) -> str:
    return "n/a" if value is None else f"× {value:.2f}"


def variant_rows(study: Study) -> list[list[str]]:
    """What was declared of every variant: name, kind, what it is, and its overrides."""
    rows = []
    for one in study.declaration.variants:
        kind = f"control of {visible(one.of)}" if one.of else one.kind
        trained = "" if one.trained else " (not trained)"
        rows.append([visible(one.name), kind, visible(one.says) + trained, visible(" ".join(one.overrides))])
    return rows


def run_rows(study: Study) -> list[tuple[str, list[str], str]]:
    """Every cell of the grid: (variant, its numbers as text, its error)."""
    return [(visible(run.variant), _run_cells(study, run), visible(run.error)) for run in study.runs]


def run_headings(study: Study) -> list[str]:
    """Headings of the numbers of `run_rows`."""
    scores = [MEASURES[name].heading(study.unit(name) or "px") for name in study.metrics]
    fold = ["Fold"] if study.declaration.folds else []
    return ["Seed", *fold, "Status", "Best epoch", study.selection.by, *scores, "Seconds"]


def _run_cells(study: Study, run: StudyRun) -> list[str]:
    scores = [MEASURES[name].text(getattr(run.scores, name) if run.scores else None) for name in study.metrics]
    fold = [] if not study.declaration.folds else ["" if run.fold is None else str(run.fold)]
    epoch = "" if run.best_epoch is None else str(run.best_epoch)
    value = "n/a" if run.val_score is None else f"{run.val_score:.4f}"
    return [
        str(run.seed), *fold, visible(run.status), epoch, value, *scores,
        "" if run.seconds is None else grouped(round(run.seconds)),
    ]  # fmt: skip


def terminal(study: Study) -> str:
    """Lay out a study as plain text of at most 120 columns: progress, table, sentences."""
    return "\n".join([grid(study), "", *_filled(sentences(study))])


def grid(study: Study) -> str:
    """Lay out progress and table, without the sentences."""
    measure, unit = MEASURES[study.metric], study.unit(study.metric)
    head = (
        f"{study.per_image} against {shortened(study.baseline.name)}, {visible(study.declaration.split)} split, "
        f"{study.data.images} images. Difference in {unit or 'points'}, {level_text(study)} interval "
        "(bootstrap: report.md)."
    )
    heading = ["Variant", "Seeds", measure.label, "Difference", "Interval", "p (Holm)", "Effect", "+ / = / -", "Step"]
    rows = _aligned([heading, *_terminal_rows(study)])
    return "\n".join([*_filled([*cautions(study), head]), "", *rows])


def _filled(texts: Iterable[str]) -> list[str]:
    return [textwrap.fill(text, _WIDTH, break_on_hyphens=False) for text in texts]


def _terminal_rows(study: Study) -> list[list[str]]:
    found = [
        [one.name, one.seeds, one.mean, *one.difference, one.p, one.effect, one.images[0], one.step]
        for one in lines(study)
    ]
    for one, (_, cells) in zip(study.against, against_lines(study), strict=True):
        names = [shortened(name, _NAME // 2 - 1) for name in (one.treatment, one.control)]
        (difference, interval), (p, _), (effect, _), (images, _), _ = cells
        found.append([" - ".join(names), str(one.row.seeds), "", difference, interval, p, effect, images, ""])
    return found


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns side by side; names take the room that the numbers leave."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = max(_NAME // 2, _WIDTH - sum(widths[1:]) - 2 * len(widths[1:]))
    return [
        "  ".join(
            cell.rjust(width) if place else shortened(cell, room).ljust(min(width, room))
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
