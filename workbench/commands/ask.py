"""`workbench ask`: all methods' answers to one text, streamed side by side."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from workbench.commands.shared import options
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.runs.experiment import Experiment
    from workbench.serving.asking import Column, LeftOut

_PANEL_WIDTH = 36
_BAR_WIDTH = 10


def ask(
    text: Annotated[str, typer.Argument(help="What to answer.")],
    text_b: Annotated[str | None, typer.Option(help="Second text, for tasks with two.")] = None,
    experiment: Annotated[
        Path | None, typer.Option(help="YAML file; else the one stored in --out.")
    ] = None,
    settings: options.Settings = None,
    methods: options.Methods = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="The most tokens of an answer.", min=1, max=4096)
    ] = 40,
    out: options.Out = None,
    task: options.Task = None,
    server: options.Server = None,
    visitor: options.Visitor = "",
) -> None:
    """Stream all methods' answers to one text side by side.

    Trained methods answer with the adapters that `evaluate` or `train` stored in --out.
    """
    texts = [text] if text_b is None else [text, text_b]
    if server is not None:
        from workbench.commands.shared.server import ask_there

        ask_there(
            server,
            texts,
            task=task or "support_intents",
            methods=methods,
            max_new_tokens=max_new_tokens,
            visitor=visitor,
        )
        return
    from workbench.commands.shared.setting import resolve_experiment, select_rows
    from workbench.runs.experiment import stored_experiment
    from workbench.runs.finding import DEFAULT_FOLDER

    folder = out or (DEFAULT_FOLDER / experiment.stem if experiment else _latest(DEFAULT_FOLDER))
    changed = settings or task is not None
    asked = stored_experiment(folder) if experiment is None and not changed else None
    asked = asked or resolve_experiment(experiment, settings, task=task)
    answer_here(select_rows(asked, methods), texts, folder, max_new_tokens=max_new_tokens)


def answer_here(
    experiment: "Experiment", texts: Sequence[str], folder: Path, *, max_new_tokens: int
) -> None:
    """Answer one text with every row of an experiment, on this machine.

    Raises:
        ConfigError: as many texts as the task has fields are needed, or no row can answer.
    """
    from workbench.models.base import GenerationOptions
    from workbench.runs.runner import requests_of
    from workbench.runs.session import open_session
    from workbench.runs.store import RunStore
    from workbench.serving.asking import answer, fit_way, fit_ways
    from workbench.serving.row_ways import ways_of_rows
    from workbench.tasks.base import Sample

    requests_of(experiment)  # the cheap checks come first
    console = Console()
    with console.status("loading base model …"):
        session = open_session(experiment)
    names = session.task.field_names
    if len(texts) != len(names):
        raise ConfigError(
            f"ask: task '{session.task.name}' needs {len(names)} texts ({', '.join(names)}), "
            f"{len(texts)} given. Use --text-b for the second."
        )
    sample = Sample("question", dict(zip(names, texts, strict=True)), target="")
    ways, missing = ways_of_rows(session, experiment, RunStore(folder))
    _print_missing(console, missing, folder)
    if not ways:
        raise ConfigError(
            "ask: no row can answer. Run workbench evaluate first, or name --methods."
        )
    fitted, left_out = fit_ways(
        session, ways, lambda way: fit_way(session, way, folder), sample, max_new_tokens
    )
    for way in left_out:
        text = f"{way.label}: left out: {way.reason}"
        console.print(text, style="yellow", highlight=False, markup=False)
    decoding = GenerationOptions(max_new_tokens=max_new_tokens)
    with Live(console=console, refresh_per_second=8) as live:
        for columns in answer(session, fitted, sample, decoding):
            live.update(Columns([_panel(column) for column in columns]))


def _print_missing(console: Console, missing: "Sequence[LeftOut]", folder: Path) -> None:
    """Print why rows have no run to answer with, and how those that were never trained get one."""
    for row in missing:
        text = f"{row.label}: left out: {row.reason}"
        if row.is_untrained:
            text += f" Train it with: workbench evaluate --out {folder}"
        console.print(text, style="yellow", highlight=False, markup=False)


def _panel(column: "Column") -> Panel:
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
    for caution in column.cautions:
        body.append(f"\ncaution: {caution}", style="yellow")
    answered = column.prediction.answer if column.prediction else None
    title = f"{column.label}: {answered}" if answered else column.label
    return Panel(body, title=Text(title), width=_PANEL_WIDTH)


def _latest(below: Path) -> Path:
    """Return the folder of the comparison made last."""
    found = []
    for path in below.glob("*/experiment.json"):
        with suppress(OSError):  # deleted meanwhile, or a link that leads nowhere
            found.append((path.stat().st_mtime, path.parent))
    return max(found)[1] if found else below / "default"
