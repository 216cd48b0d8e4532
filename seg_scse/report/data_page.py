"""The result of a data check as one HTML page that loads nothing and runs no script, as JSON, and as lines of text."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from seg_scse.data.checking.check import CheckResult
from seg_scse.data.checking.finding import Finding
from seg_scse.data.checking.tally import UNKNOWN, BandRow, Tally, split_of
from seg_scse.data.checking.views import BINS, View
from seg_scse.data.listing.splits import write_splits
from seg_scse.files import write_text
from seg_scse.report import overlays
from seg_scse.report.reading import visible
from seg_scse.report.rendering import class_css, environment
from seg_scse.report.wording import count

PAGE, TABLE, SPLITS = "check.html", "check.json", "splits.csv"

_MOST_IDS = 12  # on the page; the JSON file has all
_MOST_SIZES = 8
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Thumbnail:
    """A sample as a data URI; `width`, `height` in pixels; `note` says what the picture leaves out."""

    id: str
    split: str
    uri: str
    width: int
    height: int
    note: str


@dataclass(frozen=True)
class Bar:
    """A class in a split: share of its pixels (0 to 1), pixels, and images that hold it."""

    split: str
    share: float
    pixels: int
    images: int


def write_check(result: CheckResult, folder: Path) -> Path:
    """Write `check.html`, `check.json` and, where the samples are divided, `splits.csv`.

    Args:
        result: from `check_data`.
        folder: created if needed.

    Returns:
        The path of the page.

    Raises:
        WriteError: the folder cannot be written.
    """
    write_text(folder / TABLE, json.dumps(result.as_dict(), indent=1) + "\n")
    if result.divided:
        write_splits(folder / SPLITS, result.samples)
    html = (
        environment()
        .get_template("data.html")
        .render(
            name=result.config.card or result.config.root or result.config.images,
            result=result,
            levels=[(level, list(group)) for level, group in groupby(result.findings, lambda found: found.level)],
            most_ids=_MOST_IDS,
            table=TABLE,
            tally=result.tally,
            bands=_shown_bands(result),
            classes=list(_bars(result.tally)),
            histograms=list(_histograms(result)),
            sizes=_sizes(result.tally),
            places=_places(result.tally),
            thumbnails=[_thumbnail(view) for view in result.views],
            problems=[_thumbnail(view) for view in result.problem_views],
        )
    )
    path = folder / PAGE
    write_text(path, html)
    return path


def check_text(result: CheckResult, most: int = 5) -> str:
    """The findings as lines of text: level, kind and text, each with the first of the samples it is about.

    Args:
        result: from `check_data`.
        most: ids after a finding.
    """
    return "\n".join([result.summary, *(_line(finding, most) for finding in result.findings)])


def _line(finding: Finding, most: int) -> str:
    """Ids that the text names already are not named again."""
    unsaid = [id_ for id_ in finding.ids if id_ not in finding.text]
    said = len(finding.ids) > len(unsaid)
    more = f" and {len(finding.ids) - most} more" if len(finding.ids) > most else ""
    ids = "" if said or not unsaid else f" [{', '.join(finding.ids[:most])}{more}]"
    return visible(f"{finding.line}{ids}")


def _bars(tally: Tally) -> Iterator[tuple[str, str, list[Bar]]]:
    """(class, CSS colour, its bar in each split)."""
    totals = {split: max(1, sum(row.pixels[split] for row in tally.classes)) for split in tally.splits}
    for index, row in enumerate(tally.classes):
        bars = [Bar(s, row.pixels[s] / totals[s], row.pixels[s], row.images[s]) for s in tally.splits]
        yield row.name, class_css(index), bars


def _shown_bands(result: CheckResult) -> tuple[BandRow, ...]:
    """The bands, or one of three that are alike: grey that is repeated in rgb."""
    bands = result.tally.bands
    alike = len({(row.mean, row.sd, row.low, row.high) for row in bands}) == 1
    repeated = alike and len(bands) > 1 and result.config.bands is None
    return (replace(bands[0], name="gray"),) if repeated else bands


def _histograms(result: CheckResult) -> Iterator[tuple[str, str]]:
    """(band, SVG path of its histogram in a box of `BINS` by 100); heights are square roots, so that few show too."""
    if not result.views:
        return
    for band, row in enumerate(_shown_bands(result)):
        counts = np.sqrt(np.sum([view.counts[band] for view in result.views], axis=0))
        heights = (100 * counts / max(1.0, float(counts.max()))).round(1)
        steps = "".join(f"M{x} 100V{100 - height:g}h1V100" for x, height in enumerate(heights) if height)
        yield row.name, steps or f"M0 100H{BINS}"


def _sizes(tally: Tally) -> list[str]:
    """The most frequent image sizes, and how many others there are."""
    ranked = sorted(tally.sizes.items(), key=lambda item: -item[1])
    lines = [f"{width} × {height}: {images}" for (height, width), images in ranked[:_MOST_SIZES]]
    return [*lines, f"{len(ranked) - _MOST_SIZES} more sizes"] if len(ranked) > _MOST_SIZES else lines


def _places(tally: Tally) -> list[str]:
    """A line for each coordinate reference system: images, and from the smallest to the largest pixel."""
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for (crs, height, width, unit), images in tally.places.items():
        found.setdefault((crs, unit), []).append((height, width, images))
    lines = []
    for (crs, unit), rows in found.items():
        heights, widths, counts = zip(*rows, strict=True)
        spans = (
            f"{min(side):g}" if min(side) == max(side) else f"{min(side):g} to {max(side):g}"
            for side in (heights, widths)
        )
        said = ", unit not stated" if unit == UNKNOWN else f" {unit}"
        lines.append(f"{crs}: {count(sum(counts), 'image')}, pixels of {' × '.join(spans)}{said}")
    rest = [f"without georeference or pixel size: {count(tally.unplaced, 'image')}"] if tally.unplaced else []
    return [*lines, *rest]


def _thumbnail(view: View) -> Thumbnail:
    picture = Image.fromarray(view.rgb)
    if view.labels is not None:
        layer = overlays.label_layer(view.labels).convert("RGBA")
        picture = Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    height, width = view.shape
    note = f"{width} × {height} px{', its middle' if view.cropped else ''}"
    return Thumbnail(view.sample.id, split_of(view.sample), uri, picture.width, picture.height, note)
