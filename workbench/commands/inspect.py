"""`workbench inspect`: open what a run learned, each reading beside what chance would show."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text
from transformers.utils import logging as transformers_logging

from workbench.atomic import write_json, write_text
from workbench.commands.stored_runs import experiment_of, find_stored_run
from workbench.errors import ConfigError, StoreError
from workbench.methods.catalog import METHODS, method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.presentation.blocks import Table
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.readings.base import Kind, Subject
from workbench.readings.catalog import make_reader, reader_class, readers_of
from workbench.readings.inspector import (
    Inspector,
    Learned,
    controls,
    learned_adapters,
    learned_runs,
)
from workbench.readings.page import inspection_html
from workbench.runs.experiment import Experiment
from workbench.runs.store import StoredRun
from workbench.serving.desk import ModelDesk

_CHOOSE = "Choose a run of a soft prompt or of a weight adapter."
_SHOWN_ROWS = 24  # of a table in the terminal; the page has all
_SHOWN_COLUMNS = 6


def run(
    target: str,
    *,
    against: Sequence[str],
    readings: str | None,
    settings: Sequence[str],
    items: int,
    html: Path | None,
    json_file: Path | None,
    runs: Path,
) -> None:
    """Read what a run learned, print it, and write the page if asked for."""
    console = Console()
    transformers_logging.disable_progress_bar()  # ours says what is being loaded
    experiment, chosen, beside = _opened(target, against, runs)
    names = _names(readings, chosen.kind)
    options = _options(settings, names)
    desk = ModelDesk()
    try:
        inspector = Inspector(desk, items)
        with console.status("loading base model and task …"):
            subject = inspector.subject(experiment, chosen, beside)
        console.print(_subject_line(subject, chosen), highlight=False, style="bold", markup=False)
        folder = (chosen.run.folder.parent if chosen.run is not None else runs) / "readings"
        found = []
        for name in names:
            steps = inspector.stream(subject, name, options[name], folder=folder)
            found.append(_last(console, name, steps))
            _print_reading(console, found[-1])
    finally:
        desk.close()
    if html is not None:
        facts = [subject.session.engine.info.name, f"read on {subject.session.task.name}"]
        facts += [f"beside {one.title}" for one in beside]
        write_text(html, inspection_html(chosen.title, facts, found))
        console.print(f"page: {html}", highlight=False, markup=False)
    if json_file is not None:
        write_json(json_file, {"readings": [reading.model_dump(mode="json") for reading in found]})
        console.print(f"data: {json_file}", highlight=False, markup=False)


def _opened(
    target: str, against: Sequence[str], runs: Path
) -> tuple[Experiment, Learned, list[Learned]]:
    """Return the experiment to open, what is read, and what is held against it."""
    found = {name: _find(name, runs) for name in dict.fromkeys((target, *against))}
    made = [run for run in found.values() if isinstance(run, StoredRun)]
    experiment = experiment_of(made[0]) if made else Experiment()
    chosen = [_learned(name, one) for name, one in found.items()]
    if not chosen[0].kind or (chosen[0].key.startswith("control:") and not made):
        raise ConfigError(
            f"inspect {target}: a control is read beside a run that says base and task. "
            "Add --against RUN."
        )
    return experiment, chosen[0], chosen[1:]


def _find(name: str, runs: Path) -> StoredRun | Path | str:
    """Return a run, an adapter folder, or the key of a control.

    Raises:
        StoreError: nothing of that name.
    """
    if name in {one.key for one in controls()}:
        return name
    path = Path(name)
    is_adapter = (path / CONFIG_NAME).is_file() and not (path / "record.json").is_file()
    if is_adapter:
        return path
    run = find_stored_run(name, runs)
    if run is not None:
        return run
    raise StoreError(
        f"inspect: no run or adapter '{name}' (looked below {runs}). Give the id of a run (see: "
        "workbench runs), its folder, the folder of an adapter in PEFT's format, or "
        "control:random or control:instruction."
    )


def _learned(name: str, found: StoredRun | Path | str) -> Learned:
    if isinstance(found, StoredRun):
        if found.record.status != "finished":
            raise StoreError(f"run {found.record.run_id}: is {found.record.status}; finish it.")
        learned = learned_runs([found], found.spec.base)
        if not learned:
            raise ConfigError(
                f"run {found.record.run_id}: '{found.spec.method}' learns nothing that could be "
                f"opened. {_instead_of(found.spec.method)}"
            )
        return learned[0]
    if isinstance(found, Path):
        adapters = learned_adapters({name: (f"adapter {found.name}", found)})
        if not adapters:
            raise ConfigError(
                f"inspect {name}: an adapter that cannot be opened. Soft prompts (PROMPT_TUNING) "
                "and LoRA in PEFT's format can."
            )
        return adapters[0]
    return next(one for one in controls() if one.key == found)


def _instead_of(method: str) -> str:
    """Return what to open where a method's result cannot be."""
    own = getattr(method_class(method), "instead_of_reading", "") if method in METHODS else ""
    return own or _CHOOSE


def _names(readings: str | None, kind: Kind) -> list[str]:
    """Return the readings asked for; without a word, those that take seconds at most."""
    possible = readers_of(kind)
    if readings == "all":
        return possible
    if readings is None:
        return [name for name in possible if reader_class(name).cost != "minutes"]
    names = [name.strip() for name in readings.split(",") if name.strip()]
    for name in names:
        if reader_class(name).kind != kind:
            raise ConfigError(
                f"--readings {name}: reads {reader_class(name).kind}, and {kind} are given. "
                f"Possible here: {', '.join(possible)}."
            )
    if not names:
        raise ConfigError(f"--readings: none named. Possible here: {', '.join(possible)}, or all.")
    return names


def _options(settings: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `--set reading.option=value` by reading, checked before anything is loaded."""
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for setting in settings:
        key, sign, text = setting.partition("=")
        name, dot, option = key.strip().partition(".")
        if not (sign and dot and option) or name not in options:
            raise ConfigError(
                f"--set {setting}: not of the form reading.option=value for a reading that is "
                f"made ({', '.join(names)}). Example: --set nearest.k=10"
            )
        options[name][option] = yaml.safe_load(text)
    for name in names:
        make_reader(name, options[name])
    return options


def _last(console: Console, name: str, steps: Iterator[ProgressEvent | Reading]) -> Reading:
    """Return the reading that steps end in, showing how far it is."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        line = bar.add_task(name, total=None)
        for step in steps:
            if isinstance(step, Reading):
                return step
            stage = f"{name} · {step.stage}"
            bar.update(line, description=stage, completed=step.done, total=step.total or None)
    raise AssertionError(f"reading '{name}' ended without a result")


def _subject_line(subject: Subject, chosen: Learned) -> str:
    info = subject.session.engine.info
    return f"{info.name} · {info.precision} · read on {subject.session.task.name} · {chosen.title}"


def _print_reading(console: Console, reading: Reading) -> None:
    console.print()
    console.print(Text(reading.title, style="bold underline"))
    console.print(Text(reading.verdict))
    for place in reading.standings:
        console.print(Text(f"  {place.words}", style="dim"))
    for table in reading.tables:
        console.print(_rich_table(table))


def _rich_table(table: Table) -> RichTable:
    shown = RichTable(title=Text(table.title), box=None, pad_edge=False, title_justify="left")
    for column in table.columns[:_SHOWN_COLUMNS]:
        shown.add_column(Text(column), overflow="fold")
    for row in table.rows[:_SHOWN_ROWS]:
        shown.add_row(*(Text("–" if c is None else str(c)) for c in row[:_SHOWN_COLUMNS]))
    if len(table.rows) > _SHOWN_ROWS:
        shown.caption = f"{len(table.rows) - _SHOWN_ROWS} more in the page (--html)"
    return shown
