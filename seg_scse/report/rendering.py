"""What the HTML pages share: templates that escape everything, colours as CSS, pictures inside the page."""

import base64
import hashlib
import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from seg_scse.report import overlays, wording
from seg_scse.report.reading import visible

TEMPLATES = Path(__file__).parent / "templates"
_NOTHING = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def environment() -> Environment:
    """Return the templates; what is put into them is escaped, and a name that does not exist is an error.

    `script` is the only script that a page runs, `policy` the content security policy that allows it and nothing else.
    """
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    made.filters.update(score=wording.score, count=wording.count, grouped=wording.grouped, visible=visible)
    made.filters.update(embedded_json=embedded_json, prose=prose)
    made.globals.update(
        script=Markup(script),  # noqa: S704 - the package's own file
        policy=f"{_NOTHING}; script-src '{_script_hash(script)}'",
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


def data_uri(picture: bytes, kind: str = "png") -> str:
    """Put a picture into the page itself."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")


def embedded_json(value: object) -> Markup:
    """Write a value as JSON that is safe inside a script element: no character of it can end the element.

    Angle brackets, ampersands and everything beyond ASCII are escapes of JSON, so neither `</script>` nor `<!--` nor a
    line separator (U+2028) occurs.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def prose(text: str) -> Markup:
    """Escape a sentence, set what stands between backticks as code, and keep a number with its per cent sign."""
    escaped = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 - escaped


def _script_hash(script: str) -> str:
    """The script's digest as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
