"""Empty figures of the page's width, and axes in percent, counts or powers of ten."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workbench.presentation.drawing import FONT_SIZE, INK, LINE, MUTED, WIDTH

_LOG_RATIO = 20  # beyond it, points on a linear axis crowd together at the left
_STEPS = (1, 2, 2.5, 5, 10)  # distances of marks that people count in
_MOST_POWERS = 8  # names of powers of ten that fit side by side


def new_figure(height: int, *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of the page's width and its axes from top to bottom."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
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
    """Name the axes of a plot; the names are text, never formulas."""
    axis.set_xlabel(x, color=INK, fontsize=FONT_SIZE, parse_math=False)
    axis.set_ylabel(y, color=INK, fontsize=FONT_SIZE, parse_math=False)


def percent_ticks(axis: Axis, *, most: int = 6) -> None:
    """Mark fractions in percent, with as many decimals as the marks need."""
    axis.set_major_locator(MaxNLocator(most, steps=_STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value + 0.0:.4g} %"))


def count_ticks(axis: Axis, *, most: int = 6) -> None:
    """Mark plain figures, large ones as "200 k"."""
    axis.set_major_locator(MaxNLocator(most, steps=_STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def step_ticks(axis: Axis) -> None:
    """Mark whole training steps."""
    axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10), integer=True))


def wants_log(values: Sequence[float]) -> bool:
    """Return whether the values above 0 are too far apart for a linear axis."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > _LOG_RATIO


def log_axis(axis: Axes, values: Sequence[float]) -> Callable[[float], float]:
    """Put powers of ten on the x axis and return where a value goes; 0 has its own place.

    Args:
        axis: Whose x axis it becomes.
        values: To be drawn; without one above 0 there is only the place of 0.
    """
    powers = [math.log10(value) for value in values if value > 0] or [0.0]
    first, last = math.floor(min(powers)), math.ceil(max(powers))
    zero = first - 1.0
    has_zero = any(value <= 0 for value in values)
    last = max(last, first + 1)
    shown = range(first, last + 1, 1 + (last - first) // _MOST_POWERS)
    ticks = [(float(power), short_number(10.0**power)) for power in shown]
    if has_zero:
        ticks = [(zero, "0"), *ticks]
        axis.axvline(first - 0.5, color=LINE, linewidth=1.5)
    axis.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axis.set_xlim(ticks[0][0] - 0.4, last + 0.4)
    return lambda value: math.log10(value) if value > 0 else zero


def short_number(value: float) -> str:
    """Return "0.1", "100", "20 k", "1.5 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value + 0.0:.4g}"
