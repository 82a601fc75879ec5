"""One plot, two outputs: inline SVG in the colours of the page around it, and pictures on paper.

A picture is a PNG, an SVG or a PDF, equal for equal figures to the last byte. An SVG keeps its text
as text: it can be searched, edited and read aloud, and a reader's own fonts show the letters that
ours lacks. A PDF looks the same everywhere, because the fonts are in it.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from threading import Lock
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from workbench.presentation.display import one_line, shortened

WIDTH = 440  # units of the view box; a phone shows it at about 0.8 of that, still readable
WIDE = 880  # the same for panels more than 1.6 times as wide, where letters would grow too large
FONT_SIZE = 12
NUM_COLOURS = 7  # of the style sheet's --series-0 and so on
PNG_DOTS_PER_INCH = 200  # 1,200 dots across: sharp on half a slide
PictureForm = Literal["png", "svg", "pdf"]
PICTURE_FORMS: tuple[PictureForm, ...] = ("png", "svg", "pdf")
LIGHT_COLOURS: Mapping[str, str] = {
    "ink": "#1c1d1f",
    "line": "#dcdee1",
    "muted": "#62666c",
    "series-0": "#6b7078",
    "series-1": "#1f6fb2",
    "series-2": "#c2410c",
    "series-3": "#15803d",
    "series-4": "#a21caf",
    "series-5": "#8a6d00",
    "series-6": "#0e7490",
}
"""The page's variables in its light form, for pictures that have no page around them."""

# Colours that nothing else has, replaced at output by those of the page or of light paper.
INK, LINE, MUTED = "#010101", "#010102", "#010103"
_VARIABLES = {INK: "ink", LINE: "line", MUTED: "muted"} | {
    f"#0102{number:02x}": f"series-{number}" for number in range(NUM_COLOURS)
}
_PAGE_COLOURS = {key: f"var(--{name})" for key, name in _VARIABLES.items()} | {INK: "currentColor"}
_PAPER_COLOURS = {key: LIGHT_COLOURS[name] for key, name in _VARIABLES.items()}
_MARKERS = ("o", "s", "^", "D", "v", "P", "p", "*")
_MARKER_TEXTS = "\u25cf\u25a0\u25b2\u25c6\u25bc\u271a\u2b1f\u2605"  # the same shapes as text
_HALO = 22  # width of the place where the pointer finds a marker
_NAME_LENGTH = 40  # characters in the legend of a PNG
_NOTE_LENGTH = 78  # characters of a line below a PNG
_NOTE_LINE = 0.19  # inches from one such line to the next
_TITLE_HEIGHT = 0.42  # inches
_MARGIN = 0.12  # inches around a PNG
# What matplotlib would write of itself and of the time; None leaves it out.
_NO_METADATA: Mapping[PictureForm, Mapping[str, None]] = {
    "png": dict.fromkeys(("Software",)),
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}
# Text as text in SVG, whole outlines (TrueType) in PDF, where type 3 could not be searched; the
# salt makes equal figures equal files.
_PICTURE_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "picture", "pdf.fonttype": 42}
# Matplotlib is not thread-safe: its settings and caches belong to the whole process.
_RENDERING = Lock()


@dataclass(frozen=True)
class LegendEntry:
    """One row of a legend beside a figure."""

    text: str
    colour: str
    marker: str


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page: its heading, SVG, a sentence below, and its legend.

    Attributes:
        title: Heading.
        svg: The figure for a panel of a phone's width up to twice that.
        note: Sentences below.
        legend: The series drawn.
        wide: The same figure for wider panels, in letters of the same size; "" where a page shows
            `svg` at any width.
    """

    title: str
    svg: str
    note: str
    legend: tuple[LegendEntry, ...] = ()
    wide: str = ""


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


class Hover:
    """What is shown when the pointer rests on something drawn.

    Attributes:
        texts: Text by the id of an artist's group.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, text: str, *artists: Artist) -> None:
        """Show one text at all these artists."""
        for artist in artists:
            name = f"hover-{len(self.texts)}"
            artist.set_gid(name)
            self.texts[name] = text

    def add_points(
        self, text: str, axis: Axes, x: Sequence[float], y: Sequence[float], *artists: Artist
    ) -> None:
        """Show one text at these artists and near the points and the line through them."""
        (halo,) = axis.plot(
            x,
            y,
            marker="o" if len(x) == 1 else "",
            markersize=_HALO,
            linewidth=_HALO / 2,
            color=MUTED,
            alpha=0,
            zorder=1.5,  # below every line, which is 2, so that what is hit exactly wins
        )
        self.add(text, halo, *artists)


@dataclass(frozen=True)
class Plot:
    """A figure before output.

    Attributes:
        name: Unique on the page; ids inside the SVG begin with it.
        title: Heading.
        figure: The figure, in placeholder colours.
        description: Read out instead of the picture.
        note: Sentences below; may be empty.
        legend: The series drawn; empty where the figure names them itself.
        hover: Text by the id of what it belongs to, as `Hover` collects it.
    """

    name: str
    title: str
    figure: Figure
    description: str
    note: str = ""
    legend: tuple[Series, ...] = ()
    hover: Mapping[str, str] = field(default_factory=dict)

    def svg_drawing(self, *, has_wide: bool = False) -> Drawing:
        """Return the plot for a page that defines the colours.

        Args:
            has_wide: Draw it for wide panels too; the page's style sheet shows the one that fits.
        """
        given: dict[str, Any] = {"description": self.description, "hover": self.hover}
        svg, wide = inline_svg(self.figure, name=self.name, **given), ""
        if has_wide:
            wide = inline_svg(self.figure, name=f"{self.name}-wide", width=WIDE, **given)
        legend = tuple(series.legend for series in self.legend)
        return Drawing(self.title, svg, self.note, legend, wide)

    def picture(self, form: PictureForm, *, caption: str = "") -> bytes:
        """Return the plot on white, with its title, legend and note.

        Args:
            form: What kind of file.
            caption: Written below the note: of what the figure is, and what made it.
        """
        note = "\n".join(part for part in (self.note, caption) if part)
        return picture_of(self.figure, form, title=self.title, note=note, legend=self.legend)


def inline_svg(
    figure: Figure,
    *,
    name: str,
    description: str,
    hover: Mapping[str, str] | None = None,
    width: int = WIDTH,
) -> str:
    """Return a figure as an `<svg>` element without size, script, style sheet or address.

    Args:
        figure: The figure to draw.
        name: Unique on the page; ids inside the element begin with it. Anything but letters and
            digits becomes a dash.
        description: Read out instead of the picture.
        hover: Text to show at the artist with this id.
        width: Of the view box, for a figure of `WIDTH`, which stays as it is.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", name)
    target = io.StringIO()
    with (
        _RENDERING,
        # "none" keeps text as text; the salt makes equal figures equal files.
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}),
        _no_glyph_warnings(),
        _as_wide_as(figure, width) as (units, height),
    ):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", metadata=nothing)
    svg = target.getvalue()
    # Without the element itself: it has a size in points, and the page decides about size.
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Ids are one space for the whole page: without the name the figures would share clips.
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", body)
    for placeholder, colour in _PAGE_COLOURS.items():
        body = body.replace(placeholder, colour)
    for gid, text in (hover or {}).items():
        group = f'<g id="{name}-{gid}">'
        # The first child, or browsers show no tooltip.
        body = body.replace(group, f"{group}<title>{html.escape(text)}</title>", 1)
    label = html.escape(description, quote=True)
    return f'<svg viewBox="0 0 {units} {height}" role="img" aria-label="{label}">{body.strip()}'


def picture_of(
    figure: Figure,
    form: PictureForm,
    *,
    title: str,
    note: str = "",
    legend: Sequence[Series] = (),
) -> bytes:
    """Return a figure in light colours on white; the figure stays as it is.

    In PNG and PDF, characters that matplotlib's own font lacks are drawn as boxes.

    Args:
        figure: The figure to draw.
        form: What kind of file.
        title: Written above it.
        note: Written below it, in small print; each of its lines begins a new one.
        legend: Series to explain between figure and note.
    """
    target = io.BytesIO()
    with (
        _RENDERING,
        mpl.rc_context(_PICTURE_SETTINGS),
        _no_glyph_warnings(),
        _on_paper(figure, title, note, legend) as box,
    ):
        figure.savefig(
            target,
            format=form,
            dpi=PNG_DOTS_PER_INCH,
            facecolor="white",
            bbox_inches=box,
            metadata={**_NO_METADATA[form], "Title": title},
        )
    return target.getvalue()


@contextmanager
def _as_wide_as(figure: Figure, width: int) -> Iterator[tuple[int, int]]:
    """Give a figure another width for the block, its margins as they were; yield its size in units.

    Matplotlib writes SVG in points, 72 to an inch, whatever the figure's resolution.
    """
    before, height = figure.get_size_inches()
    margins = figure.subplotpars.left, figure.subplotpars.right
    share = WIDTH / width
    if width != WIDTH:
        figure.set_size_inches(before / share, height)
        figure.subplots_adjust(left=margins[0] * share, right=1 - (1 - margins[1]) * share)
    try:
        yield round(72 * before / share), round(72 * height)
    finally:
        if width != WIDTH:
            figure.set_size_inches(before, height)
            figure.subplots_adjust(left=margins[0], right=margins[1])


@contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """Let matplotlib measure text in a font that lacks some of its characters."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        yield


@contextmanager
def _on_paper(figure: Figure, title: str, note: str, legend: Sequence[Series]) -> Iterator[Bbox]:
    """Give the figure paper colours and its surroundings for the block; yield the area in inches.

    What stands around is placed outside the figure's own area, so that its layout stays.
    """
    width, height = figure.get_size_inches()
    bottom = -_MARGIN
    added: list[Artist] = []
    # What only a pointer finds has no place on paper.
    halos = [artist for artist in figure.findobj() if artist.get_alpha() == 0]
    try:
        for halo in halos:
            halo.set_visible(False)
        added.append(_outside_text(figure, title, at=height + _MARGIN, size=13, weight="bold"))
        if legend:
            added.append(_legend_below(figure, legend, at=bottom))
            # Known only once it is laid out, as its names may need several rows.
            bottom -= added[-1].get_window_extent().height / figure.dpi + _MARGIN
        if note:
            lines = [line for part in note.splitlines() for line in wrap(part, _NOTE_LENGTH)]
            bottom -= _NOTE_LINE * len(lines)
            text = "\n".join(lines)
            added.append(_outside_text(figure, text, at=bottom, size=10, color=MUTED))
        _recolour(figure, _PAPER_COLOURS)
        figure.patch.set_visible(True)
        yield Bbox([[-_MARGIN, bottom - _MARGIN], [width + _MARGIN, height + _TITLE_HEIGHT]])
    finally:
        figure.patch.set_visible(False)
        _recolour(figure, {paper: key for key, paper in _PAPER_COLOURS.items()})
        for artist in added:
            artist.remove()
        for halo in halos:
            halo.set_visible(True)


def _outside_text(figure: Figure, text: str, *, at: float, **look: Any) -> Artist:
    """Write text whose lower edge is `at` inches above the figure's own."""
    given: dict[str, Any] = {"color": INK, "va": "bottom", "parse_math": False} | look
    width, height = figure.get_size_inches()
    written: Artist = figure.text(_MARGIN / width, at / height, text, **given)
    return written


def _legend_below(figure: Figure, legend: Sequence[Series], *, at: float) -> Artist:
    """Explain the series in as many columns as their names allow."""
    names = [shortened(series.name, _NAME_LENGTH) for series in legend]
    handles = [
        Line2D([], [], color=series.colour, marker=series.marker, linewidth=1.6, markersize=7)
        for series in legend
    ]
    found = figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0, at / figure.get_size_inches()[1]),
        # A line holds as many names of the longest's length; 10 characters go to sample and gap.
        ncols=max(1, min(4, _NOTE_LENGTH // (10 + max(map(len, names))))),
        frameon=False,
        borderaxespad=0,
        fontsize=FONT_SIZE,
        labelcolor=INK,
    )
    for text in found.get_texts():
        text.set_parse_math(False)
    return found


def _recolour(figure: Figure, colours: Mapping[str, str]) -> None:
    """Give every artist that has one of these colours the other one."""
    for artist in figure.findobj():
        for part in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
            if not hasattr(artist, f"get_{part}"):
                continue
            shades = to_rgba_array(getattr(artist, f"get_{part}")())
            # "none" is no colour at all, and several at once are none of the placeholders.
            shade = colours.get(to_hex(shades[0])) if len(shades) == 1 else None
            if shade is not None:
                getattr(artist, f"set_{part}")(shade)
