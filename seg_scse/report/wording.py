"""Numbers and names in plain words, shared by the pages and the terminal; and what a study of gates says."""

from collections.abc import Sequence

from seg_scse.report.explained import Explanation, GateName
from seg_scse.report.reading import Results, visible

POLICIES = {
    "exclude": "left out of the mean",
    "one": "counted as 1",
    "zero": "counted as 0",
}


def grouped(number: int) -> str:
    """`12 345`: thousands apart by narrow no-break spaces."""
    return f"{number:,}".replace(",", "\u202f")


def count(number: int, noun: str, plural: str = "s") -> str:
    """`1 image`, `2 images`; `plural` is what the noun ends in then."""
    return f"{grouped(number)} {noun}{'' if number == 1 else plural}"


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def score(value: float | None) -> str:
    """Four decimals, or n/a."""
    return "n/a" if value is None else f"{value:.4f}"


def when(created: str) -> str:
    """`2026-01-02 03:04 UTC` of a time in UTC; another text stays as it is."""
    return f"{created[:10]} {created[11:16]} UTC" if created.endswith("+00:00") else visible(created)


def foreground(results: Results) -> str:
    """What `foreground` stands for."""
    if len(results.foreground) == 1:
        return f"the class {visible(results.foreground[0])}"
    return f"the mean over the {len(results.foreground)} classes other than {visible(results.classes[0])}"


def what_was_studied(explanation: Explanation) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the tiles behind the statistics of the gates."""
    study = explanation.study
    if study is None:
        return [("Studied", "No images of the split were studied: there are pictures only, and no statistics.")]
    weights = f"{visible(explanation.checkpoint.file)}, epoch {explanation.checkpoint.epoch}"
    sizes = ", ".join(f"{visible(group.name)} {group.images}" for group in study.groups)
    return [
        (
            "Studied",
            f"{count(study.images, 'image')} of the {visible(explanation.split)} split, weights {weights}; one tile of "
            f"at most {explanation.tile} px a side each, around the largest predicted object of larger images.",
        ),
        ("Groups", f"Tiles are divided by {visible(study.rule)} ({sizes})."),
    ]


def how_to_read_gates(explanation: Explanation) -> list[tuple[str, str]]:
    """(term, sentence) pairs that define the columns of the table of gates."""
    study = explanation.study
    if study is None:
        return []
    chance = study.eta_squared_by_chance
    undefined = max((stage.auroc["foreground"].undefined for stage in study.stages.values() if stage.auroc), default=0)
    return [
        ("Saturated", "Share of gate values in the lowest and the highest hundredth of their range."),
        (
            "AUROC",
            "Probability that a foreground place has a larger spatial gate than a background place, mean over the "
            "images: 0.5 says nothing, near 1 the gate marks the foreground, near 0 the background. "
            f"Tiles with only one of the two are left out (at most {undefined} at a stage).",
        ),
        (
            "η²",
            "Share of the variance of a channel's gate that lies between the groups, mean over the channels"
            f"{'.' if chance is None else f'; groups without any difference would give {chance:.2f} on average.'}",
        ),
        ("Caution", "These are observations. Whether a gate matters for the result, only an intervention can tell."),
    ]


def noticed(explanation: Explanation) -> list[str]:
    """One sentence for each flag of a gate."""
    return [
        _flag(explanation, stage.site, gate, flag)
        for stage in explanation.stages
        for gate, flag in explanation.flags(stage.site)
    ]


def _flag(explanation: Explanation, site: str, gate: GateName, flag: str) -> str:
    assert explanation.study is not None  # there are no flags without a study
    spread = explanation.study.stages[site].gates[gate]
    name = f"{visible(site)}, {gate} gate"
    if flag == "saturated":
        return (
            f"{name}: saturated. {spread.low:.1%} of its values are in the lowest hundredth of the range and "
            f"{spread.high:.1%} in the highest: it no longer grades, and hardly learns."
        )
    return (
        f"{name}: constant. Its values spread by only {spread.std:.4f} (standard deviation) around {spread.mean:.3f}: "
        "it scales by a fixed number, whatever it sees."
    )
