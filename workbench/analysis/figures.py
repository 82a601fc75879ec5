"""The headline metric with intervals, and what the probabilities of an answer are worth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from workbench.analysis.results import Comparison, RunDetail
from workbench.estimates import Estimate
from workbench.presentation.axes import label_axes, new_figure, percent_ticks
from workbench.presentation.display import estimate_text, one_line, shortened
from workbench.presentation.drawing import MUTED, Hover, Plot, Series
from workbench.presentation.quantities import metric_of

_NAME_LENGTH = 22  # characters beside the forest plot
_CALIBRATION_BINS = 8


def series_of(comparison: Comparison) -> dict[str, Series]:
    """Return the look of each row name, in the order of the table."""
    names = dict.fromkeys(row.row for row in comparison.rows)
    return {name: Series(name, index) for index, name in enumerate(names)}


def forest_plot(comparison: Comparison) -> Plot:
    """Return the headline metric with its interval for every run; a row's seeds stand together."""
    look, hover = series_of(comparison), Hover()
    runs_per_name = [[row for row in comparison.rows if row.row == name] for name in look]
    # The seeds of a row take half the distance to the next row at most, so rows stay apart.
    spacing = 0.5 / max(len(runs) for runs in runs_per_name)
    # A row's name needs 22 units, each of its seeds 8 more; the rest is the x axis.
    figure, (axis,) = new_figure(70 + sum(22 + 8 * len(runs) for runs in runs_per_name))
    figure.subplots_adjust(left=0.37, right=0.96, top=0.97, bottom=48 / figure.bbox.height)
    texts = []
    for position, (series, runs) in enumerate(zip(look.values(), runs_per_name, strict=True)):
        for place, row in enumerate(runs):
            height = position + spacing * (place - (len(runs) - 1) / 2)
            quality = comparison.quality(row)
            texts.append(f"{one_line(comparison.label(row))}: {estimate_text(quality)}")
            draw_estimate(axis, series, quality, y=height, hover=hover, text=texts[-1])
    figures = [
        comparison.quality(row).value for row in comparison.rows if row.row == comparison.reference
    ]
    reference = [figure for figure in figures if figure is not None]
    if reference:
        axis.axvline(float(np.mean(reference)), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    names = [shortened(series.name, _NAME_LENGTH) for series in look.values()]
    axis.set_yticks(range(len(look)), names, parse_math=False)
    axis.set_ylim(len(look) - 0.4, -0.6)  # the first row on top, as in the table
    axis.grid(visible=False, axis="y")
    percent_ticks(axis.xaxis)
    metric = metric_of(comparison.headline_metric).title
    label_axes(axis, x=metric)
    title = metric[:1].upper() + metric[1:]
    return Plot(
        name="forest",
        title=f"{title} with 95 % interval",
        figure=figure,
        description=f"{title}: {'; '.join(texts)}",
        note=f"Dashed: the reference, {one_line(comparison.reference)}.",
        hover=hover.texts,
    )


def calibration_plot(comparison: Comparison, names: Sequence[str] | None = None) -> Plot | None:
    """Return how often answers of a given confidence are right; None without probabilities.

    Args:
        comparison: The table.
        names: Rows to draw, each by its first seed; None draws all.

    Raises:
        ConfigError: no such row.
    """
    look, hover = series_of(comparison), Hover()
    figure, (axis,) = new_figure(300)
    figure.subplots_adjust(left=0.16, right=0.95, top=0.96, bottom=0.18)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    texts: dict[str, str] = {}
    for name in dict.fromkeys(look if names is None else names):
        row, detail = comparison.first_seed(name)
        points = _calibration_points(detail)
        if not points:
            continue
        x, y = zip(*points, strict=True)
        drawn = axis.plot(
            x, y, color=look[name].colour, marker=look[name].marker, linewidth=1.4, markersize=6
        )
        shown = ", ".join(f"{100 * p:.0f} % given, {100 * q:.0f} % right" for p, q in points)
        texts[name] = f"{one_line(comparison.label(row))}: {shown}"
        hover.add_points(texts[name], axis, x, y, *drawn)
    if not texts:
        return None
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    percent_ticks(axis.xaxis)
    percent_ticks(axis.yaxis)
    label_axes(axis, x="probability given to the answer", y="answers that are right")
    return Plot(
        name="calibration",
        title="Calibration",
        figure=figure,
        description=f"Calibration: {'; '.join(texts.values())}",
        note="Groups of equal size. On the dashed line the probabilities mean what they say; "
        "below it the model is too sure.",
        legend=tuple(look[name] for name in texts),
        hover=hover.texts,
    )


def draw_estimate(
    axis: Axes,
    series: Series,
    estimate: Estimate,
    *,
    hover: Hover,
    text: str,
    x: float | None = None,
    y: float | None = None,
) -> None:
    """Draw a figure with its interval along the axis whose position is None.

    Args:
        axis: The axes to draw on.
        series: Look of the row.
        estimate: Nothing is drawn if it has no value.
        hover: Gets `text` for what was drawn.
        text: Shown at the point.
        x: Place on the x axis; None puts the estimate there.
        y: Place on the y axis; None puts the estimate there.
    """
    if estimate.value is None:
        return
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    error = [[estimate.value - low], [high - estimate.value]]
    place = (estimate.value if x is None else x, estimate.value if y is None else y)
    point, _, bars = axis.errorbar(
        *place,
        xerr=error if x is None else None,
        yerr=error if y is None else None,
        color=series.colour,
        marker=series.marker,
        markersize=7,
        linewidth=1.6,
        capsize=0,
    )
    hover.add_points(text, axis, place[:1], place[1:], point, *bars)


def _calibration_points(detail: RunDetail) -> list[tuple[float, float]]:
    """Return mean confidence and share of right answers in groups of equal size."""
    pairs = sorted(
        (answer.confidence, answer.is_correct)
        for answer in detail.answers
        if answer.confidence is not None
    )
    if not pairs:
        return []
    groups = np.array_split(np.array(pairs, dtype=np.float64), min(_CALIBRATION_BINS, len(pairs)))
    means = [group.mean(axis=0) for group in groups]
    return [(float(confidence), float(share)) for confidence, share in means]
