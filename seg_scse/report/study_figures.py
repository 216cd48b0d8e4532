"""Geometry of a study's drawings, for inline SVG: forest plot of the differences, and the score of every seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from seg_scse.report import scatter
from seg_scse.report.comparison_wording import UNTESTED
from seg_scse.report.differences import signed, span
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import visible
from seg_scse.report.study_parts import Row
from seg_scse.report.study_reading import Study, run_scores
from seg_scse.report.study_tables import shortened
from seg_scse.report.study_wording import finding

LEFT, RIGHT = 260, 760
"""The plot lies between these x of a drawing 1000 wide; names to its left, numbers to its right."""
ROW, HEAD, FOOT = 34, 30, 34
"""Heights of a row, of a heading and of the axis below them."""

_NAME, _SHORT = 31, 18  # characters of a name in a row, and in a heading


@dataclass(frozen=True)
class Entry:
    """A difference to be drawn: its name and, where it is no declared comparison, no colour of a finding."""

    name: str
    row: Row
    finding: str


@dataclass(frozen=True)
class Dot:
    """A seed: x in drawing coordinates, and what it stands for."""

    x: float
    title: str


@dataclass(frozen=True)
class Bar:
    """A row of a drawing: y of its middle, x of mean, interval and seeds; None where not available."""

    y: float
    name: str
    title: str
    finding: str
    mean: float | None
    low: float | None
    high: float | None
    dots: tuple[Dot, ...]
    text: str


@dataclass(frozen=True)
class Drawing:
    """Rows under headings (y, text), ticks (x, label), and what is particular: `band` (x, width), `paths` of seeds."""

    height: float
    headings: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    band: tuple[float, float] | None = None
    paths: tuple[tuple[str, str], ...] = ()


def forest_groups(study: Study) -> list[tuple[str, list[Entry]]]:
    """The differences under their headings: variants, controls, the treatment against its controls."""
    base, metric = shortened(study.baseline.name, _SHORT), study.metric
    variants = [Entry(row.name, row.metrics[metric], finding(study, row.metrics[metric])) for row in study.variants]
    controls = [Entry(row.name, row.metrics[metric], UNTESTED) for row in study.controls]
    against = [Entry(one.control, one.row, finding(study, one.row)) for one in study.against]
    treatment = shortened(study.against[0].treatment, _SHORT) if against else ""
    groups = [
        (f"Variants minus {base}", variants),
        (f"Controls minus {base} (not tested)", controls),
        (f"{treatment} minus its controls", against),
    ]
    return [(heading, entries) for heading, entries in groups if entries]


def numbers(study: Study, row: Row) -> str:
    """`+0.4 (−0.2 to +1.0)`."""
    unit, digits = study.unit(study.metric), study.digits(study.metric)
    interval = span(unit, row.low, row.high, digits)
    return signed(unit, row.difference, digits) + (f" ({interval})" if interval else "")


def axis(study: Study) -> tuple[float, list[tuple[float, str]], float | None]:
    """Reach of the axis of differences, from -reach to reach; its ticks (value, label); the baseline's seed spread."""
    rows = [entry.row for _, entries in forest_groups(study) for entry in entries]
    sd = study.baseline.metrics[study.metric].sd
    seeds = [(one.difference, None, None) for row in rows for one in row.by_seed]
    reach, _ = scatter.spans([*((row.difference, row.low, row.high) for row in rows), *seeds, (sd, None, None)])
    unit = study.unit(study.metric)
    values = [reach * step / 2 for step in range(-2, 3)]
    labels = [f"{value if unit else 100 * value:+g}".replace("-", "\u2212") if value else "0" for value in values]
    return reach, list(zip(values, labels, strict=True)), sd


def forest(study: Study) -> Drawing:
    """Place the differences with their intervals, their seeds, and the baseline's spread over seeds around 0."""
    reach, ticks, sd = axis(study)
    headings: list[tuple[float, str]] = []
    bars: list[Bar] = []
    y = 0.0
    for heading, entries in forest_groups(study):
        headings.append((y + 0.7 * HEAD, heading))
        y += HEAD
        for entry in entries:
            bars.append(_difference_bar(study, entry, y + ROW / 2, reach))
            y += ROW
    places = tuple((_place(value, -reach, reach), label) for value, label in ticks)
    return Drawing(y, tuple(headings), tuple(bars), places, _band(sd, reach))


def _band(sd: float | None, reach: float) -> tuple[float, float] | None:
    if not sd:
        return None
    start = _place(-sd, -reach, reach)
    return start, round(_place(sd, -reach, reach) - start, 1)


def _difference_bar(study: Study, entry: Entry, y: float, reach: float) -> Bar:
    row, unit = entry.row, study.unit(study.metric)
    mean, low, high = (
        None if value is None else _place(value, -reach, reach) for value in (row.difference, row.low, row.high)
    )
    seeds = [(one.seed, one.difference) for one in row.by_seed if one.difference is not None]
    return Bar(
        y=y,
        name=shortened(entry.name, _NAME),
        title=visible(entry.name),
        finding=entry.finding,
        mean=mean,
        low=low,
        high=high,
        dots=tuple(Dot(_place(value, -reach, reach), f"seed {seed}: {signed(unit, value)}") for seed, value in seeds),
        text=numbers(study, row),
    )


def _place(value: float, low: float, high: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * (value - low) / (high - low), 1)


def seed_scores(study: Study) -> Drawing | None:
    """Place the mean score of every seed by variant, and join those of one seed; None where there is no score."""
    scores = {name: run_scores(study, name) for name in study.names}
    values = [score for found in scores.values() for score in found.values()]
    if not values:
        return None
    ticks = _ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    bars, places = [], {}
    for number, (name, found) in enumerate(scores.items()):
        places[name] = {seed: _place(score, low, high) for seed, score in found.items()}
        bars.append(_score_bar(study, name, found, places[name], number))
    paths = tuple((f"seed {seed}", path) for seed in study.declaration.seeds if (path := _joined(bars, places, seed)))
    labels = tuple((_place(tick, low, high), f"{tick:g}") for tick in ticks)
    return Drawing(ROW * len(bars), (), tuple(bars), labels, paths=paths)


def _score_bar(study: Study, name: str, found: dict[int, float], places: dict[int, float], number: int) -> Bar:
    text = MEASURES[study.metric].text
    mean = sum(places.values()) / len(places) if places else None
    return Bar(
        y=ROW * (number + 0.5),
        name=shortened(name, _NAME),
        title=visible(name),
        finding="",
        mean=None if mean is None else round(mean, 1),
        low=None,
        high=None,
        dots=tuple(Dot(places[seed], f"seed {seed}: {text(score)}") for seed, score in found.items()),
        text=_level(study, list(found.values())),
    )


def _level(study: Study, scores: Sequence[float]) -> str:
    """`0.8931 ± 0.0021`: mean and standard deviation over the seeds."""
    text = MEASURES[study.metric].text
    if not scores:
        return "no finished run"
    mean = sum(scores) / len(scores)
    if len(scores) == 1:
        return text(mean)
    variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    return f"{text(mean)} ± {text(variance**0.5)}"


def _joined(bars: Sequence[Bar], places: dict[str, dict[int, float]], seed: int) -> str:
    """The path of one seed from row to row; it is interrupted where a variant lacks the seed."""
    parts, pen = [], "M"
    for bar, found in zip(bars, places.values(), strict=True):
        if seed in found:
            parts.append(f"{pen}{found[seed]:g} {bar.y:g}")
        pen = "L" if seed in found else "M"
    return "".join(parts) if len(parts) > 1 else ""


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose all scores."""
    if low == high:
        low, high = low - 0.01, high + 0.01
    return [float(round(tick, 10)) for tick in MaxNLocator(5).tick_values(low, high)]
