"""The tab for those who begin: a tour over a soft prompt that comes along, without any waiting."""

from functools import cache, partial

import gradio as gr

from workbench.analysis.training_figure import history_plot
from workbench.errors import ConfigError
from workbench.presentation.charts import chart_plot
from workbench.tour.story import CONTROL_TITLES, Stop, open_tour, stops_of
from workbench.ui.context import AppContext, shows_problem
from workbench.ui.page_address import one_of
from workbench.ui.reading_view import plain_tables
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE

_COMMAND = "make tour"


@shows_problem
def on_stop(number: object) -> str:
    """Return a stop of the tour as HTML."""
    found = tour_stops()
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(found):
        raise ConfigError(
            f"tour: {str(number)[:40]!r} is no stop of it. Choose one of the {len(found)} above."
        )
    return stop_html(number)


@cache
def tour_stops() -> list[Stop]:
    """Return the stops, with the figures that come along."""
    return stops_of(open_tour().facts)


@cache
def stop_html(number: int) -> str:
    """Return a stop as HTML; it is the same for everybody and drawn once."""
    tour, stop = open_tour(), tour_stops()[number]
    shown = [tour.readings[name] for name in stop.readings]
    drawings = [
        chart_plot(chart, name=f"tour-{number}-{place}-{chart_number}").svg_drawing(has_wide=True)
        for place, reading in enumerate(shown)
        for chart_number, chart in enumerate(reading.charts)
    ]
    if stop.shows_training:
        curves = history_plot([("soft prompt", tour.history)], name=f"tour-{number}-training")
        drawings = [curves] if curves is not None else []
    return render(
        "tour_stop",
        stop=stop,
        number=number + 1,
        num_stops=len(tour_stops()),
        verdicts=[(CONTROL_TITLES[name], tour.readings[name].verdict) for name in stop.verdicts],
        readings=shown,
        drawings=drawings,
        tables=[table for reading in shown for table in plain_tables(reading)],
        facts=tour.facts,
        command=_COMMAND,
    )


def build(_context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    stops = tour_stops()
    choices = [(f"{number}. {stop.title}", number - 1) for number, stop in enumerate(stops, 1)]
    chosen = gr.Radio(choices, value=0, label="Stops of the tour", elem_id="wb-tour-stops")
    shown = one_of(chosen, 0, "stop")
    setup.address.keep("stop", chosen, tab="tour", usual="0", show=shown)
    view = gr.HTML(elem_id="wb-tour")
    with gr.Row():
        back = gr.Button("Back", elem_id="wb-tour-back", min_width=90)
        onward = gr.Button("Next", variant="primary", elem_id="wb-tour-next", min_width=90)
    gr.on([chosen.change, tab.select], on_stop, chosen, view, **AT_ONCE)
    back.click(partial(_moved, -1), chosen, chosen, **AT_ONCE)
    onward.click(partial(_moved, 1), chosen, chosen, **AT_ONCE)


def _moved(by: int, number: object) -> int:
    """Return the stop before or after one."""
    last = len(tour_stops()) - 1
    at = number if isinstance(number, int) and not isinstance(number, bool) else 0
    return min(max(at + by, 0), last)
