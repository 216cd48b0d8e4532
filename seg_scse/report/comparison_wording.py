"""What a comparison found, in one honest sentence for each pair of runs."""

from seg_scse.report import differences
from seg_scse.report.comparison_reading import Comparison, Pair, Row
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import FOREGROUND, visible
from seg_scse.report.wording import POLICIES, count, grouped

ONE_RUN_EACH = (
    "One run of each cannot tell the method from the seed: another seed of the same method changes scores too. "
    "Train several seeds of each before saying that a method is better."
)
SAME = "same"
BETTER, WORSE, UNDECIDED, UNTESTED = "better", "worse", "undecided", "untested"

MINUS = differences.MINUS


def verdict(comparison: Comparison, pair: Pair) -> str:
    """One sentence on the foreground of b against a, and what the number of images would show."""
    row = pair.rows[0]
    a, b = (visible(comparison.runs[number].label) for number in (pair.a, pair.b))
    what = f"{FOREGROUND} {comparison.per_image}"
    kind = finding(comparison, row)
    if not row.units:
        return f"{b} cannot be compared with {a}: no image has a {what} in all runs."
    if kind == SAME:
        return f"{b} and {a} score the same: the {what} is equal in all {units(comparison, row.units)}, no difference."
    start = {
        BETTER: f"{b} improves on {a}",
        WORSE: f"{b} falls behind {a}",
        UNDECIDED: f"{b} is not distinguishable from {a}",
        UNTESTED: f"{b} against {a} is not tested",
    }[kind]
    return (
        f"{start}: {what} {_numbers(comparison, row)}.{_direction(comparison)}{_caution(comparison, row)}"
        f"{_power(comparison, row)}"
    )


def finding(comparison: Comparison, row: Row) -> str:
    """`better`, `worse`, `undecided`, `untested`, or `same` where all units are equal."""
    if row.wins == row.losses == 0:
        return SAME
    if row.p_holm is None or row.effect is None:
        return UNTESTED
    if row.p_holm > comparison.alpha or _contradicts(row):
        return UNDECIDED
    return BETTER if row.effect > 0 else WORSE


def by_class(comparison: Comparison, pair: Pair) -> str:
    """One sentence on the single classes; empty where there is only one."""
    found: dict[str, list[str]] = {}
    for row in pair.rows[1:]:
        found.setdefault(finding(comparison, row), []).append(visible(row.name))
    said = {BETTER: "better", WORSE: "worse", UNDECIDED: "not distinguishable", UNTESTED: "not tested", SAME: "equal"}
    parts = [f"{words}: {', '.join(found[kind])}" for kind, words in said.items() if kind in found]
    return f"By class, {'; '.join(parts)}." if parts else ""


def how_it_was_compared(comparison: Comparison) -> list[tuple[str, str]]:
    """(term, sentence) pairs that say what was compared, how it was tested, and what was left out."""
    made, protocol = comparison.bootstrap, comparison.runs[0].protocol
    drawn = "images" if made.unit == "image" else f"the {made.n} groups of images"
    kind = {"bca": "BCa", "percentile": "percentile"}[made.method]
    tests = _correction(comparison)
    return [
        (
            "Images",
            f"{count(comparison.images, 'image')} of the {visible(comparison.split)} split, the same in all runs, with "
            f"the same truth, at {visible(protocol.resolution)} resolution.",
        ),
        (
            "Score",
            f"{comparison.per_image}: {MEASURES[comparison.metric].tells}; {comparison.better} is better. Foreground: "
            f"{foreground(comparison)}.",
        ),
        ("Difference", f"Run minus baseline in each image, then the mean. {_unit_sentence(comparison)}"),
        (
            "Interval",
            f"{level_text(comparison)} {kind} bootstrap interval of that mean, {grouped(made.resamples)} resamples of "
            f"{drawn}. The difference is resampled as a whole, so that what is hard for both runs does not widen it.",
        ),
        (
            "Test",
            f"Two-sided Wilcoxon signed-rank test over {drawn}; {tests}. A test that no data of this size could pass "
            "is not made.",
        ),
        (
            "Effect",
            "Rank-biserial correlation: 1 if the run is better than the baseline wherever the two differ, "
            f"{MINUS}1 if it is worse everywhere, 0 if neither.",
        ),
        (
            "Empty masks",
            f"A class in neither truth nor prediction of an image is {POLICIES[protocol.empty]} (policy "
            f"“{protocol.empty}”). {_left_out(comparison)}",
        ),
    ]


def _correction(comparison: Comparison) -> str:
    if comparison.comparisons > 1:
        return f"Holm's correction for all {comparison.comparisons} tests made here"
    return "one test, so that there is nothing to correct for" if comparison.comparisons else "no image to test"


def difference(comparison: Comparison, value: float | None, digits: int | None = None) -> str:
    """A signed difference: points (hundredths) of a share, or a length; without the unit."""
    return differences.signed(comparison.unit, value, digits)


def decimals(comparison: Comparison, *values: float | None) -> int:
    """Digits after the point for differences that are said together."""
    return differences.decimals(comparison.unit, *values)


def unit_of(comparison: Comparison) -> str:
    """`points` (hundredths of a share), or the unit of a length."""
    return comparison.unit or "points"


def p_text(value: float | None) -> str:
    """`0.12`, `< 0.001`, or n/a."""
    if value is None:
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.01 else f"{value:.2f}"


def level_text(comparison: Comparison) -> str:
    """`95 %`."""
    return f"{100 * comparison.bootstrap.level:g} %"


def units(comparison: Comparison, number: int) -> str:
    """`133 images`, or `21 groups` where images of one group are not independent."""
    return count(number, comparison.bootstrap.unit)


def interval_text(comparison: Comparison, low: float | None, high: float | None, digits: int) -> str:
    """`−0.2 to +1.4`; empty without an interval."""
    return differences.span(comparison.unit, low, high, digits)


def _numbers(comparison: Comparison, row: Row) -> str:
    digits = decimals(comparison, row.difference, row.low, row.high)
    interval = interval_text(comparison, row.low, row.high, digits)
    certainty = f"{level_text(comparison)} interval {interval}, " if interval else ""
    equal = f", equal in {row.ties}" if row.ties else ""
    return (
        f"{difference(comparison, row.difference, digits)} {unit_of(comparison)} ({certainty}"
        f"{units(comparison, row.units)}; better in {row.wins}, worse in {row.losses}{equal}; {_test(comparison, row)})"
    )


def _test(comparison: Comparison, row: Row) -> str:
    if row.p_holm is None:
        return visible(row.reason).replace("not tested: ", "")  # the sentence has said so
    p = p_text(row.p_holm)
    over = f" over {comparison.comparisons} comparisons" if comparison.comparisons > 1 else ""
    return f"{'Holm ' if over else ''}p {p if p.startswith('<') else f'= {p}'}{over}"


def _direction(comparison: Comparison) -> str:
    return " Lower is better." if comparison.better == "lower" else ""


def _contradicts(row: Row) -> bool:
    """The interval of the mean includes 0 although the test of the ranks is passed, as a few large losses can do."""
    return row.low is not None and row.high is not None and row.low <= 0 <= row.high


def _caution(comparison: Comparison, row: Row) -> str:
    """Say where the mean and the single images do not tell the same."""
    if row.p_holm is not None and row.p_holm <= comparison.alpha and _contradicts(row):
        return " The ranks differ, but the interval of the mean includes 0: look at the images that changed most."
    gain = (row.difference or 0) * (-1 if comparison.better == "lower" else 1)
    if gain * (row.wins - row.losses) < 0:
        return " The mean and most images point in opposite directions: look at the images that changed most."
    return ""


def _power(comparison: Comparison, row: Row) -> str:
    if row.detectable is None or finding(comparison, row) != UNDECIDED:
        return ""
    size = difference(comparison, row.detectable).lstrip("+")
    these = units(comparison, row.units)
    return f" With these {these} a difference of {size} {unit_of(comparison)} would be found in 4 of 5 cases."


def foreground(comparison: Comparison) -> str:
    """Say what `foreground` stands for."""
    if len(comparison.classes) == 2:
        return f"the class {visible(comparison.classes[1])}"
    return (
        f"in each image the mean over those of the {len(comparison.classes) - 1} classes other than "
        f"{visible(comparison.classes[0])} that every run scores there; a report's headline takes the mean over the "
        "images first, so that the two can differ where images lack classes"
    )


def _unit_sentence(comparison: Comparison) -> str:
    return f"In {comparison.unit}." if comparison.unit else "In points, hundredths of the score."


def _left_out(comparison: Comparison) -> str:
    most = max(row.left_out for row in comparison.pairs[0].rows)
    if not most:
        return "Every image that one run scores is scored by the others too."
    named = "; ".join(f"{visible(row.name)} {row.left_out}" for row in comparison.pairs[0].rows if row.left_out)
    return (
        f"Images that only some of the runs score, because the others predicted nothing there, are left out ({named}): "
        "false predictions on them do not show here."
    )
