"""`workbench inspect`: open what a run learned, each reading beside what chance would show."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from workbench.commands.shared import options

if TYPE_CHECKING:
    from workbench.presentation.blocks import Table
    from workbench.presentation.reading import Reading
    from workbench.readings.base import Subject
    from workbench.readings.inspector import Learned

_SHOWN_ROWS = 24  # of a table in the terminal; the page has all
_SHOWN_COLUMNS = 6

_On = Annotated[
    list[str] | None,
    typer.Option(help="Base, data or wording where no run says: --on task.name=sst2. Repeatable."),
]


def inspect(
    run: Annotated[
        str,
        typer.Argument(
            help="Id or folder of a run, folder of an adapter, control:random, control:instruction."
        ),
    ],
    against: Annotated[
        list[str] | None, typer.Option(help="Another one to hold against it. Repeatable.")
    ] = None,
    readings: Annotated[
        str | None,
        typer.Option(help="Comma-separated (see: workbench readings) or all; else the quick ones."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="reading.option=value: --set nearest.k=10. Repeatable."),
    ] = None,
    on: _On = None,
    items: Annotated[int, typer.Option(help="Test items prompts are scored on.", min=2)] = 64,
    html: Annotated[Path | None, typer.Option(help="Write everything as one page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything as data.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for charts (PNG, SVG, PDF), tables (CSV, LaTeX).")
    ] = None,
    runs: options.Runs = Path("runs"),
) -> None:
    """Open what a run learned: its vectors or weights, each reading beside chance.

    Readings are kept and found again.
    """
    from transformers.utils.logging import disable_progress_bar

    from workbench.commands.shared.opening import chosen_readings, reading_options
    from workbench.readings.inspector import Inspector
    from workbench.readings.opening import opened
    from workbench.serving.desk import ModelDesk
    from workbench.watching import last_of

    console = Console()
    disable_progress_bar()  # ours says what is being loaded
    experiment, chosen, beside = opened(run, against or [], runs, on or [])
    given = reading_options(settings or [], chosen_readings(readings, chosen.kind))
    with closing(ModelDesk()) as desk:
        inspector = Inspector(desk, items)
        with console.status("loading base model and task …"):
            subject = inspector.subject(experiment, chosen, beside)
        _print_subject(console, subject, chosen)
        folder = (chosen.run.folder.parent if chosen.run is not None else runs) / "readings"
        found = []
        for name, own in given.items():
            steps = inspector.stream(subject, name, own, folder=folder)
            found.append(last_of(console, name, steps))
            _print_reading(console, found[-1])
    if html is not None:
        facts = [f"read on {subject.setting_text}", *(f"against {one.title}" for one in beside)]
        _write_page(console, html, chosen.title, facts, found)
    _write_files(console, json, figures, found)


def _write_page(
    console: Console, path: Path, title: str, facts: list[str], found: "list[Reading]"
) -> None:
    from workbench.atomic import write_text
    from workbench.readings.page import inspection_html

    write_text(path, inspection_html(title, facts, found))
    console.print(f"page: {path}", highlight=False, markup=False)


def _write_files(
    console: Console, data: Path | None, folder: Path | None, found: "list[Reading]"
) -> None:
    """Write readings as data, and as figures and tables, where files are asked for."""
    from workbench.atomic import write_json
    from workbench.commands.shared.typed import typed_command
    from workbench.presentation.caption import Caption
    from workbench.presentation.reading_files import write_reading

    if data is not None:
        write_json(data, {"readings": [reading.model_dump(mode="json") for reading in found]})
        console.print(f"data: {data}", highlight=False, markup=False)
    if folder is not None:
        caption = Caption(command=typed_command())
        paths = [path for reading in found for path in write_reading(reading, folder, caption)]
        text = f"figures and tables: {len(paths)} files in {folder}"
        console.print(text, highlight=False, markup=False)


def _print_subject(console: Console, subject: "Subject", chosen: "Learned") -> None:
    """Print what is read on what, and a caution if its file names another base."""
    from workbench.models.adapters.named_base import caution_of_base
    from workbench.models.adapters.reading import read_adapter

    line = f"{chosen.title} · read on {subject.setting_text}"
    console.print(line, highlight=False, style="bold", markup=False)
    if chosen.folder is not None:
        named = read_adapter(chosen.folder).summary.base_name
        for caution in caution_of_base(named, subject.session.engine.info.name):
            console.print(f"caution: {caution}", highlight=False, style="yellow", markup=False)


def _print_reading(console: Console, reading: "Reading") -> None:
    console.print()
    console.print(Text(reading.title, style="bold underline"))
    console.print(Text(reading.verdict))
    for place in reading.standings:
        console.print(Text(f"  {place.words}", style="dim"))
    for table in reading.tables:
        console.print(_rich_table(table))


def _rich_table(table: "Table") -> RichTable:
    shown = RichTable(title=Text(table.title), box=None, pad_edge=False, title_justify="left")
    for column in table.columns[:_SHOWN_COLUMNS]:
        shown.add_column(Text(column), overflow="fold")
    for row in table.rows[:_SHOWN_ROWS]:
        shown.add_row(*(Text("–" if c is None else str(c)) for c in row[:_SHOWN_COLUMNS]))
    if len(table.rows) > _SHOWN_ROWS:
        shown.caption = f"{len(table.rows) - _SHOWN_ROWS} more in the page (--html)"
    return shown
