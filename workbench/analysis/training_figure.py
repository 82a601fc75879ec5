"""Loss and dev accuracy by training step, of finished runs and of runs that still go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from workbench.analysis.axes import count_ticks, label_axes, new_figure, percent_ticks, step_ticks
from workbench.analysis.display import number, one_line, percent
from workbench.analysis.drawing import FONT_SIZE, MUTED, Drawing, Hover, Plot, Series
from workbench.analysis.figures import series_of
from workbench.analysis.results import Comparison

History = Sequence[Mapping[str, float]]
"""Entries of a run's history.jsonl: a step with its loss, or with a dev evaluation."""

_SMOOTHING = 0.1  # share of the training whose losses are averaged into one point
_MOST_POINTS = 400  # of a loss curve: more than the pixels it gets on a page


@dataclass(frozen=True)
class _Run:
    label: str
    series: Series
    history: History


def training_plot(comparison: Comparison) -> Plot | None:
    """Return loss and dev accuracy of every trained run; None if nothing was trained."""
    look = series_of(comparison)
    runs = [
        _Run(comparison.label(row), look[row.row], detail.history)
        for row, detail in zip(comparison.rows, comparison.details, strict=True)
        if detail.history
    ]
    note = (
        "Above: training loss of the answer, running mean. Below: accuracy on dev, which chose the "
        "step that was kept."
    )
    return _curves(runs, name="training", note=note) if runs else None


def history_plot(
    histories: Sequence[tuple[str, History]], *, steps: int | None = None, name: str = "history"
) -> Drawing | None:
    """Return loss and dev accuracy of runs that may still go on; None before the first step.

    Args:
        histories: Name and history so far of each run; equal names share a look.
        steps: Where the x axis ends; None ends it at the last step.
        name: Unique on the page.
    """
    numbers = {run: index for index, run in enumerate(dict.fromkeys(run for run, _ in histories))}
    runs = [
        _Run(run, Series(run, numbers[run]), history) for run, history in histories if len(history)
    ]
    if not runs:
        return None
    note = "Above: training loss of the answer, running mean. Below: accuracy on dev."
    return _curves(runs, name=name, note=note, steps=steps).svg_drawing()


def _curves(runs: Sequence[_Run], *, name: str, note: str, steps: int | None = None) -> Plot:
    """Draw both panels, so that the picture keeps its shape while a run goes on."""
    figure, (loss_axis, dev_axis) = new_figure(360, rows=2)
    figure.subplots_adjust(left=0.16, right=0.95, top=0.97, bottom=0.14, hspace=0.22)
    loss_axis.sharex(dev_axis)
    loss_axis.tick_params(labelbottom=False)
    hover = Hover()
    for run in runs:
        _draw_losses(loss_axis, run, hover)
        _draw_dev(dev_axis, run, hover)
    for axis, text in ((loss_axis, "no loss yet"), (dev_axis, "not evaluated on dev yet")):
        if not axis.lines:
            axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center",
                      color=MUTED, fontsize=FONT_SIZE)  # fmt: skip
    loss_axis.set_ylim(bottom=0)
    count_ticks(loss_axis.yaxis, most=4)
    percent_ticks(dev_axis.yaxis, most=4)
    step_ticks(dev_axis.xaxis)
    if steps is not None:
        dev_axis.set_xlim(0, max(steps, 1) * 1.02)  # room for the last marker
    label_axes(loss_axis, y="loss, nats")
    label_axes(dev_axis, x="training step", y="dev accuracy")
    figure.align_ylabels()
    texts = "; ".join(dict.fromkeys(hover.texts.values()))
    return Plot(
        name=name,
        title="Training",
        figure=figure,
        description=f"Loss and dev accuracy by step: {texts}",
        note=note,
        legend=tuple(dict.fromkeys(run.series for run in runs)),
        hover=hover.texts,
    )


def _draw_losses(axis: Axes, run: _Run, hover: Hover) -> None:
    steps, losses = _column(run.history, "loss")
    if not steps:
        return
    x, y = _smoothed(steps, losses)
    is_point = len(x) == 1  # a line through one point is nothing to see
    drawn = axis.plot(
        x,
        y,
        color=run.series.colour,
        linewidth=1.6,
        marker=run.series.marker if is_point else "",
        markersize=4.5,
    )
    text = f"{one_line(run.label)}: loss {number(y[-1], decimals=3)} by step {steps[-1]:g}"
    hover.add_points(text, axis, x, y, *drawn)


def _draw_dev(axis: Axes, run: _Run, hover: Hover) -> None:
    steps, accuracies = _column(run.history, "dev_accuracy")
    if not steps:
        return
    drawn = axis.plot(
        steps,
        accuracies,
        color=run.series.colour,
        linewidth=1.4,
        marker=run.series.marker,
        markersize=4.5,
    )
    best = int(np.argmax(accuracies))
    text = (
        f"{one_line(run.label)}: dev accuracy {percent(accuracies[-1])} at step {steps[-1]:g}, "
        f"highest {percent(accuracies[best])} at step {steps[best]:g}"
    )
    hover.add_points(text, axis, steps, accuracies, *drawn)


def _column(history: History, key: str) -> tuple[list[float], list[float]]:
    """Return steps and figures of the history's entries that have the figure."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def _smoothed(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return a running mean, each point at the middle of the steps it averages."""
    width = max(1, round(_SMOOTHING * len(values)))
    weights = np.full(width, 1 / width)
    means = [np.convolve(column, weights, mode="valid") for column in (steps, values)]
    keep = np.unique(np.linspace(0, len(means[0]) - 1, _MOST_POINTS).round().astype(int))
    return means[0][keep].tolist(), means[1][keep].tolist()
