"""How sure the scores are: intervals, half-widths, and what the number of images allows, in plain words."""

from dataclasses import dataclass

from seg_scse.report.headings import MEASURES, Measure, measure_of
from seg_scse.report.reading import FOREGROUND, Interval, Results
from seg_scse.report.wording import count, grouped

HEADLINES = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled", "hd95_per_image")
"""Scores that the page begins with."""

FEW_UNITS = 20
"""Below this number of independent units an interval is itself uncertain."""

_METHODS = {"bca": "bias-corrected and accelerated (BCa)", "percentile": "percentile"}


@dataclass(frozen=True)
class Headline:
    """A score at the top of the page, as text; `n` says of how many independent units."""

    key: str
    label: str
    averaging: str
    value: str
    interval: str | None
    half_width: str | None
    n: str


def interval_text(interval: Interval | None, measure: Measure) -> str | None:
    """`0.8312 to 0.8756`; None without an interval."""
    return None if interval is None else f"{measure.text(interval[0])} to {measure.text(interval[1])}"


def short_interval(interval: Interval | None, measure: Measure) -> str | None:
    """`0.831–0.876`, for tables; None without an interval."""
    if interval is None:
        return None
    digits = 1 if measure.length else 3
    return f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f}"


def half_width_text(interval: Interval | None, measure: Measure, unit: str) -> str | None:
    """`2.2 points` (hundredths) of a share, `1.30 mm` of a length; None without an interval."""
    if interval is None:
        return None
    half = (interval[1] - interval[0]) / 2
    return f"{half:.2f} {unit}" if measure.length else f"{100 * half:.1f} points"


def headlines(results: Results) -> list[Headline]:
    """Scores of the foreground that the page begins with, where they were measured."""
    unit = unit_of(results)
    found = []
    for key in HEADLINES:
        if key not in results.scores:
            continue
        measure, interval = MEASURES[measure_of(key)], results.interval(key)
        value = measure.text(results.score(key))
        half = half_width_text(interval, measure, unit)
        averaging = "pooled" if key.endswith("_pooled") else "per image"
        ends = interval_text(interval, measure)
        found.append(Headline(key, measure.heading(unit), averaging, value, ends, half, grouped(results.units)))
    return found


def unit_of(results: Results) -> str:
    """Unit of the distances: mm, m or px."""
    return results.protocol.surface.unit if results.protocol.surface else "px"


def units(results: Results) -> str:
    """`133 images`, or `21 groups of images` where images of one group are not independent."""
    grouped_by = results.bootstrap is not None and results.bootstrap.groups
    return f"{count(results.units, 'group')} of images" if grouped_by else count(results.images, "image")


def sample(results: Results) -> str:
    """`133 images`, or `133 images in 21 groups`."""
    images = count(results.images, "image")
    grouped_by = results.bootstrap is not None and results.bootstrap.groups
    return f"{images} in {count(results.units, 'group')}" if grouped_by else images


def level(results: Results) -> str:
    """`95 %`."""
    return f"{100 * (results.bootstrap.level if results.bootstrap else 0.95):g} %"


def how_intervals_were_made(results: Results) -> str | None:
    """Say method, level, resamples and unit; None without intervals."""
    bootstrap = results.bootstrap
    if bootstrap is None or not results.has_intervals:
        return None
    together = "; images of one group are drawn together, because they are not independent" if bootstrap.groups else ""
    return (
        f"{level(results)} intervals of the {_METHODS[bootstrap.method]} bootstrap: {grouped(bootstrap.resamples)} "
        f"resamples of {units(results)} (seed {bootstrap.seed}){together}. They say what other images of the same kind "
        "would change, not what another training would."
    )


def what_the_size_allows(results: Results) -> str | None:
    """One sentence on the differences that this number of images can show; None without an interval."""
    interval = results.interval("dice_per_image")
    if interval is None or interval[0] == interval[1]:
        return None
    half = half_width_text(interval, MEASURES["dice"], "")
    noun = "groups of images" if results.bootstrap and results.bootstrap.groups else "images"
    return (
        f"With {units(results)} the {level(results)} interval of the {FOREGROUND} Dice per image has a half-width of "
        f"{half}: against a score from other images, a smaller difference says nothing. On the same images "
        "`seg-scse compare` sees smaller ones, because it pairs them. Half that width takes about "
        f"{grouped(4 * results.units)} {noun}."
    )
