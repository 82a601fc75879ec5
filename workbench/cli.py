"""The batch door: `workbench …`. It parses, calls one function and exits with an honest code.

Exit codes: 0 done, 1 our bug (traceback kept), 2 the user's to fix (one message), 130 stopped by
Ctrl-C (finished work is kept).
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workbench.commands.planning import plan
from workbench.errors import WorkbenchError
from workbench.progress import Interrupted
from workbench.startup import import_quickly

app = typer.Typer(
    name="workbench",
    help="Words, soft prompts and weight adapters compared on one frozen 4-bit base model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ExperimentFile = Annotated[
    Path | None, typer.Argument(help="YAML file; without it the defaults are used.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value, dotted: --set methods.lora.rank=16. Repeatable."),
]
Task = Annotated[str | None, typer.Option(help="Task of the catalog (see: workbench tasks).")]
Train = Annotated[
    Path | None, typer.Option(help="Your labelled rows: CSV, TSV, JSONL, JSON or Parquet.")
]
Dev = Annotated[Path | None, typer.Option(help="Rows for choices; cut off --train if absent.")]
Test = Annotated[Path | None, typer.Option(help="Rows to report on; cut off --train if absent.")]
TextColumn = Annotated[str | None, typer.Option(help="Column of the text.")]
TextBColumn = Annotated[str | None, typer.Option(help="Column of a second text, if any.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the label or answer.")]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids, if any.")]
Limit = Annotated[int | None, typer.Option(help="The most rows to use of that split.", min=1)]
Methods = Annotated[str | None, typer.Option(help="Rows to run, comma-separated: zero_shot,lora.")]
Model = Annotated[str | None, typer.Option(help="Short name, Hub id, or local folder.")]
Precision = Annotated[
    str | None, typer.Option(help="nf4, fp4, nf4-single, fp4-single, int8, bf16, fp32.")
]
Template = Annotated[str | None, typer.Option(help="Wording: a name, or a YAML file.")]
Chat = Annotated[
    bool | None, typer.Option("--chat/--no-chat", help="Use the model's chat template.")
]
Seeds = Annotated[str | None, typer.Option(help="Comma-separated: 0,1,2.")]
Server = Annotated[
    str | None, typer.Option(help="Address of a running app (workbench app) that does the work.")
]
Visitor = Annotated[
    str,
    typer.Option(
        help="Your secret for a public app: 16 to 64 letters, digits, _ and -.",
        envvar="WORKBENCH_VISITOR",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder of runs and report.")]


@app.command()
def compare(
    experiment: ExperimentFile = None,
    settings: Settings = None,
    task: Task = None,
    train: Train = None,
    dev: Dev = None,
    test: Test = None,
    text_column: TextColumn = None,
    text_b_column: TextBColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    limit_train: Limit = None,
    limit_dev: Limit = None,
    limit_test: Limit = None,
    methods: Methods = None,
    model: Model = None,
    precision: Precision = None,
    template: Template = None,
    chat: Chat = None,
    seeds: Seeds = None,
    out: Out = None,
    server: Server = None,
    visitor: Visitor = "",
) -> None:
    """Run every method on one base and one task, and write the report.

    Finished runs are found again; an interrupted comparison goes on where it stopped.
    """
    changes = {
        "task.name": task,
        "task.train": train,
        "task.dev": dev,
        "task.test": test,
        "task.text_column": text_column,
        "task.text_b_column": text_b_column,
        "task.label_column": label_column,
        "task.id_column": id_column,
        "task.limit_train": limit_train,
        "task.limit_dev": limit_dev,
        "task.limit_test": limit_test,
        "model": model,
        "precision": precision,
        "template": template,
        "chat": chat,
        "seeds": seeds,
        "rows": methods,
    }
    if server is not None:
        folder = out or Path("runs") / (experiment.stem if experiment else "default")
        _remote().compare(server, experiment, settings or [], changes, out=folder, visitor=visitor)
        return
    _call("compare", experiment, settings or [], changes, out)


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="A trained method: prompt_tuning, lora, …")],
    experiment: Annotated[
        Path | None, typer.Option(help="YAML file with base, task and options.")
    ] = None,
    settings: Settings = None,
    task: Task = None,
    model: Model = None,
    seeds: Seeds = None,
    out: Out = None,
) -> None:
    """Train one method, evaluate it, and store its adapter in PEFT's format."""
    changes = {
        "task.name": task,
        "model": model,
        "seeds": seeds,
        "rows": method,
        "reference": method,
    }
    _call("compare", experiment, settings or [], changes, out)


@app.command()
def curve(
    experiment: ExperimentFile = None,
    sizes: Annotated[
        str, typer.Option(help="Numbers of labelled examples, comma-separated; 0 is allowed.")
    ] = "0,8,32,128",
    settings: Settings = None,
    task: Task = None,
    train: Train = None,
    test: Test = None,
    methods: Methods = None,
    model: Model = None,
    seeds: Seeds = None,
    out: Out = None,
) -> None:
    """Run every row with growing training sets, and draw accuracy over their size.

    When does training overtake demonstrations? Finished runs are found again.
    """
    changes = {
        "task.name": task,
        "task.train": train,
        "task.test": test,
        "model": model,
        "seeds": seeds,
        "rows": methods,
    }
    _call("curve", experiment, settings or [], changes, out, sizes=sizes)


@app.command()
def wordings(
    experiment: ExperimentFile = None,
    names: Annotated[
        str, typer.Option("--wordings", help="Two or more, comma-separated: names or YAML files.")
    ] = "plain,brief",
    settings: Settings = None,
    task: Task = None,
    train: Train = None,
    test: Test = None,
    methods: Methods = None,
    out: Out = None,
) -> None:
    """Run every row with several wordings of the task, and show how far they lie apart."""
    changes = {"task.name": task, "task.train": train, "task.test": test, "rows": methods}
    _call("wordings", experiment, settings or [], changes, out, names=names)


@app.command()
def sweep(
    experiment: ExperimentFile = None,
    row: Annotated[str, typer.Option(help="Row of the experiment: lora.")] = "lora",
    option: Annotated[
        list[str] | None, typer.Option(help="Option of the row to vary. Repeatable: a grid.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(help="Its values, comma-separated; one list per option.")
    ] = None,
    settings: Settings = None,
    task: Task = None,
    train: Train = None,
    test: Test = None,
    model: Model = None,
    seeds: Seeds = None,
    out: Out = None,
) -> None:
    """Run one row with several values of an option, and draw dev and test accuracy over it.

    The first option is the axis, each combination of the others a line. Finished runs are found.
    """
    changes = {
        "task.name": task,
        "task.train": train,
        "task.test": test,
        "model": model,
        "seeds": seeds,
    }
    given = {"row": row, "options": option or [], "values": values or []}
    _call("sweep", experiment, settings or [], changes, out, **given)


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help="What to answer.")],
    text_b: Annotated[str | None, typer.Option(help="Second text, for tasks with two.")] = None,
    experiment: Annotated[
        Path | None, typer.Option(help="YAML file; else the one stored in --out.")
    ] = None,
    settings: Settings = None,
    methods: Methods = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096)] = 40,
    out: Out = None,
    task: Task = None,
    server: Server = None,
    visitor: Visitor = "",
) -> None:
    """Stream all methods' answers to one text side by side.

    Trained methods answer with the adapters that `compare` or `train` stored in --out.
    """
    fields = [text] if text_b is None else [text, text_b]
    if server is not None:
        _remote().ask(
            server,
            fields,
            task=task or "support_intents",
            methods=methods,
            max_new_tokens=max_new_tokens,
            visitor=visitor,
        )
        return
    if task is not None:
        settings = [*(settings or []), f"task.name={task}"]
    _call(
        "ask",
        fields,
        experiment,
        settings or [],
        rows=methods,
        max_new_tokens=max_new_tokens,
        out=out,
    )


@app.command()
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
    items: Annotated[int, typer.Option(help="Test items prompts are scored on.", min=2)] = 64,
    html: Annotated[Path | None, typer.Option(help="Write everything as one page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything as data.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder to look for runs below.")] = Path("runs"),
) -> None:
    """Open what a run learned: its vectors or weights, each reading beside chance.

    Readings are kept and found again.
    """
    _call(
        "inspect",
        run,
        against=against or [],
        readings=readings,
        settings=settings or [],
        items=items,
        html=html,
        json_file=json,
        runs=runs,
    )


@app.command()
def precisions(
    experiment: ExperimentFile = None,
    settings: Settings = None,
    task: Task = None,
    train: Train = None,
    test: Test = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    limit_test: Limit = None,
    model: Model = None,
    template: Template = None,
    chat: Chat = None,
    names: Annotated[
        str | None,
        typer.Option("--precisions", help="Comma-separated: nf4,nf4-single,bf16; else all."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="Take perplexity of this file, or of 'general', the text that comes along; else "
            "of the task's texts."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Measure one base in several precisions: memory, perplexity, accuracy, speed, error.

    One precision is in memory at a time; finished ones are found again.
    """
    changes = {
        "task.name": task,
        "task.train": train,
        "task.test": test,
        "task.text_column": text_column,
        "task.label_column": label_column,
        "task.limit_test": limit_test,
        "model": model,
        "template": template,
        "chat": chat,
    }
    asked = settings or []
    _call("precisions", experiment, asked, changes, precisions=names, text=text, out=out)


@app.command()
def forgetting(
    run: Annotated[list[str], typer.Argument(help="Ids or folders of trained runs on one base.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Another task: of the catalog, a file of rows (columns text and label), or a YAML "
            "file with task and template. Repeatable."
        ),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="File of plain text; the one that comes along if absent. Repeatable."),
    ] = None,
    limit_test: Limit = None,
    runs: Annotated[Path, typer.Option(help="Folder to look for runs below.")] = Path("runs"),
    out: Out = None,
) -> None:
    """Measure what trained runs make the base lose on other texts and tasks.

    Finished parts are found again.
    """
    where = {"tasks": task or [], "texts": text or [], "limit_test": limit_test}
    _call("forgetting", run, **where, runs=runs, out=out)


@app.command()
def merge(
    run: Annotated[str, typer.Argument(help="Id or folder of a finished run of LoRA and its kin.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged model.")],
    dtype: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
    runs: Annotated[Path, typer.Option(help="Folder to look for runs below.")] = Path("runs"),
) -> None:
    """Merge a run's change of weights into a plain copy of the base, restored from 4 bits."""
    _call("merge", run, out, dtype=dtype, runs=runs)


@app.command()
def readings(
    name: Annotated[str | None, typer.Argument(help="Show the options of one reading.")] = None,
) -> None:
    """List the readings of `inspect`, or the options of one."""
    _call("listings", "readings", name)


@app.command()
def models() -> None:
    """List the base models known by a short name."""
    _call("listings", "models")


@app.command()
def tasks() -> None:
    """List the tasks of the catalog."""
    _call("listings", "tasks")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show the options of one method.")] = None,
) -> None:
    """List the methods, or the options of one."""
    _call("listings", "methods", name)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to look below.")] = Path("runs"),
    delete: Annotated[str | None, typer.Option(help="Delete the run with this id.")] = None,
) -> None:
    """List stored runs, or delete one."""
    _call("listings", "runs", folder, delete)


app.command()(plan)


@app.command()
def doctor(
    model: Annotated[str, typer.Option(help="Base model to look for.")] = "smollm2-135m-instruct",
) -> None:
    """Say what this machine can do, and what is missing."""
    _call("doctor", model)


@app.command(name="app")
def serve(
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; this machine alone if absent.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860.")] = None,
) -> None:
    """Open the workbench in the browser."""
    _prepare()
    import_quickly("workbench.ui.app").launch(runs, host=host, port=port)


def main() -> None:
    """Run the command line; the only place where errors become messages and exit codes."""
    try:
        app()
    except WorkbenchError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, style="red")
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as error:
        reason = f" ({error})" if str(error) else ""
        message = f"stopped{reason}. Finished work is kept; the same command goes on from there."
        Console(stderr=True, soft_wrap=True).print(message, markup=False, style="yellow")
        sys.exit(130)


def _remote() -> Any:
    """Import what talks to a server only when it is asked for."""
    _prepare()
    return import_quickly("workbench.commands.remote")


def _call(command: str, *arguments: object, **options: object) -> None:
    """Import a command's module only now, so that --help needs no deep-learning stack."""
    _prepare()
    import_quickly(f"workbench.commands.{command}").run(*arguments, **options)


def _prepare() -> None:
    """Keep libraries from saying what is no concern of the user."""
    # It reports at import that an optional package is absent, which must not be installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our message names the hub
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries about their own future
