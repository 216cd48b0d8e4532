"""What a study of variants found, in one honest sentence for each declared comparison, and a summary before them."""

from seg_scse.report.comparison_wording import BETTER, SAME, UNDECIDED, UNTESTED, WORSE, p_text
from seg_scse.report.differences import signed, span
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.study_parts import Row
from seg_scse.report.study_reading import Against, Compared, Study
from seg_scse.report.wording import count, joined

MATCHED = "wider"
"""The control that has as many parameters as the treatment and no gates."""

_CONTROLS = {
    "wider": (
        "as many parameters without gates",
        "attention brings more than its parameters",
        "the parameters alone may do as much",
    ),
    "constant": (
        "a learned scale per channel that does not look at the image",
        "the gates do more than scale the channels",
        "a fixed scale per channel may do as much",
    ),
    "identity": (
        "the same gates, started as the identity",
        "the scale at which gates start makes a difference",
        "the scale at which gates start may not matter",
    ),
    "frozen": (
        "its own gates, replaced by their mean over training images",
        "the gates use what is in the single image",
        "nothing shows that the gates use what is in the single image",
    ),
}
"""Of each control: what it is, what a gain over it says, and what no difference to it says."""


def study_summary(study: Study) -> str:
    """One or two sentences on all variants together, and on the treatment's controls."""
    findings = {row.name: finding(study, row.metrics[study.metric]) for row in study.variants}
    named = {kind: [visible(name) for name, found in findings.items() if found == kind] for kind in (BETTER, WORSE)}
    tested = [name for name, found in findings.items() if found != UNTESTED]
    base = visible(study.baseline.name)
    if not tested:
        return f"Nothing can be said of the variants yet: no difference to {base} could be tested."
    parts = [f"{joined(names)} {_is(names)} {kind} than {base}" for kind, names in named.items() if names]
    first = f"Of {count(len(findings), 'variant')}, " if len(findings) > 1 else ""
    if parts:
        undecided = len(tested) - sum(map(len, named.values()))
        parts += [f"{'the other' if undecided == 1 else 'the others'} cannot be told from it"] * (undecided > 0)
        said = first + "; ".join(parts)
    else:
        said = f"No variant can be told from {base}" if first else f"{visible(tested[0])} cannot be told from {base}"
    left_out = len(findings) - len(tested)
    rest = f"; {count(left_out, 'variant')} could not be tested" if left_out else ""
    return " ".join(filter(None, [f"{said}{rest}.", _controls_together(study)]))


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _controls_together(study: Study) -> str:
    """Which controls the treatment is told from."""
    kinds: dict[str, list[str]] = {}
    for one in study.against:
        kinds.setdefault(finding(study, one.row), []).append(visible(one.control))
    if not kinds or set(kinds) == {UNTESTED}:
        return ""
    words = {
        BETTER: "is better than",
        WORSE: "is worse than",
        UNDECIDED: "cannot be told from",
        SAME: "scores the same as",
        UNTESTED: "could not be tested against",
    }
    said = [f"{words[kind]} {joined(kinds[kind])}" for kind in words if kind in kinds]
    return f"Against its controls: {visible(study.against[0].treatment)} {'; it '.join(said)}."


def what_is_missing(study: Study) -> str:
    """What an interval and a test would need; empty where all declared comparisons have one."""
    reasons = list(dict.fromkeys(visible(row.reason).rstrip(".") for row in declared(study) if row.reason))
    if not reasons:
        return ""
    more = (
        " One seed of each variant cannot tell a variant from the chance of its training: add seeds to this study."
        if len(study.declaration.seeds) < 2
        else ""
    )
    return f"What is missing for intervals and tests: {'; '.join(reasons)}.{more}"


def cautions(study: Study) -> list[str]:
    """What a reader must know before the answer: what is not finished, was added late, or is missing."""
    return [
        text
        for text in (progress(study), added_later(study), *map(visible, study.notes), what_is_missing(study))
        if text
    ]


def added_later(study: Study) -> str:
    """What was added when results could be seen, and why that matters; empty where nothing was."""
    lines = [line for line in study.declaration.history[1:] if not line.endswith("after 0 finished runs")]
    if not lines:
        return ""
    return (
        f"Not all of this was declared before the first run: {'; '.join(map(visible, lines))}. Who adds until a "
        "difference shows finds one by chance more often than p says."
    )


def declared(study: Study) -> list[Row]:
    """Rows of the comparisons that were declared: variants against the baseline, the treatment against its controls."""
    return [*(row.metrics[study.metric] for row in study.variants), *(one.row for one in study.against)]


def finding(study: Study, row: Row) -> str:
    """`better` or `worse` where it is distinguishable, `undecided`, `untested`, or `same` where all units are equal.

    Distinguishable: the test passes after Holm's correction, and the interval leaves out 0.
    """
    if row.units and row.improved == row.worse == 0 and row.difference == 0:
        return SAME
    if not row.tested or row.p_holm is None or row.low is None or row.high is None or row.difference is None:
        return UNTESTED
    if row.p_holm > study.alpha or row.low <= 0 <= row.high:
        return UNDECIDED
    return BETTER if gain(study.metric, row.difference) > 0 else WORSE


def gain(metric: str, value: float) -> float:
    """A difference whose sign says which way is better."""
    return -value if MEASURES[metric].better == "lower" else value


def comparison_sentence(study: Study, one: Compared) -> str:
    """One sentence on a variant against the baseline."""
    row, base = one.metrics[study.metric], visible(study.baseline.name)
    if row.difference is None:
        return f"{visible(one.name)} cannot be compared with {base}: {_reason(row)}."
    said = {
        BETTER: f"distinguishable from {base}",
        WORSE: f"distinguishable from {base}, and worse",
        UNDECIDED: f"not distinguishable from {base}{_contradiction(study, row)}",
        UNTESTED: f"not tested, because {_reason(row)}",
        SAME: f"not distinguishable from {base}, equal in every image",
    }[finding(study, row)]
    return f"{visible(one.name)} {_verb(study, row)} {_certainty(study, row)}: {said}{_matched(study, one)}."


def against_sentence(study: Study, one: Against) -> str:
    """One sentence on the treatment against a control, and what that says about its gates."""
    row, control = one.row, visible(one.control)
    is_what, told, not_told = _CONTROLS.get(one.control, (_says(study, one.control), "", ""))
    name = f"{control} ({is_what})" if is_what else control
    start = f"{visible(one.treatment)} against {name}:"
    if row.difference is None:
        return f"{start} cannot be compared, {_reason(row)}."
    kind = finding(study, row)
    said = {
        BETTER: "distinguishable" + (f": {told}" if told else ""),
        WORSE: "distinguishable: the control is better",
        UNDECIDED: f"not distinguishable{_contradiction(study, row)}" + (f": {not_told}" if not_told else ""),
        UNTESTED: f"not tested, because {_reason(row)}",
        SAME: "not distinguishable, equal in every image" + (f": {not_told}" if not_told else ""),
    }[kind]
    return f"{start} {signed_text(study, row.difference)} {_certainty(study, row)}, {said}."


def _says(study: Study, name: str) -> str:
    row = study.row(name)
    return "" if row is None else visible(row.says)


def _verb(study: Study, row: Row) -> str:
    """`improves dice_per_image by 0.4 points`."""
    value = row.difference or 0.0
    if value == 0:
        return f"leaves {study.per_image} as it is"
    unit = study.unit(study.metric)
    size = signed(unit, abs(value), study.digits(study.metric)).lstrip("+")
    verb = "improves" if gain(study.metric, value) > 0 else "worsens" if unit else "lowers"
    return f"{verb} {study.per_image} by {size} {unit or 'points'}"


def _certainty(study: Study, row: Row) -> str:
    """`(95 % interval −0.2 to +1.0, 5 seeds, 133 images; Holm p = 0.31)`."""
    unit = study.unit(study.metric)
    interval = span(unit, row.low, row.high, study.digits(study.metric))
    direction = ", lower is better" if MEASURES[study.metric].better == "lower" else ""
    drawn = [f"{level_text(study)} interval {interval}{direction}"] if interval else []
    sample = [*drawn, count(row.seeds, "seed"), _images(study, row)]
    return f"({', '.join(sample)}{_p(study, row)})"


def _images(study: Study, row: Row) -> str:
    images = count(row.images, "image")
    return f"{images} in {count(row.units, 'group')}" if study.data.groups else images


def _p(study: Study, row: Row) -> str:
    if row.p_holm is None or not row.tested:
        return ""
    text = p_text(row.p_holm)
    return f"; {'Holm ' if study.comparisons > 1 else ''}p {text if text.startswith('<') else f'= {text}'}"


def _contradiction(study: Study, row: Row) -> str:
    """Say where interval and corrected test do not tell the same."""
    if row.low is None or row.high is None or row.p_holm is None:
        return ""
    if not row.low <= 0 <= row.high:
        return f" after the correction for {count(study.comparisons, 'comparison')}"
    return " (the interval includes 0)" if row.p_holm <= study.alpha else ""


def _matched(study: Study, one: Compared) -> str:
    """What the control with as many parameters gains over the baseline, beside its treatment."""
    control = study.row(MATCHED)
    if control is None or control.of != one.name:
        return ""
    row, unit = control.metrics[study.metric], study.unit(study.metric)
    if row.difference is None:
        return ""
    digits = study.digits(study.metric)
    size = signed(unit, abs(row.difference), digits).lstrip("+")
    interval = span(unit, row.low, row.high, digits)
    verb = "loses" if gain(study.metric, row.difference) < 0 else "gains"
    return f"; the parameter-matched control {verb} {size}{f' ({interval})' if interval else ''}"


def _reason(row: Row) -> str:
    return visible(row.reason).rstrip(".") or "no seed is finished for both"


def signed_text(study: Study, value: float) -> str:
    """A difference in the primary metric: `+0.4 points`, `−1.20 px`."""
    unit = study.unit(study.metric)
    return f"{signed(unit, value, study.digits(study.metric))} {unit or 'points'}"


def level_text(study: Study) -> str:
    """`95 %`."""
    return f"{100 * study.bootstrap.level:g} %"


def progress(study: Study) -> str:
    """`11 of 24 runs are done, 2 failed.`; empty where all are done."""
    if study.finished == len(study.runs):
        return ""
    failed = sum(run.status == "failed" for run in study.runs)
    return (
        f"This study is not finished: {study.finished} of {count(len(study.runs), 'run')} "
        f"{'is' if study.finished == 1 else 'are'} done{f', {failed} failed' if failed else ''}. "
        "What follows is of the runs that are done; it will change."
    )


def sentences(study: Study) -> list[str]:
    """The summary, then one sentence for each declared comparison."""
    return [
        study_summary(study),
        *(comparison_sentence(study, row) for row in study.variants),
        *(against_sentence(study, one) for one in study.against),
    ]
