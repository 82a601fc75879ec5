"""`workbench ask`: all methods' answers to one text, streamed side by side."""

from collections.abc import Sequence
from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from workbench.commands.setting import DEFAULT_FOLDER, resolve_experiment, select_rows
from workbench.errors import ConfigError
from workbench.fitting.base import needs_run
from workbench.methods.catalog import make_method
from workbench.models.base import GenerationOptions
from workbench.runs.execute import find_run
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.search import searches_of
from workbench.runs.session import Session, open_session
from workbench.runs.store import RunStore
from workbench.serving.asking import Column, Way, answer, fit_way
from workbench.tasks.base import Sample

_PANEL_WIDTH = 36
_BAR_WIDTH = 10


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
    ways = _ways(session, experiment, RunStore(folder), console)
    fitted = [(way.label, fit_way(session, way, folder)) for way in ways]
    options = GenerationOptions(max_new_tokens=max_new_tokens)
    with Live(console=console, refresh_per_second=8) as live:
        for columns in answer(session, fitted, sample, options):
            live.update(Columns([_panel(column) for column in columns]))


def _ways(session: Session, experiment: Experiment, store: RunStore, console: Console) -> list[Way]:
    """Return one way per row; a trained row without a finished run is left out and named."""
    ways, searches = [], searches_of(store.root)
    for row in experiment.methods:
        name, options = experiment.method_of(row)
        if row in searches and experiment.search_of(row) is not None:
            options |= searches[row].best.options
        method, seed = make_method(name, options), experiment.seeds_of(row)[0]
        run = find_run(session, store, method, seed)
        if run is not None or not needs_run(type(method)):
            ways.append(Way(row, name, options, seed, run))
        else:
            console.print(
                f"{row}: not trained yet in {store.root}, left out. Train it with: "
                f"workbench compare --out {store.root}",
                style="yellow",
                highlight=False,
            )
    if not ways:
        raise ConfigError("ask: no row can answer. Run workbench compare first, or name --methods.")
    return ways


def _panel(column: Column) -> Panel:
    """Return what is shown of a column now."""
    body = Text(column.text.strip() or "…")
    if column.prediction is not None and column.prediction.probabilities:
        body.append("\n\n")
        ranked = sorted(column.prediction.probabilities.items(), key=lambda item: -item[1])
        for label, probability in ranked[:6]:
            bar = "█" * round(_BAR_WIDTH * probability)
            body.append(f"{label:<13.13} {100 * probability:5.1f} % {bar}\n")
    if column.seconds is not None and column.first_token_seconds is not None:
        body.append(
            f"\n{column.conditioning.num_tokens} prompt tokens, first token "
            f"{1000 * column.first_token_seconds:.0f} ms, all {1000 * column.seconds:.0f} ms",
            style="dim",
        )
    answered = column.prediction.answer if column.prediction else None
    title = f"{column.label}: {answered}" if answered else column.label
    return Panel(body, title=Text(title), width=_PANEL_WIDTH)


def _latest() -> Path:
    """Return the folder of the comparison made last."""
    found = sorted(DEFAULT_FOLDER.glob("*/experiment.json"), key=lambda p: p.stat().st_mtime)
    return found[-1].parent if found else DEFAULT_FOLDER / "default"
