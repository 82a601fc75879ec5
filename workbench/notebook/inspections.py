"""What a run learned, opened from Python: one reading at a time, each beside chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.errors import ConfigError
from workbench.notebook.bases import OpenBase
from workbench.notebook.comparisons import experiment_of, terminal
from workbench.notebook.figures import Figure, frame_of, shown_html
from workbench.notebook.stored import Run
from workbench.notebook.tasks import OpenTask
from workbench.presentation.charts import chart_plot
from workbench.presentation.reading import Reading, Standing
from workbench.progress import Interrupted
from workbench.readings.catalog import make_reader, reader_class, readers_of
from workbench.readings.opening import opened
from workbench.runs.finding import DEFAULT_FOLDER
from workbench.watching import last_of

_MOST_ROWS = 24  # of a table in a notebook's cell; `tables` has all


@dataclass(frozen=True, eq=False)
class Inspection:
    """What one look found: verdict, figures beside chance, tables and charts.

    Attributes:
        reading: The whole of it as plain data.
    """

    reading: Reading

    @property
    def verdict(self) -> str:
        """What it comes to, in plain words; says so where it is no better than chance."""
        return self.reading.verdict

    @property
    def standings(self) -> Sequence[Standing]:
        """Figures among the same figures of controls; `words` says each in a sentence."""
        return self.reading.standings

    @property
    def data(self) -> Mapping[str, Any]:
        """Further figures for programs."""
        return self.reading.data

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return its tables by title."""
        return {table.title: frame_of(table) for table in self.reading.tables}

    def figures(self) -> list[Figure]:
        """Return its charts as figures."""
        name = self.reading.name
        return [
            Figure(chart_plot(chart, name=f"{name}-{number}"))
            for number, chart in enumerate(self.reading.charts)
        ]

    def __repr__(self) -> str:
        return f"{self.reading.title}: {self.verdict}"

    def _repr_html_(self) -> str:
        reading = self.reading
        shown = [
            table.model_copy(update={"rows": table.rows[:_MOST_ROWS]}) for table in reading.tables
        ]
        return shown_html(
            reading.title,
            lines=[self.verdict, *(one.words for one in self.standings), reading.setting],
            tables=shown,
            warnings=reading.notes,
        )


def read(
    base: OpenBase,
    learned: Run | str | Path,
    reading: str | None = None,
    *,
    against: Sequence[Run | str | Path] = (),
    task: OpenTask | None = None,
    num_items: int = 64,
    progress: bool = True,
    **options: object,
) -> Inspection:
    """Open what a run learned and return one reading of it, as `workbench inspect` makes it.

    Readings are kept and found again by every door.

    Args:
        base: From `open_base`; what was learned on other weights is refused.
        learned: A run of a soft prompt or a LoRA, its id, the folder of an adapter in PEFT's
            format, or "control:random" and "control:instruction".
        reading: Its name (see: workbench readings); the first of its kind unless given.
        against: Others to hold against it.
        task: Whose items and wording it is read with; the run's own unless given.
        num_items: Test items that prompts are scored on.
        progress: Show on stderr how far it is.
        **options: The reading's own, such as `k` of "nearest".

    Raises:
        ConfigError: unknown reading or option, one of another kind, or another base.
        StoreError: no such run, or it is not finished.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    names = [_name(one) for one in (learned, *against)]
    experiment, chosen, beside = opened(names[0], names[1:], DEFAULT_FOLDER)
    name = reading or readers_of(chosen.kind)[0]
    make_reader(name, options)  # what is wrong is said before anything is run
    if reader_class(name).kind != chosen.kind:
        possible = ", ".join(readers_of(chosen.kind))
        raise ConfigError(
            f"read: '{name}' reads {reader_class(name).kind}, and {chosen.kind} are given. "
            f"Possible here: {possible}."
        )
    if task is not None:
        experiment = experiment_of(base, task, where="read")
    inspector = base.inspector(num_items)
    subject = inspector.subject(experiment.model_copy(update=base.options), chosen, beside)
    folder = (chosen.run.folder.parent if chosen.run is not None else DEFAULT_FOLDER) / "readings"
    try:
        if not progress:
            return Inspection(inspector.read(subject, name, options, folder=folder))
        steps = inspector.stream(subject, name, options, folder=folder)
        return Inspection(last_of(terminal(), name, steps))
    except Interrupted as stop:
        raise KeyboardInterrupt(f"stopped ({stop}).") from None


def _name(learned: Run | str | Path) -> str:
    return str(learned.folder) if isinstance(learned, Run) else str(learned)
