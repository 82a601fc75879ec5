"""Loss and dev accuracy (of texts: dev loss) by training step, of runs finished or going on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes

from workbench.analysis.figures import series_of
from workbench.analysis.results import Comparison
from workbench.presentation.axes import (
    count_ticks,
    label_axes,
    new_figure,
    percent_ticks,
    step_ticks,
)
from workbench.presentation.display import number, one_line, percent
from workbench.presentation.drawing import FONT_SIZE, MUTED, Drawing, Hover, Plot, Series

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
    dev = "loss per token on dev" if comparison.writes_texts else "accuracy on dev"
    note = (
        f"Above: training loss of the answer, running mean. Below: {dev}, which chose the step "
        "that was kept."
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
    # Pages ask for the same picture again and again, and it takes longer than all they look up.
    entries = tuple(
        (run, tuple(tuple(entry.items()) for entry in history)) for run, history in histories
    )
    return _drawn(entries, steps, name)


def training_history(
    histories: Sequence[tuple[str, History]], *, steps: int | None = None, name: str = "history"
) -> Plot | None:
    """Return the same as `history_plot`, before it is drawn for a page."""
    numbers = {run: index for index, run in enumerate(dict.fromkeys(run for run, _ in histories))}
    runs = [
        _Run(run, Series(run, numbers[run]), history) for run, history in histories if len(history)
    ]
    if not runs:
        return None
    dev = "accuracy" if _dev_key(runs) == "dev_accuracy" else "loss per token"
    note = f"Above: training loss of the answer, running mean. Below: {dev} on dev."
    return _curves(runs, name=name, note=note, steps=steps)


@lru_cache(maxsize=64)
def _drawn(
    entries: tuple[tuple[str, tuple[tuple[tuple[str, float], ...], ...]], ...],
    steps: int | None,
    name: str,
) -> Drawing | None:
    histories = [(run, [dict(entry) for entry in history]) for run, history in entries]
    plot = training_history(histories, steps=steps, name=name)
    return None if plot is None else plot.svg_drawing(has_wide=True)


def _curves(runs: Sequence[_Run], *, name: str, note: str, steps: int | None = None) -> Plot:
    """Draw both panels, so that the picture keeps its shape while a run goes on."""
    figure, (loss_axis, dev_axis) = new_figure(360, rows=2)
    figure.subplots_adjust(left=0.16, right=0.95, top=0.97, bottom=0.14, hspace=0.22)
    loss_axis.sharex(dev_axis)
    loss_axis.tick_params(labelbottom=False)
    hover, dev_key = Hover(), _dev_key(runs)
    for run in runs:
        _draw_losses(loss_axis, run, hover)
        _draw_dev(dev_axis, run, hover, dev_key)
    for axis, text in ((loss_axis, "no loss yet"), (dev_axis, "not evaluated on dev yet")):
        if not axis.lines:
            axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center",
                      color=MUTED, fontsize=FONT_SIZE)  # fmt: skip
    loss_axis.set_ylim(bottom=0)  # or a last small improvement would look like a large one
    count_ticks(loss_axis.yaxis, most=4)
    (percent_ticks if dev_key == "dev_accuracy" else count_ticks)(dev_axis.yaxis, most=4)
    step_ticks(dev_axis.xaxis)
    if steps is not None:
        dev_axis.set_xlim(0, max(steps, 1) * 1.02)  # room for the last marker
    label_axes(loss_axis, y="loss, nats")
    name_of_dev = "dev accuracy" if dev_key == "dev_accuracy" else "dev loss, nats"
    label_axes(dev_axis, x="training step", y=name_of_dev)
    figure.align_ylabels()
    texts = "; ".join(dict.fromkeys(hover.texts.values()))
    return Plot(
        name=name,
        title="Training",
        figure=figure,
        description=f"Loss and {name_of_dev} by step: {texts}",
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


def _dev_key(runs: Sequence[_Run]) -> str:
    """Return what dev evaluations are drawn by: the accuracy, or the loss where there is none."""
    entries = [entry for run in runs for entry in run.history if "dev_loss" in entry]
    has_accuracy = not entries or any("dev_accuracy" in entry for entry in entries)
    return "dev_accuracy" if has_accuracy else "dev_loss"


def _draw_dev(axis: Axes, run: _Run, hover: Hover, key: str) -> None:
    steps, figures = _column(run.history, key)
    if not steps:
        return
    drawn = axis.plot(
        steps,
        figures,
        color=run.series.colour,
        linewidth=1.4,
        marker=run.series.marker,
        markersize=4.5,
    )
    if key == "dev_accuracy":
        best = int(np.argmax(figures))
        text = (
            f"{one_line(run.label)}: dev accuracy {percent(figures[-1])} at step {steps[-1]:g}, "
            f"highest {percent(figures[best])} at step {steps[best]:g}"
        )
    else:
        best = int(np.argmin(figures))
        text = (
            f"{one_line(run.label)}: dev loss {number(figures[-1], decimals=3)} at step "
            f"{steps[-1]:g}, lowest {number(figures[best], decimals=3)} at step {steps[best]:g}"
        )
    hover.add_points(text, axis, steps, figures, *drawn)


def _column(history: History, key: str) -> tuple[list[float], list[float]]:
    """Return steps and figures of the history's entries that have the figure."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def _smoothed(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return a running mean, each point at the middle of the steps it averages."""
    width = max(1, round(_SMOOTHING * len(values)))
    weights = np.full(width, 1 / width)
    means = [np.convolve(column, weights, mode="valid") for column in (steps, values)]
    # Evenly thinned with both ends; a short history would name some of its points twice.
    keep = np.unique(np.linspace(0, len(means[0]) - 1, _MOST_POINTS).round().astype(int))
    return means[0][keep].tolist(), means[1][keep].tolist()
