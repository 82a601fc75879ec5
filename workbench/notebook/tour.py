"""The tour that comes along, in Python: the same words, figures and tables as in the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from workbench.analysis.training_figure import training_history
from workbench.notebook.figures import Figure, frame_of, shown_html
from workbench.presentation.charts import chart_plot
from workbench.presentation.reading import Reading
from workbench.tour import story


@dataclass(frozen=True, eq=False)
class TourStop:
    """One step of the tour; a notebook shows its words.

    Attributes:
        stop: Its title and texts.
        tour: What was computed beforehand.
    """

    stop: story.Stop
    tour: story.Tour

    @property
    def title(self) -> str:
        """What it is about."""
        return self.stop.title

    @property
    def readings(self) -> list[Reading]:
        """What was read of the prompts, as plain data."""
        return [self.tour.readings[name] for name in self.stop.readings]

    def figures(self) -> list[Figure]:
        """Return its pictures."""
        if self.stop.shows_training:
            plot = training_history([("soft prompt", self.tour.history)], name="training")
            return [] if plot is None else [Figure(plot)]
        return [
            Figure(chart_plot(chart, name=f"tour-{reading.name}-{number}"))
            for reading in self.readings
            for number, chart in enumerate(reading.charts)
        ]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return its tables by title."""
        return {
            table.title: frame_of(table) for reading in self.readings for table in reading.tables
        }

    def __repr__(self) -> str:
        return f"{self.title}: {' '.join(self.stop.text)}"

    def _repr_html_(self) -> str:
        stop, lines = self.stop, list(self.stop.text)
        lines += [f"Look at: {stop.look}"] if stop.look else []
        lines += [
            f"{story.CONTROL_TITLES[name]}: {self.tour.readings[name].verdict}"
            for name in stop.verdicts
        ]
        lines += [f"{reading.title}: {reading.verdict}" for reading in self.readings]
        return shown_html(self.title, lines=lines)


@dataclass(frozen=True, eq=False)
class OpenTour:
    """The tour over a soft prompt that comes along.

    Attributes:
        tour: What was computed beforehand: facts, history and readings as plain data.
        stops: Its steps in order.
    """

    tour: story.Tour
    stops: Sequence[TourStop]

    def __repr__(self) -> str:
        facts = self.tour.facts
        return f"Tour in {len(self.stops)} stops, {facts.base} {facts.precision}, {facts.task}"

    def _repr_html_(self) -> str:
        lines = [f"{number}. {stop.title}" for number, stop in enumerate(self.stops, start=1)]
        return shown_html(repr(self), lines=lines)


def open_tour() -> OpenTour:
    """Return the tour over a soft prompt that comes along: read from a file, nothing is computed.

    Raises:
        ValueError: the file of the installed package was changed.
    """
    tour = story.open_tour()
    return OpenTour(tour, tuple(TourStop(stop, tour) for stop in story.stops_of(tour.facts)))
