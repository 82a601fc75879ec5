"""The figures of a report: accuracy with intervals, what it costs, training, calibration."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from workbench.analysis.display import estimate_text, number, one_line
from workbench.analysis.drawing import (
    LINE,
    MUTED,
    Drawing,
    Series,
    inline_svg,
    label_axes,
    new_figure,
)
from workbench.analysis.results import Comparison, ComparisonRow, RunDetail

_NAME_LENGTH = 22  # characters beside the forest plot
_CALIBRATION_BINS = 8
_SMOOTHING = 0.1  # share of the training whose losses are averaged into one point


def series_of(comparison: Comparison) -> dict[str, Series]:
    """Return the look of each row name, in the order of the table."""
    names = dict.fromkeys(row.row for row in comparison.rows)
    return {name: Series(name, index) for index, name in enumerate(names)}


def forest_plot(comparison: Comparison) -> Drawing:
    """Return accuracy with its interval for every run; seeds of a row stand together."""
    look = series_of(comparison)
    runs_per_name = [[row for row in comparison.rows if row.row == name] for name in look]
    spacing = 0.5 / max(len(runs) for runs in runs_per_name)
    figure, (axis,) = new_figure(70 + sum(22 + 8 * len(runs) for runs in runs_per_name))
    figure.subplots_adjust(left=0.37, right=0.96, top=0.97, bottom=48 / figure.bbox.height)
    for position, (series, runs) in enumerate(zip(look.values(), runs_per_name, strict=True)):
        for place, row in enumerate(runs):
            height = position + spacing * (place - (len(runs) - 1) / 2)
            _draw_estimate(axis, series, row, x=None, y=height)
    reference = [
        row.accuracy.value
        for row in comparison.rows
        if row.row == comparison.reference and row.accuracy.value is not None
    ]
    if reference:
        axis.axvline(float(np.mean(reference)), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    names = [_short(series.name) for series in look.values()]
    axis.set_yticks(range(len(look)), names, parse_math=False)
    axis.set_ylim(len(look) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    label_axes(axis, x="accuracy")
    figures = "; ".join(
        f"{one_line(comparison.label(row))} {estimate_text(row.accuracy)}"
        for row in comparison.rows
    )
    return Drawing(
        title="Accuracy with 95 % interval",
        svg=inline_svg(figure, name="forest", description=f"Accuracy: {figures}"),
        note=f"Dashed: the reference, {one_line(comparison.reference)}.",
    )


def cost_plot(comparison: Comparison, *, cost: str, title: str, use_log: bool) -> Drawing | None:
    """Return accuracy against a cost; None if the runs have not two different figures of it.

    Args:
        comparison: The table.
        cost: A key of the rows' cost.
        title: Of the figure; also names the axis.
        use_log: Draw powers of ten, with 0 in a place of its own at the left.
    """
    look = series_of(comparison)
    known = [
        (row, float(value))
        for row in comparison.rows
        if (value := row.cost[cost]) is not None and row.accuracy.value is not None
    ]
    if len({value for _, value in known}) < 2:
        return None
    figure, (axis,) = new_figure(270)
    figure.subplots_adjust(left=0.15, right=0.95, top=0.96, bottom=0.2)
    place = _log_axis(axis, [value for _, value in known]) if use_log else _linear_axis(axis)
    for row, value in known:
        _draw_estimate(axis, look[row.row], row, x=place(value), y=None)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(0.08)
    label_axes(axis, x=title, y="accuracy")
    figures = "; ".join(
        f"{one_line(comparison.label(row))} {number(value)}, {estimate_text(row.accuracy)}"
        for row, value in known
    )
    left_out = len(comparison.rows) - len(known)
    names = dict.fromkeys(row.row for row, _ in known)
    return Drawing(
        title=f"Accuracy against {title}",
        svg=inline_svg(figure, name=cost.replace("_", "-"), description=f"{title}: {figures}"),
        note=f"Rows without such a figure, not shown: {left_out}." if left_out else "",
        legend=tuple(look[name].legend for name in names),
    )


def training_plot(comparison: Comparison) -> Drawing | None:
    """Return loss and dev accuracy of every trained run; None if nothing was trained."""
    look = series_of(comparison)
    trained = [
        (row, detail)
        for row, detail in zip(comparison.rows, comparison.details, strict=True)
        if detail.history
    ]
    if not trained:
        return None
    figure, (loss_axis, dev_axis) = new_figure(360, rows=2)
    figure.subplots_adjust(left=0.15, right=0.95, top=0.97, bottom=0.14, hspace=0.22)
    loss_axis.sharex(dev_axis)
    loss_axis.tick_params(labelbottom=False)
    for row, detail in trained:
        series = look[row.row]
        steps, losses = _column(detail, "loss")
        loss_axis.plot(*_smoothed(steps, losses), color=series.colour, linewidth=1.6)
        steps, accuracies = _column(detail, "dev_accuracy")
        dev_axis.plot(
            steps,
            accuracies,
            color=series.colour,
            linewidth=1.4,
            marker=series.marker,
            markersize=4.5,
        )
    loss_axis.set_ylim(bottom=0)
    dev_axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    for axis in (loss_axis, dev_axis):
        axis.yaxis.set_major_locator(MaxNLocator(4))
    label_axes(loss_axis, y="loss, nats")
    label_axes(dev_axis, x="training step", y="dev accuracy")
    figure.align_ylabels()
    names = ", ".join(one_line(comparison.label(row)) for row, _ in trained)
    return Drawing(
        title="Training",
        svg=inline_svg(
            figure, name="training", description=f"Loss and dev accuracy by step: {names}"
        ),
        note="Above: training loss of the answer, running mean. Below: accuracy on dev, which "
        "chose the step that was kept.",
        legend=tuple(look[name].legend for name in dict.fromkeys(row.row for row, _ in trained)),
    )


def calibration_plot(
    comparison: Comparison, chosen: Sequence[tuple[ComparisonRow, RunDetail]]
) -> Drawing | None:
    """Return how often answers of a given confidence are right; None without probabilities."""
    look = series_of(comparison)
    figure, (axis,) = new_figure(300)
    figure.subplots_adjust(left=0.16, right=0.95, top=0.96, bottom=0.18)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    drawn = []
    for row, detail in chosen:
        pairs = sorted(
            (answer.confidence, answer.is_correct)
            for answer in detail.answers
            if answer.confidence is not None
        )
        if not pairs:
            continue
        drawn.append(row)
        bins = np.array_split(np.array(pairs, dtype=np.float64), min(_CALIBRATION_BINS, len(pairs)))
        points = np.array([group.mean(axis=0) for group in bins])  # (bins, 2)
        series = look[row.row]
        axis.plot(
            points[:, 0], points[:, 1], color=series.colour, marker=series.marker, linewidth=1.4
        )
    if not drawn:
        return None
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    label_axes(axis, x="probability given to the answer", y="answers that are right")
    names = ", ".join(one_line(comparison.label(row)) for row in drawn)
    return Drawing(
        title="Calibration",
        svg=inline_svg(figure, name="calibration", description=f"Calibration of {names}"),
        note="Groups of equal size. On the dashed line the probabilities mean what they say; "
        "below it the model is too sure.",
        legend=tuple(look[row.row].legend for row in drawn),
    )


def _draw_estimate(
    axis: Axes, series: Series, row: ComparisonRow, *, x: float | None, y: float | None
) -> None:
    """Draw a run's accuracy with its interval along the axis whose position is None."""
    estimate = row.accuracy
    if estimate.value is None:
        return
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    error = [[estimate.value - low], [high - estimate.value]]
    axis.errorbar(
        estimate.value if x is None else x,
        estimate.value if y is None else y,
        xerr=error if x is None else None,
        yerr=error if y is None else None,
        color=series.colour,
        marker=series.marker,
        markersize=7,
        linewidth=1.6,
        capsize=0,
    )


def _linear_axis(axis: Axes) -> Callable[[float], float]:
    axis.xaxis.set_major_locator(MaxNLocator(5))
    return float


def _log_axis(axis: Axes, values: Sequence[float]) -> Callable[[float], float]:
    """Put powers of ten on the x axis and return where a value goes; 0 has its own place."""
    powers = [math.log10(value) for value in values if value > 0]
    first, last = math.floor(min(powers)), math.ceil(max(powers))
    zero = first - 1.0
    has_zero = any(value <= 0 for value in values)
    shown = range(first, max(last, first + 1) + 1)
    ticks = [(float(power), _power_text(power)) for power in shown]
    if has_zero:
        ticks = [(zero, "0"), *ticks]
        axis.axvline(first - 0.5, color=LINE, linewidth=1.5)
    axis.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axis.set_xlim(ticks[0][0] - 0.4, ticks[-1][0] + 0.4)
    return lambda value: math.log10(value) if value > 0 else zero


def _power_text(power: int) -> str:
    """Return 10 to a power as "1", "10", "100", "1 k" and so on."""
    for exponent, unit in ((9, " G"), (6, " M"), (3, " k")):
        if power >= exponent:
            return f"{10 ** (power - exponent)}{unit}"
    return f"{10.0**power:g}"


def _column(detail: RunDetail, key: str) -> tuple[list[float], list[float]]:
    """Return steps and figures of the history's entries that have the figure."""
    entries = [entry for entry in detail.history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def _smoothed(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return a running mean, each point at the middle of the steps it averages."""
    width = max(1, round(_SMOOTHING * len(values)))
    places = range(len(values) - width + 1)
    return (
        [float(np.mean(steps[place : place + width])) for place in places],
        [float(np.mean(values[place : place + width])) for place in places],
    )


def _short(name: str) -> str:
    text = one_line(name)
    return (
        text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
