"""The batch commands driving a running app (`--server URL`): the work is done there."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradio_client import Client
from gradio_client.exceptions import AppError
from httpx import HTTPError
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from workbench.atomic import write_text
from workbench.commands.shared.sheets import print_report_place
from workbench.errors import ConfigError, StoreError
from workbench.presentation.quantities import metric_of
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.failures import FailedRun, raise_if_failed
from workbench.runs.run_files import REPORT_FORMS
from workbench.runs.runner import requests_of
from workbench.sealed import write_sealed
from workbench.tasks.delimited import SEPARATORS

_POLL_SECONDS = 1.5
_DELIMITED = (".csv", ".tsv")
_TEXT_FILES = (*_DELIMITED, ".jsonl", ".json")
_WORDS = "words:"
_PANEL_WIDTH = 36


def evaluate_there(
    server: str, experiment: Experiment, *, out: Path, visitor: str, name: str = ""
) -> None:
    """Run an experiment on a server, follow it, and write its report here.

    Raises:
        ConfigError: the server cannot be reached, or refused the experiment.
        StoreError: the job failed there.
        RunError: some of its runs failed; the report has the others.
    """
    console = Console()
    requests_of(experiment)
    with _server(server) as client:
        content = _portable(experiment, client, visitor)
        given = (content, visitor, name) if name else (content, visitor)  # older ones take no name
        job_id = client.predict(*given, api_name="/start_evaluation")
        console.print(f"job {job_id} on {server}", style="bold", highlight=False)
        status = _follow(client, job_id, visitor, console)
        failed = [FailedRun(**failure) for failure in status.get("failures", ())]
        has_report = status["state"] == "failed" and failed and status["rows"]
        if status["state"] != "finished" and not has_report:
            raise StoreError(
                f"job {job_id}: {status['state']} on the server: {status['message']}. Look at it "
                "under Evaluate there."
            )
        report = client.predict(job_id, visitor, api_name="/export_comparison")
    forms = [form for form in REPORT_FORMS if form in report]  # an older server has fewer
    for form in forms:
        if form != "json":
            write_text(out / f"report.{REPORT_FORMS[form]}", report[form])
    write_sealed(out / "report.json", report["json"])
    _print_rows(console, report["json"]["rows"])
    print_report_place(console, out, forms)
    raise_if_failed(failed)


def ask_there(
    server: str,
    texts: Sequence[str],
    *,
    task: str,
    methods: str | None,
    max_new_tokens: int,
    visitor: str,
) -> None:
    """Stream a server's answers to one text side by side."""
    ways = None
    if methods is not None:
        names = [name.strip() for name in methods.split(",")]
        ways = [name if ":" in name else f"{_WORDS}{name}" for name in names]
    console = Console()
    with _server(server) as client, Live(console=console, refresh_per_second=8) as live:
        job = client.submit(
            text=texts[0],
            text_b=texts[1] if len(texts) > 1 else "",
            ways=ways,
            task=task,
            max_new_tokens=max_new_tokens,
            visitor=visitor,
            api_name="/ask",
        )
        answer: Mapping[str, Any] = {}
        for answer in job:
            live.update(Columns([_panel(column) for column in answer["columns"]]))
        for way in answer.get("left_out", ()):
            console.print(
                f"{way['label']}: left out: {way['reason']}", style="yellow", markup=False
            )
        job.result()  # iterating ends without a word when the server refused


@contextmanager
def _server(address: str) -> Iterator[Client]:
    """Connect to a running app; its refusals become messages.

    Raises:
        ConfigError: no app answers there, or it refused.
    """
    try:
        yield Client(address, verbose=False, analytics_enabled=False)
    except AppError as error:
        raise ConfigError(f"server {address}: {error.message}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise ConfigError(
            f"server {address}: no workbench of this version answers there "
            f"({type(error).__name__}). Start one with: workbench app"
        ) from error


def _portable(experiment: Experiment, client: Client, visitor: str) -> dict[str, Any]:
    """Return the experiment as the server takes it; the user's rows are sent there first.

    Raises:
        ConfigError: it names files that cannot be sent.
    """
    content = experiment.model_dump(mode="json")
    task = experiment.task
    if experiment.template.endswith((".yaml", ".yml")):
        raise ConfigError("template: with --server only wordings the server knows. Name one.")
    if task.train is None:
        return content
    if task.dev or task.test or task.train.suffix.lower() not in _TEXT_FILES:
        raise ConfigError(
            f"task: with --server one file of rows can be sent ({', '.join(_TEXT_FILES)}); dev and "
            "test are cut off it. Leave --dev and --test out."
        )
    key = client.predict(
        name=task.name or task.train.stem,
        content=_first_line(task) + task.train.read_text(encoding="utf-8-sig"),
        file_type=task.train.suffix.lower(),
        text_column=task.text_column,
        label_column=task.label_column,
        text_b_column=task.text_b_column or "",
        kind=task.kind,
        visitor=visitor,
        api_name="/upload_rows",
    )
    limits = ("limit_train", "limit_dev", "limit_test", "split_seed")
    content["task"] = {"name": key, **{name: content["task"][name] for name in limits}}
    return content


def _first_line(task: TaskChoice) -> str:
    """Return the line that tells a reader of CSV the separator, where one is given."""
    if task.separator is None or task.train is None or task.train.suffix.lower() not in _DELIMITED:
        return ""
    return f"sep={SEPARATORS.get(task.separator, task.separator)}\n"


def _follow(client: Client, job_id: str, visitor: str, console: Console) -> dict[str, Any]:
    """Return a job's status once it is no longer unfinished, saying meanwhile how far it is."""
    shown = 0
    with console.status("waiting …") as line:
        while True:
            status: dict[str, Any] = client.predict(job_id, visitor, api_name="/job_status")
            for row in status["rows"][shown:]:
                metric, figure = row.get("metric", "accuracy"), row.get("value", row["accuracy"])
                value = "–" if figure is None else f"{100 * figure:.1f} %"
                text = f"{row['row']} seed {row['seed']}: {metric_of(metric).title} {value}"
                console.print(text, markup=False)
            shown = len(status["rows"])
            if status["state"] not in ("queued", "running"):
                return status
            _say(line, status)
            time.sleep(_POLL_SECONDS)


def _say(line: Status, status: Mapping[str, Any]) -> None:
    place = f"[{status['number'] + 1}/{status['total']}] {status['row']}"
    text = f"{status['state']} {place} · {status['stage']} {status['done']}/{status['steps']}"
    line.update(Text(text))


def _print_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    metric = "rouge_l" if any("rouge_l" in row["metrics"] for row in rows) else "accuracy"
    title = metric_of(metric).title
    for column in ("row", "seed", title, "95 % interval", "difference, points", "p (Holm)"):
        table.add_column(column)
    for row in rows:
        quality, difference = row["metrics"].get(metric) or {}, row["difference"] or {}
        table.add_row(
            Text(row["row"]),
            str(row["seed"]),
            _percent(quality.get("value")),
            f"[{_percent(quality.get('low'))}, {_percent(quality.get('high'))}]",
            _percent(difference.get("value"), sign="+"),
            "–" if difference.get("p_value_holm") is None else f"{difference['p_value_holm']:.3f}",
        )
    console.print(table)


def _percent(value: float | None, *, sign: str = "") -> str:
    return "–" if value is None else f"{100 * value:{sign}.1f}"


def _panel(column: Mapping[str, Any]) -> Panel:
    body = Text(str(column["text"]).strip() or "…")
    for label, probability in sorted(
        (column["probabilities"] or {}).items(), key=lambda item: -item[1]
    )[:6]:
        body.append(f"\n{label:<13.13} {100 * probability:5.1f} %")
    answer = column["answer"]
    title = f"{column['label']}: {answer}" if answer else str(column["label"])
    return Panel(body, title=Text(title), width=_PANEL_WIDTH)
