"""Figures whose parts are placed in inches from the upper left corner, so that no layout has to be guessed."""

import io
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seg_scse.report.reading import visible

DPI = 100


class Sheet:
    """A white figure of `width` x `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float, label: str) -> Axes:
        """Add axes; the label names them."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place, label=label)

    def text(self, x: float, y: float, *lines: str, **style: Any) -> None:  # noqa: ANN401 - matplotlib's own styles
        """Write lines of text whose upper left corner is at x, y."""
        text = "\n".join(map(drawable, lines))
        self.figure.text(
            x / self.width, 1 - y / self.height, text, va="top", parse_math=False, **{"fontsize": 9, **style}
        )


def drawable(text: str) -> str:
    """Show characters of one line as escapes that cannot be printed, or that the figures' font lacks."""
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return "".join(
        char if font.get_char_index(ord(char)) else char.encode("unicode_escape").decode() for char in visible(text)
    )


def png_of(figure: Figure) -> bytes:
    """Draw a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
