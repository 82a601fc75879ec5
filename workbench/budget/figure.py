"""The plan as a picture: what fills a device's memory, method by method."""

from matplotlib.axes import Axes

from workbench.budget.advice import gibibytes
from workbench.budget.known import GIB
from workbench.budget.memory import MemoryEstimate
from workbench.budget.plan import MethodPlan, Plan
from workbench.presentation.axes import count_ticks, label_axes, new_figure
from workbench.presentation.drawing import FONT_SIZE, INK, Drawing, Hover, Plot, Series

_ROW_HEIGHT = 24  # units of the view box
_EDGE = 60  # above and below the bars
_FOOT = 52  # of these below, for the scale and its name
_FAR = 1.6  # times the device's memory: where a bar that goes on further is cut
_PARTS = (
    "base",
    "trained",
    "gradients and optimizer",
    "activations",
    "working",
    "held by the allocator",
)


def memory_plot(plan: Plan) -> Drawing:
    """Return the memory of each method for a page; see `memory_figure`."""
    return memory_figure(plan).svg_drawing(has_wide=True)


def memory_figure(plan: Plan) -> Plot:
    """Return the memory of each method as a bar of parts against what the device leaves."""
    height = _EDGE + _ROW_HEIGHT * len(plan.rows)
    figure, (axis,) = new_figure(height)
    figure.subplots_adjust(left=0.33, right=0.96, top=0.97, bottom=_FOOT / height)
    usable = plan.question.device.usable_bytes / GIB
    largest = max(row.memory.total / GIB for row in plan.rows)
    end = min(max(largest, usable) * 1.05, max(usable, 1e-3) * _FAR)
    hover = Hover()
    for place, row in enumerate(plan.rows):
        _draw_bar(axis, place, row, hover)
    axis.axvline(usable, color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    axis.set_xlim(0, end)
    axis.set_ylim(len(plan.rows) - 0.4, -0.6)
    names = [row.recipe.name for row in plan.rows]
    axis.set_yticks(range(len(names)), names)
    for text in axis.get_yticklabels():
        text.set_fontsize(FONT_SIZE - 1)
    count_ticks(axis.xaxis, most=5)
    label_axes(axis, x="GiB")
    texts = "; ".join(hover.texts.values())
    return Plot(
        name="plan-memory",
        title="Memory at the peak",
        figure=figure,
        description=f"Memory of each method; the device leaves {usable:.1f} GiB: {texts}",
        note=f"Broken line: what {plan.question.device.title} leaves. Longer bars are cut off.",
        legend=tuple(Series(part, number) for number, part in enumerate(_PARTS)),
        hover=hover.texts,
    )


def _draw_bar(axis: Axes, place: int, row: MethodPlan, hover: Hover) -> None:
    begin = 0.0
    sizes = _parts(row.memory)
    text = ", ".join(f"{part} {gibibytes(size)}" for part, size in zip(_PARTS, sizes, strict=True))
    for number, (part, size) in enumerate(zip(_PARTS, sizes, strict=True)):
        colour = Series(part, number).colour
        (bar,) = axis.barh(place, size / GIB, left=begin, height=0.62, color=colour)
        hover.add(f"{row.recipe.name}, {gibibytes(row.memory.total)}: {text}", bar)
        begin += size / GIB


def _parts(memory: MemoryEstimate) -> tuple[int, ...]:
    grown = (memory.trained, memory.learning, memory.activations, memory.working, memory.held)
    return memory.base, *grown
