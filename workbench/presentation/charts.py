"""Charts of a reading as figures: heatmaps, lines with bands, intervals, and a map that stands."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from workbench.presentation.axes import count_ticks, label_axes, new_figure, percent_ticks
from workbench.presentation.blocks import Bars, Chart, Heatmap, Layer, Line, Lines, Map
from workbench.presentation.display import NOTHING, one_line, percent, shortened
from workbench.presentation.drawing import FONT_SIZE, INK, LINE, MUTED, WIDTH, Hover, Plot, Series

_DASHED = (0, (4, 3))
_CHARACTER = 6.3  # width of a character on average, in units of the view box
_NAME_LENGTH = 24  # characters beside a chart
_TOKEN_LENGTH = 14  # characters of a token on a map
_FAINTEST, _STRONGEST = 0.05, 0.95  # share of the accent colour in a cell: 0 could not be seen
_SCALE_STEPS = 24
_SCALE_WIDTH, _SCALE_HEIGHT = 90, 9
_MOST_NAMED_COLUMNS = 16
_MOST_CELLS = 2000  # with a text of their own; a larger picture would be slow to open
_MOST_MARKERS = 24  # on one line; more would hide it
_SMALL_TEXT = 9
_TEXT_HEIGHT = 13  # of a line of text, in units of the view box
_PROMPT, _CONTROL, _FIRST_OTHER = 1, 0, 2  # colours and shapes of the map's layers, as in a legend

Item = TypeVar("Item")


def chart_plot(chart: Chart, *, name: str) -> Plot:
    """Return a chart of a reading as a figure; all text in it stays text.

    Args:
        chart: What a reading shows.
        name: Unique on the page.
    """
    if isinstance(chart, Heatmap):
        return _heatmap(chart, name)
    if isinstance(chart, Lines):
        return _lines(chart, name)
    if isinstance(chart, Bars):
        return _bars(chart, name)
    return _map(chart, name)


def _heatmap(chart: Heatmap, name: str) -> Plot:
    rows, columns = len(chart.rows), len(chart.columns)
    row_names = [shortened(text, _NAME_LENGTH) for text in chart.rows]
    column_names = [shortened(text, _NAME_LENGTH) for text in chart.columns]

    # 1. The height follows from the cells and from the names below them.
    # Room for the y axis's own name (34 units) and the longest row's name beside it.
    left = 34 + _CHARACTER * max(map(len, row_names), default=1)
    is_turned = _width(column_names) > WIDTH - left - 20 and columns <= _MOST_NAMED_COLUMNS
    longest = max(map(len, column_names), default=1)
    # A name turned by 40 degrees is as high as sin(40) = 0.64 of its width, and some air.
    below = 30 + (0.75 * _CHARACTER * longest if is_turned else 14)
    # Few rows do not become bars, many stay visible; in between all of them take 320 units.
    cell = min(22.0, max(8.0, 320 / max(rows, 1)))
    height = round(40 + below + cell * max(rows, 1))
    figure, (axis,) = new_figure(height)
    figure.subplots_adjust(
        left=left / WIDTH, right=0.98, top=1 - 36 / height, bottom=below / height
    )

    # 2. The cells, and the scale that says what their shades mean.
    axis.grid(visible=False)
    axis.set_xlim(0, max(columns, 1))
    axis.set_ylim(max(rows, 1), 0)  # the first row on top, as in a table
    label_axes(axis, x=one_line(chart.x), y=one_line(chart.y))
    hover = Hover()
    low, high = _bounds(chart)
    _draw_cells(axis, chart, (low, high), hover)
    _draw_scale(figure, low, high)

    # 3. As many names as fit: a level one needs its own width, a turned one a line of text.
    level = max(1, int((WIDTH - left) / (_CHARACTER * (longest + 1))))
    _name_columns(
        axis, column_names, _MOST_NAMED_COLUMNS if is_turned else level, is_turned=is_turned
    )
    named = _some(range(rows), max(1, int(cell * rows / _TEXT_HEIGHT)))
    axis.set_yticks(
        [place + 0.5 for place in named], [row_names[place] for place in named], parse_math=False
    )
    return Plot(
        name=name,
        title=one_line(chart.title),
        figure=figure,
        description=f"{one_line(chart.title)}: {rows} rows by {columns} columns, "
        f"from {_figure(low)} to {_figure(high)}",
        note=one_line(chart.note),
        hover=hover.texts,
    )


def _name_columns(axis: Axes, names: Sequence[str], most: int, *, is_turned: bool) -> None:
    """Write at most that many of the columns' names below them."""
    places = _some(range(len(names)), most)
    axis.set_xticks(
        [place + 0.5 for place in places],
        [names[place] for place in places],
        rotation=40 if is_turned else 0,
        ha="right" if is_turned else "center",
        rotation_mode="anchor",
        parse_math=False,
    )


def _bounds(chart: Heatmap) -> tuple[float, float]:
    """Return the values drawn palest and darkest, never the same."""
    known = [value for row in chart.values for value in row if _is_figure(value)]
    low = chart.low if chart.low is not None else min(known, default=0.0)
    high = chart.high if chart.high is not None else max(known, default=1.0)
    return (low, high) if high > low else (low, low + 1.0)


def _draw_cells(axis: Axes, chart: Heatmap, bounds: tuple[float, float], hover: Hover) -> None:
    low, high = bounds
    cells = [
        (row, column, value)
        for row, values in enumerate(chart.values)
        for column, value in enumerate(values)
    ]
    for row, column, value in cells:
        drawn = Rectangle((column, row), 1, 1, linewidth=0.4, edgecolor=LINE, facecolor="none")
        if _is_figure(value):
            share = min(1.0, max(0.0, (value - low) / (high - low)))
            drawn = Rectangle((column, row), 1, 1, linewidth=0, facecolor=_accent())
            drawn.set_alpha(_FAINTEST + (_STRONGEST - _FAINTEST) * share)
        axis.add_patch(drawn)
        if len(cells) <= _MOST_CELLS:
            names = f"{one_line(chart.rows[row])}, {one_line(chart.columns[column])}"
            hover.add(f"{names}: {_figure(value)}", drawn)


def _draw_scale(figure: Figure, low: float, high: float) -> None:
    """Show at the top right which shade stands for which value."""
    texts = _figure(low), _figure(high)

    def place(*_: object) -> Bbox:
        """Lay out from the right edge: the larger figure, the scale, the smaller figure."""
        width, height = 72 * figure.get_size_inches()
        left = width - 12 - _CHARACTER * len(texts[1]) - _SCALE_WIDTH
        box = left / width, 1 - 20 / height, _SCALE_WIDTH / width, _SCALE_HEIGHT / height
        return Bbox.from_bounds(*box)

    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axes_locator(place)  # when it is drawn, at whatever width
    axis.set_axis_off()
    axis.set_xlim(0, _SCALE_STEPS)
    axis.set_ylim(0, 1)
    for step in range(_SCALE_STEPS):
        drawn = Rectangle((step, 0), 1, 1, linewidth=0, facecolor=_accent())
        drawn.set_alpha(_FAINTEST + (_STRONGEST - _FAINTEST) * step / (_SCALE_STEPS - 1))
        axis.add_patch(drawn)
    for x, text, side in ((-0.6, texts[0], "right"), (_SCALE_STEPS + 0.6, texts[1], "left")):
        axis.text(x, 0.45, text, ha=side, va="center", color=INK, fontsize=FONT_SIZE - 1)


def _lines(chart: Lines, name: str) -> Plot:
    figure, (axis,) = new_figure(280)
    figure.subplots_adjust(left=0.16, right=0.96, top=0.96, bottom=0.19)
    hover = Hover()
    look = [Series(line.name, number) for number, line in enumerate(chart.lines)]
    shown = percent if chart.is_percent else _figure
    for series, line in zip(look, chart.lines, strict=True):
        _draw_line(axis, series, line, hover, shown)
    (percent_ticks if chart.is_percent else count_ticks)(axis.yaxis)
    count_ticks(axis.xaxis)
    label_axes(axis, x=one_line(chart.x), y=one_line(chart.y))
    return Plot(
        name=name,
        title=one_line(chart.title),
        figure=figure,
        description=f"{one_line(chart.title)}: {'; '.join(dict.fromkeys(hover.texts.values()))}",
        note=one_line(chart.note),
        legend=tuple(look),
        hover=hover.texts,
    )


def _draw_line(
    axis: Axes, series: Series, line: Line, hover: Hover, shown: Callable[[float], str]
) -> None:
    if not line.x:
        return
    if line.low and line.high:
        axis.fill_between(line.x, line.low, line.high, color=series.colour, alpha=0.16, linewidth=0)
    drawn = axis.plot(
        line.x,
        line.y,
        color=series.colour,
        linewidth=1.6,
        marker=series.marker if len(line.x) <= _MOST_MARKERS else "",
        markersize=4.5,
    )
    name = one_line(line.name)
    ends = f"{name}: {shown(line.y[0])} at {line.x[0]:g}"
    if len(line.x) > 1:
        ends += f", {shown(line.y[-1])} at {line.x[-1]:g}"
    hover.add_points(ends, axis, line.x, line.y, *drawn)
    if len(line.x) <= _MOST_MARKERS:
        for place, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            text = f"{name}, {x:g}: {shown(y)}"
            if line.low and line.high:
                text += f" [{shown(line.low[place])}, {shown(line.high[place])}]"
            hover.add_points(text, axis, [x], [y])


def _bars(chart: Bars, name: str) -> Plot:
    names = [shortened(bar.name, _NAME_LENGTH) for bar in chart.bars]
    # 22 units for a bar; the rest is the x axis with its marks and its name.
    height = 64 + 22 * max(len(names), 1)
    figure, (axis,) = new_figure(height)
    left = 16 + _CHARACTER * max(map(len, names), default=1)
    figure.subplots_adjust(left=left / WIDTH, right=0.95, top=0.98, bottom=50 / height)
    hover = Hover()
    shown = percent if chart.is_percent else _figure
    if chart.reference is not None:
        axis.axvline(chart.reference, color=MUTED, linewidth=1, linestyle=_DASHED)
    texts = []
    for place, bar in enumerate(chart.bars):
        text = f"{one_line(bar.name)}: {shown(bar.value)}"
        low = bar.value if bar.low is None else bar.low
        high = bar.value if bar.high is None else bar.high
        if bar.low is not None and bar.high is not None:
            text += f" [{shown(low)}, {shown(high)}]"
        texts.append(text)
        colour = Series("", 1 if bar.is_notable else 0).colour
        (interval,) = axis.plot([low, high], [place, place], color=colour, linewidth=2.4)
        (point,) = axis.plot([bar.value], [place], color=colour, marker="o", markersize=7)
        hover.add_points(text, axis, [bar.value], [place], interval, point)
    axis.set_yticks(range(len(names)), names, parse_math=False)
    # The first bar is on top; half a bar and a little is free at either end.
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    (percent_ticks if chart.is_percent else count_ticks)(axis.xaxis, most=5)
    label_axes(axis, x=one_line(chart.x))
    return Plot(
        name=name,
        title=one_line(chart.title),
        figure=figure,
        description=f"{one_line(chart.title)}: {'; '.join(texts)}",
        note=one_line(chart.note),
        hover=hover.texts,
    )


def _map(chart: Map, name: str) -> Plot:
    figure, (axis,) = new_figure(400)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.99, bottom=0.02)
    axis.grid(visible=False)
    axis.set_xticks([])
    axis.set_yticks([])
    # A mark at the edge would be cut off.
    axis.margins(0.06)
    hover = Hover()
    legend: list[Series] = []
    for layer in chart.layers:
        # Other prompts take the colours after those of the prompt and the controls, in turn.
        series = _layer_series(layer, len([s for s in legend if s.number >= _FIRST_OTHER]))
        _draw_layer(axis, layer, series, hover)
        if series is not None and layer.role != "path" and layer.points:
            legend.append(series)
    has_path = any(layer.role == "path" for layer in chart.layers)
    note = " ".join(
        part
        for part in (
            one_line(chart.note),
            "Dots: tokens of the vocabulary.",
            "Thin lines: the way from the start." if has_path else "",
        )
        if part
    )
    sizes = ", ".join(
        f"{len(layer.points)} of {one_line(layer.name)}"
        for layer in chart.layers
        if layer.role != "path"
    )
    return Plot(
        name=name,
        title=f"{one_line(chart.title)} ({one_line(chart.method)})",
        figure=figure,
        description=f"{one_line(chart.title)}, points: {sizes}",
        note=note,
        legend=tuple(legend),
        hover=hover.texts,
    )


def _layer_series(layer: Layer, others: int) -> Series | None:
    """Return the look of a layer; the vocabulary has none of a row's."""
    if layer.role == "vocabulary":
        return None
    if layer.role in ("prompt", "path"):
        return Series(layer.name, _PROMPT)
    if layer.role == "control":
        return Series(layer.name, _CONTROL)
    return Series(layer.name, _FIRST_OTHER + others)


def _draw_layer(axis: Axes, layer: Layer, series: Series | None, hover: Hover) -> None:
    x, y = [point.x for point in layer.points], [point.y for point in layer.points]
    if layer.role == "path":
        axis.plot(x, y, color=_accent(), linewidth=0.9, alpha=0.6)
    elif series is None:
        axis.plot(x, y, linestyle="", marker=".", markersize=3, color=MUTED, alpha=0.4)
        for point in layer.points:
            if point.text:
                _write(axis, point.x, point.y, shortened(point.text, _TOKEN_LENGTH), MUTED)
    elif layer.role != "prompt":
        look: dict[str, Any] = {
            "color": series.colour,
            "marker": series.marker,
            "markersize": 6,
            "linestyle": "",
        }
        for point in layer.points:
            hover.add(one_line(point.about or point.text), *axis.plot([point.x], [point.y], **look))
    else:
        for point in layer.points:
            (drawn,) = axis.plot(
                [point.x], [point.y], color=series.colour, marker=series.marker, markersize=14
            )
            drawn.set_alpha(0.35)
            text = one_line(point.about or point.text)
            hover.add_points(text, axis, [point.x], [point.y], drawn)
            _write(axis, point.x, point.y, shortened(point.text, 4), INK, ha="center", va="center")


def _write(
    axis: Axes, x: float, y: float, text: str, colour: str, *, ha: str = "left", va: str = "bottom"
) -> None:
    axis.text(
        x, y, text, color=colour, fontsize=_SMALL_TEXT, ha=ha, va=va, parse_math=False, clip_on=True
    )


def _accent() -> str:
    return Series("", _PROMPT).colour


def _is_figure(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _figure(value: float | None) -> str:
    return f"{value:.3g}" if value is not None and math.isfinite(value) else NOTHING


def _width(names: Sequence[str]) -> float:
    """Return the room that names need side by side."""
    return _CHARACTER * sum(len(name) + 2 for name in names)


def _some(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` items, evenly apart, the first among them."""
    # Rounded up, or one item too many would be returned.
    step = -(-len(items) // most) if items else 1
    return list(items[::step])
