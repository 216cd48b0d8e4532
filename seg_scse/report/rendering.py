"""What the HTML pages share: templates that escape everything, colours as CSS, pictures inside the page."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seg_scse.report import overlays, wording
from seg_scse.report.reading import visible


def environment() -> Environment:
    """Return the templates; what is put into them is escaped, and a name that does not exist is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(score=wording.score, count=wording.count, grouped=wording.grouped, visible=visible)
    made.globals.update(
        class_colour=class_css,
        error_colours={
            "missed": _css(overlays.MISSED),
            "false": _css(overlays.FALSE),
            "confused": _css(overlays.CONFUSED),
            "ignored": _css(overlays.IGNORED),
        },
    )
    return made


def _css(colour: overlays.Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def class_css(index: int) -> str:
    """CSS colour of a class."""
    return _css(overlays.class_colour(index))


def data_uri(png: bytes) -> str:
    """Put a PNG into the page itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
