"""`workbench ask`: all methods' answers to one text, streamed side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from workbench.commands.setting import (
    DEFAULT_FOLDER,
    resolve_experiment,
    select_rows,
    stored_experiment,
)
from workbench.errors import ConfigError
from workbench.methods.base import FittedMethod, SupportsSave
from workbench.methods.catalog import make_method
from workbench.methods.prediction import Prediction, conclude, score_labels
from workbench.models.base import Conditioning, Generation, GenerationOptions
from workbench.models.engine import Engine
from workbench.runs.execute import find_run, restore
from workbench.runs.session import Session, open_session
from workbench.runs.spec import Experiment
from workbench.runs.store import RunStore
from workbench.tasks.base import Sample

_PANEL_WIDTH = 36
_BAR_WIDTH = 10


@dataclass
class Column:
    """One method's answer as it grows."""

    row: str
    fitted: FittedMethod
    text: str = ""
    first_token_seconds: float | None = None
    seconds: float | None = None
    generation: Generation | None = None
    prediction: Prediction | None = None
    conditioning: Conditioning = field(init=False)

    def panel(self) -> Panel:
        """Return what is shown of it now."""
        body = Text(self.text.strip() or "…")
        if self.prediction is not None and self.prediction.probabilities:
            body.append("\n\n")
            ranked = sorted(self.prediction.probabilities.items(), key=lambda item: -item[1])
            for label, probability in ranked[:6]:
                bar = "█" * round(_BAR_WIDTH * probability)
                body.append(f"{label:<13.13} {100 * probability:5.1f} % {bar}\n")
        if self.seconds is not None and self.first_token_seconds is not None:
            body.append(
                f"\n{self.conditioning.num_tokens} prompt tokens, first token "
                f"{1000 * self.first_token_seconds:.0f} ms, all {1000 * self.seconds:.0f} ms",
                style="dim",
            )
        answer = self.prediction.answer if self.prediction else None
        title = f"{self.row}: {answer}" if answer else self.row
        return Panel(body, title=Text(title), width=_PANEL_WIDTH)


def run(
    texts: Sequence[str],
    path: Path | None,
    settings: Sequence[str],
    *,
    rows: str | None,
    max_new_tokens: int,
    out: Path | None,
) -> None:
    """Answer one text with every row of an experiment."""
    console = Console()
    folder = out or (DEFAULT_FOLDER / path.stem if path else _latest())
    experiment = stored_experiment(folder) if path is None and not settings else None
    experiment = experiment or resolve_experiment(path, settings, {})
    experiment = select_rows(experiment, rows)
    with console.status("loading base model …"):
        session = open_session(experiment)
    names = session.task.field_names
    if len(texts) != len(names):
        raise ConfigError(
            f"ask: task '{session.task.name}' needs {len(names)} texts ({', '.join(names)}), "
            f"{len(texts)} given. Use --text-b for the second."
        )
    sample = Sample("question", dict(zip(names, texts, strict=True)), target="")
    columns = _columns(session, experiment, RunStore(folder), console)
    for column in columns:
        column.conditioning = column.fitted.condition(sample.fields)
    with Live(console=console, refresh_per_second=8) as live:
        _stream(session.engine, columns, max_new_tokens, live)
        for column in columns:
            column.prediction = _prediction(session.engine, column, sample)
        live.update(_grid(columns))


def _columns(
    session: Session, experiment: Experiment, store: RunStore, console: Console
) -> list[Column]:
    """Return one column per row; a trained row without a finished run is left out and named."""
    columns = []
    for row in experiment.methods:
        method_name, options = experiment.method_of(row)
        method = make_method(method_name, options)
        run = find_run(session, store, method_name, method, experiment.seeds[0])
        if run is not None:
            columns.append(Column(row, restore(session, run)))
        elif isinstance(method, SupportsSave):
            console.print(
                f"{row}: not trained yet in {store.root}, left out. Train it with: "
                f"workbench compare --out {store.root}",
                style="yellow",
                highlight=False,
            )
        else:
            columns.append(
                Column(row, method.fit(session.context(experiment.seeds[0], store.root)))
            )
    if not columns:
        raise ConfigError("ask: no row can answer. Run workbench compare first, or name --methods.")
    return columns


def _stream(engine: Engine, columns: list[Column], max_new_tokens: int, live: Live) -> None:
    """Decode all columns in one batch."""
    stop = (columns[0].fitted.encoder.template.separator,)
    options = GenerationOptions(max_new_tokens=max_new_tokens, stop=stop)
    began = perf_counter()
    for delta in engine.stream([column.conditioning for column in columns], options):
        column = columns[delta.row]
        column.text += delta.text
        if column.first_token_seconds is None:
            column.first_token_seconds = perf_counter() - began
        if delta.generation is not None:
            column.generation, column.seconds = delta.generation, perf_counter() - began
        live.update(_grid(columns))


def _prediction(engine: Engine, column: Column, sample: Sample) -> Prediction | None:
    fitted, rows = column.fitted, [column.conditioning]
    if fitted.reasoning is not None and column.generation is not None:
        return conclude(engine, fitted, [sample], rows=rows, generations=[column.generation])[0]
    if fitted.encoder.task.labels:
        return score_labels(engine, fitted, [sample], rows)[0]
    return None


def _grid(columns: Sequence[Column]) -> Columns:
    return Columns([column.panel() for column in columns])


def _latest() -> Path:
    """Return the folder of the comparison made last."""
    found = sorted(DEFAULT_FOLDER.glob("*/experiment.json"), key=lambda p: p.stat().st_mtime)
    return found[-1].parent if found else DEFAULT_FOLDER / "default"
