"""What it would take to find more, what the validation split would choose, and how a study was made."""

from seg_scse.report.differences import span
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.study_parts import Needed, Row
from seg_scse.report.study_reading import Study
from seg_scse.report.study_wording import level_text, signed_text
from seg_scse.report.wording import POLICIES, count, grouped, joined


def what_it_would_take(study: Study) -> tuple[str, list[str]]:
    """What finding a difference would take: what is meant, then a sentence on each variant of which it is known."""
    known = [(row.name, row.metrics[study.metric]) for row in study.variants]
    found: dict[str, list[str]] = {}
    for name, row in known:
        if row.needed is not None:
            found.setdefault(_needed(study, row, row.needed), []).append(visible(name))
    texts = [f"{joined(names)}: {text}." for text, names in found.items()]
    sizes = {_size(study, row.needed.difference) for _, row in known if row.needed is not None}
    if not texts:
        return "Not known: it follows from how differences spread over at least two seeds.", []
    return f"To find a difference of {joined(sorted(sizes))} in 4 of 5 such studies:", texts


FEW_SEEDS = 5
"""Fewer of them make intervals that are wide for lack of seeds rather than of images."""


def why_wide(study: Study) -> str:
    """Why intervals are wide where seeds are few; empty where they are not."""
    rows = [row.metrics[study.metric] for row in (*study.variants, *study.controls)]
    seeds = sorted({row.seeds for row in rows if row.low is not None})
    if not seeds or seeds[0] >= FEW_SEEDS:
        return ""
    drawn = " to ".join(str(number) for number in dict.fromkeys((seeds[0], seeds[-1])))
    return (
        f"Intervals are for other seeds too, and {drawn} seeds say little about how far seeds lie apart: at 95 % their "
        "part reaches 12.7 standard errors to each side with 2 seeds, 4.3 with 3, 2.8 with 5, 2.3 with 10. So an "
        "interval may be much wider than the seeds that are seen, or short where they agree by chance."
    )


def what_costs_are_of(study: Study) -> str:
    """What train step and memory were measured on; empty where they were not measured."""
    cost = study.baseline.cost
    if cost is None or cost.step_ms is None:
        return ""
    base = visible(study.baseline.name)
    samples = "" if cost.batch is None else f", on {count(cost.batch, 'crop')} of noise"
    return f"Train step and memory are those of {base}{samples}, and times as much for the others."


def whose_mean(study: Study) -> str:
    """Say that means are of other seeds than differences, where some variants have fewer than the baseline."""
    base = study.baseline
    rows = [row.metrics[study.metric] for row in (*study.variants, *study.controls)]
    if all(row.seeds in (0, len(base.metrics[study.metric].by_seed)) for row in rows):
        return ""
    return (
        f"A difference is over the seeds that a variant shares with {visible(base.name)}, so it is not the difference "
        f"of the means where {visible(base.name)} has more."
    )


def _size(study: Study, value: float) -> str:
    unit = study.unit(study.metric)
    return f"{round(value * (1 if unit else 100), 2):g} {unit or 'points'}"


def _needed(study: Study, row: Row, needed: Needed) -> str:
    noun = unit_noun(study)
    these, drawn = count(row.units, noun), count(row.seeds, "seed")
    if needed.seeds is not None and needed.seeds <= row.seeds:
        return f"the {drawn} and {these} of this study are enough"
    by_seeds = "no number of seeds is enough" if needed.seeds is None else count(needed.seeds, "seed")
    by_units = f"no number of {noun}s is enough" if needed.images is None else count(needed.images, noun)
    both = "and" if needed.seeds is None and needed.images is None else "or"
    now = "" if row.detectable is None else f"; as it is, {_size(study, row.detectable)} would be found"
    return f"{by_seeds} with these {these}, {both} {by_units} with these {drawn}{now}"


def unit_noun(study: Study) -> str:
    """What is drawn anew beside seeds: images, or groups of them that are not independent."""
    return "group" if study.data.groups else "image"


def spread_rows(study: Study) -> list[tuple[str, list[str]]]:
    """Of each variant: where its differences vary, and what they allow to find, as text.

    Returns:
        (name, [standard deviation over seeds, over images, what remains, detectable difference, seeds, images]).
    """
    rows = [(visible(row.name), row.metrics[study.metric]) for row in study.variants]
    return [(name, _spread(study, row)) for name, row in rows if row.components is not None]


def _spread(study: Study, row: Row) -> list[str]:
    unit, parts, needed = study.unit(study.metric), row.components, row.needed
    sizes = [parts.seed, parts.image, parts.interaction] if parts else []
    texts = [f"{size * (1 if unit else 100):.2f}" for size in sizes]
    found = "n/a" if row.detectable is None else f"{row.detectable * (1 if unit else 100):.2f}"
    numbers = [] if needed is None else [needed.seeds, needed.images]
    return [*texts, found, *("none" if one is None else grouped(one) for one in numbers)]


def what_validation_chooses(study: Study) -> list[str]:
    """Which variant the validation split would choose, what that gives on the scored split, and why no other choice."""
    chosen, split = study.selection, visible(study.declaration.split)
    refused = (
        f"Choosing by the scores of the {split} split is not offered: the best of several such scores is too high by "
        f"chance, and the {split} split would no longer be unseen. It says what a choice is worth, after it was made."
    )
    if chosen.winner is None:
        return [f"No variant can be chosen yet: not every one has a score of the {visible(chosen.by)} split.", refused]
    row = study.row(chosen.winner)
    name = visible(chosen.winner) + (", a control," if row is not None and row.kind == "control" else "")
    return [f"By the {visible(chosen.by)} split alone, {name} would be chosen.", _gives(study), refused]


def _gives(study: Study) -> str:
    """What the choice scores on the split that was not used for it."""
    measure, split = MEASURES[study.metric], visible(study.declaration.split)
    row = study.row(study.selection.winner or "")
    if row is None:
        mean = measure.text(study.baseline.metrics[study.metric].mean)
        return f"It is the baseline: on the {split} split it has a {study.per_image} of {mean}."
    found = row.metrics[study.metric]
    if found.difference is None:
        return f"On the {split} split there is nothing yet to compare it with."
    interval = span(study.unit(study.metric), found.low, found.high, study.digits(study.metric))
    change = signed_text(study, found.difference)
    return (
        f"On the {split} split that choice has a {study.per_image} of {measure.text(found.mean)}: {change}"
        f"{f' ({interval})' if interval else ''} against {visible(study.baseline.name)}."
    )


def chosen_rows(study: Study) -> list[tuple[str, str, str]]:
    """(variant, mean score of the validation split, mean score of the scored split), the best by validation first."""
    found = {name: value for name, value in study.selection.scores.items() if value is not None}
    means = {row.name: row.metrics[study.metric].mean for row in study.rows}
    means[study.baseline.name] = study.baseline.metrics[study.metric].mean
    text = MEASURES[study.metric].text
    order = sorted(found, key=lambda name: -found[name])
    return [(visible(name), f"{found[name]:.4f}", text(means.get(name))) for name in order]


def how_it_was_made(study: Study) -> list[tuple[str, str]]:
    """(term, sentence) pairs: what was declared, compared and tested, on which data, by what."""
    facts = [
        *_declared(study),
        *_statistics(study),
        ("Data", _data(study)),
        *_protocol(study),
        ("Device", visible(study.device)),
        ("Versions", ", ".join(f"{visible(name)} {visible(version)}" for name, version in study.versions.items())),
    ]
    return [(term, sentence) for term, sentence in facts if sentence]


def _declared(study: Study) -> list[tuple[str, str]]:
    made = study.declaration
    folds = f", each in {made.folds} folds, whose test images are put together" if made.folds else ""
    treatment = f" Controls belong to {visible(made.treatment)}." if made.treatment and study.controls else ""
    return [
        (
            "Declared",
            f"Primary metric {study.per_image} on the {visible(made.split)} split, baseline {visible(made.baseline)}; "
            f"every variant against it{', and the treatment against each of its controls' if study.against else ''}."
            f"{treatment}",
        ),
        ("Seeds", f"{joined([str(seed) for seed in made.seeds])}{folds}. A seed gives every variant the same order of "
                  "images and the same augmentation, so that runs are compared in pairs."),
        ("History", "; ".join(visible(line) for line in made.history)),
    ]  # fmt: skip


def _statistics(study: Study) -> list[tuple[str, str]]:
    boot, noun, unit = study.bootstrap, unit_noun(study), study.unit(study.metric)
    others = [MEASURES[name].label for name in study.metrics[1:]]
    inside = " Images of one group are drawn together, because they are not independent." if study.data.groups else ""
    return [
        (
            "Difference",
            "Variant minus baseline in each image and seed, then the mean over the seeds that are finished for both, "
            f"in {unit or 'points (hundredths of the score)'}; {MEASURES[study.metric].better} is better.",
        ),
        (
            "Interval",
            f"{level_text(study)} interval of that mean for new seeds and new {noun}s of the same kind, from a two-way "
            f"analysis of variance (seeds by {noun}s); the test agrees with it.{inside} That of the two-level "
            f"bootstrap ({grouped(boot.resamples)} resamples, random seed {boot.seed}) stands beside it: with few "
            f"seeds it is too narrow where seeds differ, and too wide where most variation is of a seed in one {noun}.",
        ),
        (
            "Test",
            f"Two-sided, of {study.per_image} alone; Holm's correction for all {study.comparisons} declared "
            f"comparisons. Distinguishable: p (Holm) is at most {study.alpha:.2g} and the interval leaves out 0."
            + (f" {joined(others)}, and controls against the baseline, have intervals and no tests." if others else ""),
        ),
        ("Effect", f"Cohen's dz: mean over standard deviation of the {noun}s' differences; above 0 is better."),
        ("+ / = / −", f"Numbers of {noun}s that are better, equal and worse, by their mean over the seeds."),
    ]  # fmt: skip


def _data(study: Study) -> str:
    data = study.data
    parts = [visible(data.name)] if data.name else []
    sample = f"{count(data.images, 'image')} of the {visible(study.declaration.split)} split"
    parts.append(f"{sample} in {count(data.units, 'group')}" if data.groups else sample)
    if len(data.classes) > 2:
        parts.append(f"mean over the {len(data.classes) - 1} classes other than {visible(data.classes[0])}")
    elif data.classes:
        parts.append(f"class {visible(data.classes[-1])}")
    if data.digest:
        parts.append(f"digest {visible(data.digest)}")
    return ", ".join(parts) + "."


def _protocol(study: Study) -> list[tuple[str, str]]:
    made = study.protocol
    if made is None:
        return []
    threshold = "" if made.threshold is None else f", threshold {made.threshold:g}"
    flips = f", test-time augmentation {made.tta}" if made.tta not in (None, "none") else ""
    return [
        (
            "Scored",
            f"At {visible(made.resolution)} resolution{threshold}{flips}; a class in neither truth nor prediction of "
            f"an image is {POLICIES[made.empty]}.",
        )
    ]
