"""Matplotlib figures as inline SVG that takes its colours and font from the page around it."""

import html
import io
import re
import warnings
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.analysis.display import one_line

WIDTH = 440  # units of the view box; a phone shows it at about 0.8 of that, still readable
FONT_SIZE = 12
NUM_COLOURS = 7  # of the style sheet's --series-0 and so on
# Colours that nothing else has, replaced in the SVG by what the page defines for light and dark.
INK, LINE, MUTED = "#010101", "#010102", "#010103"
_PAGE_COLOURS = {INK: "currentColor", LINE: "var(--line)", MUTED: "var(--muted)"} | {
    f"#0102{number:02x}": f"var(--series-{number})" for number in range(NUM_COLOURS)
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "p", "*")
_MARKER_TEXTS = "\u25cf\u25a0\u25b2\u25c6\u25bc\u271a\u2b1f\u2605"  # the same shapes as text


@dataclass(frozen=True)
class LegendEntry:
    """One row of a legend beside a figure."""

    text: str
    colour: str
    marker: str


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page: its heading, SVG, a sentence below, and its legend."""

    title: str
    svg: str
    note: str
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True)
class Series:
    """Look of one row name, the same in all figures of a page."""

    name: str
    number: int

    @property
    def colour(self) -> str:
        """Placeholder for the page's colour."""
        return f"#0102{self.number % NUM_COLOURS:02x}"

    @property
    def marker(self) -> str:
        """Matplotlib's name of the shape, so that rows differ without colour too."""
        return _MARKERS[self.number % len(_MARKERS)]

    @property
    def legend(self) -> LegendEntry:
        """The entry that explains it."""
        marker = _MARKER_TEXTS[self.number % len(_MARKERS)]
        return LegendEntry(
            one_line(self.name), f"var(--series-{self.number % NUM_COLOURS})", marker
        )


def new_figure(height: int, *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of the page's width and its axes from top to bottom."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    axes = [figure.add_subplot(rows, 1, 1 + row) for row in range(rows)]
    for axis in axes:
        axis.set_facecolor("none")
        axis.grid(visible=True, color=LINE, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(colors=MUTED, labelcolor=INK, labelsize=FONT_SIZE, length=0, pad=5)
        for spine in axis.spines.values():
            spine.set_visible(False)
    return figure, axes


def label_axes(axis: Axes, *, x: str = "", y: str = "") -> None:
    """Name the axes of a plot."""
    axis.set_xlabel(x, color=INK, fontsize=FONT_SIZE)
    axis.set_ylabel(y, color=INK, fontsize=FONT_SIZE)


def inline_svg(figure: Figure, *, name: str, description: str) -> str:
    """Return a figure as an `<svg>` element without size, script, style sheet or address.

    Args:
        figure: To be drawn.
        name: Unique on the page; ids inside the element begin with it.
        description: Read out instead of the picture.
    """
    figure.patch.set_visible(False)
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # The page's font draws the text; matplotlib only measures it with a font of its own.
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", metadata=nothing)
    svg = target.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", body)
    for placeholder, colour in _PAGE_COLOURS.items():
        body = body.replace(placeholder, colour)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    label = html.escape(description, quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{body.strip()}'
