"""The options that several commands take: each is written here once."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.options import whole_number


def _count(text: str | int) -> int:
    """Return a number from 1 up, in whatever spelling a setting may have."""
    number = whole_number(text)
    if not isinstance(number, int) or number < 1:
        raise typer.BadParameter(f"{text!r}: a whole number from 1 up is needed.")
    return number


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
Separator = Annotated[
    str | None,
    typer.Option(help="Between the cells of a CSV: ',', ';', '|', tab. Found out unless given."),
]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids, if any.")]
Limit = Annotated[
    int | None,  # typer reads no bound beside a parser; the reference of the commands does
    typer.Option(help="The most rows to use of that split.", min=1, parser=_count, metavar="INT"),
]
LimitTrain = Annotated[
    int | None,
    typer.Option(
        help="The most labelled rows to use, for dev as well where it is cut off them.",
        min=1,
        parser=_count,
        metavar="INT",
    ),
]
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
Processes = Annotated[
    int | None,
    typer.Option(
        help="Processes that share each training; torchrun may start them too.",
        min=1,
        parser=_count,
        metavar="INT",
    ),
]
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
Workers = Annotated[
    int | None, typer.Option(help="Make runs side by side, in so many processes of this machine.")
]
Cluster = Annotated[
    str | None, typer.Option(help="Make runs on a Ray cluster: host:port of its head, or auto.")
]
Store = Annotated[
    str | None,
    typer.Option(help="Where runs go that others share: a folder, s3://…; else --out."),
]
Name = Annotated[
    str,
    typer.Option(
        help="What to call the comparison, in its report and in lists. A run is named by: "
        "workbench name"
    ),
]
RunName = Annotated[
    str,
    typer.Option(
        help="What to call the run, usable in place of its id, and its report. With several "
        "seeds each run is 'NAME (seed N)'."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder of runs and report.")]
Runs = Annotated[Path, typer.Option(help="Folder to look for runs below.")]
