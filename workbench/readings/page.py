"""Readings as one HTML page that opens offline."""

from collections.abc import Sequence

from workbench.presentation.charts import chart_plot
from workbench.presentation.display import one_line
from workbench.presentation.pages import render_page
from workbench.presentation.reading import Reading


def inspection_html(title: str, facts: Sequence[str], readings: Sequence[Reading]) -> str:
    """Return the page; everything that comes from data is escaped.

    Args:
        title: What was read.
        facts: Base, task and whatever else it stands beside.
        readings: What to show, in this order.
    """
    drawn = [
        (
            reading,
            [
                chart_plot(chart, name=f"{reading.name}-{number}").svg_drawing()
                for number, chart in enumerate(reading.charts)
            ],
        )
        for reading in readings
    ]
    content = {"title": one_line(title), "facts": list(map(one_line, facts)), "readings": drawn}
    return render_page("workbench.readings", "inspection_template.html.jinja", content)
