"""The picture of lines along an axis: quality with its band, dev dashed, the best by dev ringed."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from workbench.analysis.curves.lines import CurveLine, CurvePoint, Curves, Place
from workbench.presentation.axes import label_axes, new_figure, percent_ticks, short_number
from workbench.presentation.display import (
    estimate_text,
    interval_text,
    one_line,
    percent,
    shortened,
)
from workbench.presentation.drawing import INK, LINE, Hover, Plot, Series
from workbench.presentation.quantities import metric_of

_LOG_RATIO = 8  # doubled four times; beyond it points on a linear axis crowd at the left
_BAND = 0.13  # opacity; three bands over each other still show the lines
_CLOSEST = 0.055  # of the axis; marks nearer than that would overlap
_MARK_LENGTH = 12  # characters of a mark that is text
_DASHED = (0, (4, 3))
_DOTTED = (0, (1, 2))


def curve_plot(curves: Curves, *, name: str, band: str = "items") -> Plot:
    """Return the lines over their axis.

    Args:
        curves: The lines to draw.
        name: Unique on the page.
        band: "items" shades the 95 % interval over items; "seeds" from the lowest to the highest
            seed, where there are several, and no dev line is drawn without it.
    """
    figure, (axis,) = new_figure(310)
    figure.subplots_adjust(left=0.16, right=0.96, top=0.96, bottom=0.17)
    position = _scale(axis, curves.places)
    look = {line.name: Series(line.name, number) for number, line in enumerate(curves.lines)}
    hover = Hover()
    for line in curves.lines:
        _draw_line(axis, line, look[line.name], position, band=band, hover=hover)
    shows_dev = curves.best is not None
    if shows_dev:
        for line in curves.lines:
            _draw_dev(axis, line, look[line.name], position, hover)
        _ring_best(axis, curves, position)
    percent_ticks(axis.yaxis)
    axis.margins(y=0.08)
    label_axes(axis, x=one_line(curves.axis), y=metric_of(curves.metric).title)
    return Plot(
        name=name,
        title=curves.title,
        figure=figure,
        description=f"{curves.title}: {'; '.join(dict.fromkeys(hover.texts.values()))}",
        note=_note(curves, band),
        legend=tuple(look.values()),
        hover=hover.texts,
    )


def band_of(point: CurvePoint, band: str) -> tuple[float, float] | None:
    """Return from where to where a point's band goes; None where there is no such figure."""
    low, high = point.quality.low, point.quality.high
    if band == "seeds" and len(point.runs) > 1:
        low, high = point.lowest, point.highest
    return None if low is None or high is None else (low, high)


def _draw_line(
    axis: Axes,
    line: CurveLine,
    series: Series,
    position: Callable[[Place], float],
    *,
    band: str,
    hover: Hover,
) -> None:
    points = [point for point in line.points if point.quality.value is not None]
    if not points:
        return
    if line.is_flat:
        level = points[0].quality.value or 0.0
        flat = axis.axhline(
            level,
            color=series.colour,
            linewidth=1.6,
            linestyle=_DOTTED if line.is_baseline else "-",
        )
        (mark,) = axis.plot(
            [1.0], [level], color=series.colour, marker=series.marker, markersize=6, linewidth=0,
            # x in shares of the axis: the mark sits at the right edge, whatever the places are.
            transform=axis.get_yaxis_transform(), clip_on=False,
        )  # fmt: skip
        text = f"{one_line(line.name)}: {estimate_text(points[0].quality)}, everywhere"
        hover.add(text, flat, mark)
        return
    x = [position(point.place) for point in points if point.place is not None]
    y = [point.quality.value or 0.0 for point in points]
    bands = [band_of(point, band) or (value, value) for point, value in zip(points, y, strict=True)]
    low, high = zip(*bands, strict=True)
    if len(x) > 1:
        axis.fill_between(x, low, high, color=series.colour, alpha=_BAND, linewidth=0)
    else:
        # A band over one point would have no width.
        axis.vlines(x, low, high, color=series.colour, linewidth=1.6)
    drawn = axis.plot(x, y, color=series.colour, marker=series.marker, markersize=6, linewidth=1.6)
    shown = "; ".join(
        f"{point.place}: {percent(value)} {interval_text(*bounds)}"
        for point, value, bounds in zip(points, y, bands, strict=True)
    )
    hover.add_points(f"{one_line(line.name)}: {one_line(shown)}", axis, x, y, *drawn)


def _draw_dev(
    axis: Axes, line: CurveLine, series: Series, position: Callable[[Place], float], hover: Hover
) -> None:
    points = [
        (position(point.place), point.dev_accuracy)
        for point in line.points
        if point.place is not None and point.dev_accuracy is not None
    ]
    if not points:
        return
    x, y = zip(*points, strict=True)
    drawn = axis.plot(
        x, y, color=series.colour, marker=series.marker, markersize=4, markerfacecolor="none",
        linewidth=1.2, linestyle=_DASHED,
    )  # fmt: skip
    text = f"{one_line(line.name)} on dev: {', '.join(map(percent, y))}"
    hover.add_points(text, axis, x, y, *drawn)


def _ring_best(axis: Axes, curves: Curves, position: Callable[[Place], float]) -> None:
    """Ring the test accuracy of the place that dev chooses."""
    point = curves.best_point
    if point is not None and point.place is not None and point.quality.value is not None:
        axis.plot(
            [position(point.place)], [point.quality.value],
            marker="o", markersize=14, markerfacecolor="none", markeredgecolor=INK, linewidth=0,
        )  # fmt: skip


def _scale(axis: Axes, places: Sequence[Place]) -> Callable[[Place], float]:
    """Mark the places on the x axis and return where each one goes.

    Numbers far apart go on a logarithmic axis, where 0 has a place of its own at the left; text is
    spaced evenly.
    """
    numbers = [place for place in places if not isinstance(place, str)]
    positive = [number for number in numbers if number > 0]
    if len(numbers) < len(places):
        at = {place: float(number) for number, place in enumerate(places)}
        texts = [shortened(str(place), _MARK_LENGTH) for place in places]
    elif len(positive) > 1 and min(numbers) >= 0 and max(positive) / min(positive) > _LOG_RATIO:
        at = {number: math.log2(number) for number in positive}
        if len(positive) < len(numbers):
            # 0 has no logarithm; it gets a place of its own, far enough off to show the break.
            gap = max(1.0, (max(at.values()) - min(at.values())) / 5)
            at[0] = min(at.values()) - gap
            # The line says that the axis is broken here.
            axis.axvline(at[0] + gap / 2, color=LINE, linewidth=1.5)
        texts = [short_number(number) for number in numbers]
    else:
        at = {number: float(number) for number in numbers}
        texts = [short_number(number) for number in numbers]
    first, last = min(at.values()), max(at.values())
    # A single place has no width, and the limits below must differ.
    span = (last - first) or 1.0
    marks: list[tuple[float, str]] = []
    for place, text in sorted(zip((at[place] for place in places), texts, strict=True)):
        # The points are all drawn; only marks that would overlap are left out.
        if not marks or place - marks[-1][0] >= _CLOSEST * span:
            marks.append((place, text))
    axis.set_xticks([place for place, _ in marks])
    axis.set_xticklabels([text for _, text in marks], parse_math=False)
    axis.set_xlim(first - 0.06 * span, last + 0.06 * span)
    return at.__getitem__


def _note(curves: Curves, band: str) -> str:
    seeds = {
        len(point.runs) for line in curves.lines for point in line.points if point.place is not None
    }
    sentences = []
    if band == "seeds" and max(seeds, default=1) > 1:
        sentences.append("Band: from the lowest to the highest seed; the line is their mean.")
    else:
        sentences.append("Band: 95 % interval over the test items.")
        if max(seeds, default=1) > 1:
            sentences.append("Lines are means over seeds.")
    if any(line.is_flat and not line.is_baseline for line in curves.lines):
        sentences.append("Level lines use no labelled example.")
    if any(line.is_flat and line.is_baseline for line in curves.lines):
        sentences.append("Dotted: does not use the base.")
    if curves.best is not None:
        sentences.append("Dashed: accuracy on dev. Ring: what dev chooses.")
    bounds = [
        f"{one_line(line.name)} at {point.place}"
        for line in curves.lines
        for point in line.points
        if point.is_lower_bound
    ]
    if bounds:
        sentences.append(f"Lower bounds (best learning rate at the edge): {', '.join(bounds)}.")
    return " ".join(sentences)
