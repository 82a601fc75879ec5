"""Quality against cost, with the Pareto front: which way of using the base is worth its price."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from workbench.analysis.figures import draw_estimate, series_of
from workbench.analysis.pareto import pareto_front
from workbench.analysis.results import Comparison, ComparisonRow
from workbench.estimates import Estimate
from workbench.presentation.axes import (
    count_ticks,
    label_axes,
    log_axis,
    new_figure,
    percent_ticks,
    wants_log,
)
from workbench.presentation.display import one_line
from workbench.presentation.drawing import MUTED, Hover, Plot
from workbench.presentation.quantities import (
    cost_of,
    cost_text,
    metric_of,
    metric_text,
)


@dataclass(frozen=True)
class _Point:
    row: ComparisonRow
    cost: float
    quality: float
    estimate: Estimate


def cost_plot(
    comparison: Comparison,
    *,
    cost: str,
    quality: str | None = None,
    use_log: bool | None = None,
) -> Plot | None:
    """Return a metric against a cost with the Pareto front of the rows' means over seeds.

    None if the runs with both figures have not two different costs.

    Args:
        comparison: The table.
        cost: One of `COST_KEYS`.
        quality: Name of a metric of the rows; None takes the one the table is about.
        use_log: Draw powers of ten, with 0 in a place of its own at the left; None decides by how
            far the costs are apart.
    """
    quality = quality or comparison.headline_metric
    points = _points(comparison, cost, quality)
    costs = [point.cost for point in points]
    if len(set(costs)) < 2:
        return None
    look, hover = series_of(comparison), Hover()
    figure, (axis,) = new_figure(270)
    figure.subplots_adjust(left=0.16, right=0.95, top=0.96, bottom=0.2)
    use_log = wants_log(costs) if use_log is None else use_log
    place = log_axis(axis, costs) if use_log else float
    if not use_log:
        count_ticks(axis.xaxis)
    front = mean_front(comparison, cost=cost, quality=quality)
    line = [(place(at), value) for _, at, value in front]
    if line:
        _draw_front(axis, hover, line)
    metric = metric_of(quality)
    texts = [_point_text(comparison, point, cost, quality) for point in points]
    for point, text in zip(points, texts, strict=True):
        series = look[point.row.row]
        draw_estimate(axis, series, point.estimate, x=place(point.cost), hover=hover, text=text)
    (percent_ticks if metric.form == "percent" else count_ticks)(axis.yaxis)
    axis.margins(0.08)
    direction = " (lower is better)" if metric.is_higher_better is False else ""
    label_axes(axis, x=cost_of(cost).axis_title, y=f"{metric.title}{direction}")
    return Plot(
        name=f"{quality}-by-{cost}",
        title=f"{metric.title[:1].upper()}{metric.title[1:]} against {cost_of(cost).title}",
        figure=figure,
        description=f"{metric.title} against {cost_of(cost).title}: {'; '.join(texts)}",
        note=_note([name for name, _, _ in front], len(comparison.rows) - len(points)),
        legend=tuple(look[name] for name in dict.fromkeys(point.row.row for point in points)),
        hover=hover.texts,
    )


def mean_front(
    comparison: Comparison, *, cost: str, quality: str | None = None
) -> list[tuple[str, float, float]]:
    """Return the rows on the Pareto front, cheapest first, with mean cost and mean quality.

    There is none where it is not known which way the metric is better.
    """
    quality = quality or comparison.headline_metric
    is_higher_better = metric_of(quality).is_higher_better
    if is_higher_better is None:
        return []
    points = _points(comparison, cost, quality)
    names = list(dict.fromkeys(point.row.row for point in points))
    means = [
        (
            float(np.mean([point.cost for point in points if point.row.row == name])),
            float(np.mean([point.quality for point in points if point.row.row == name])),
        )
        for name in names
    ]
    front = pareto_front(means, lower_is_better=not is_higher_better)
    return [(names[place], *means[place]) for place in front]


def _points(comparison: Comparison, cost: str, quality: str) -> list[_Point]:
    """Return the runs that have both figures."""
    found = []
    for row in comparison.rows:
        price, estimate = row.costs[cost], row.metrics.get(quality)
        if price is not None and estimate is not None and estimate.value is not None:
            found.append(_Point(row, float(price), estimate.value, estimate))
    return found


def _draw_front(axis: Axes, hover: Hover, line: Sequence[tuple[float, float]]) -> None:
    """Draw what quality each cost buys: level up to the next row of the front, then a step."""
    (drawn,) = axis.plot(
        [x for x, _ in line],
        [y for _, y in line],
        drawstyle="steps-post",
        color=MUTED,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
    )
    hover.add("Pareto front", drawn)


def _point_text(comparison: Comparison, point: _Point, cost: str, quality: str) -> str:
    name = one_line(comparison.label(point.row))
    good = f"{metric_of(quality).title} {metric_text(quality, point.estimate)}"
    return f"{name}: {good}, {cost_of(cost).title} {cost_text(cost, point.cost)}"


def _note(front: Sequence[str], num_left_out: int) -> str:
    names = ", ".join(map(one_line, front))
    sentences = [
        f"Pareto front: {names}: no other row is both better and cheaper."
        if front
        else "Which way this metric is better is not known here, so there is no Pareto front."
    ]
    if num_left_out:
        sentences.append(f"Rows without such a figure, not shown: {num_left_out}.")
    return " ".join(sentences)
