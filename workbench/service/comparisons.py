"""Comparisons to open in the page: finished evaluations, and those of the batch command."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from workbench.analysis.results import Comparison
from workbench.analysis.stored_comparison import DAMAGED_REPORT, REPORT, comparison_again
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.labels import NO_LABEL, read_label
from workbench.sealed import is_there, read_sealed
from workbench.service.shown import shown_comparison
from workbench.service.workspace import Workspace

_MOST_KEPT = 16  # comparisons in memory


@dataclass(frozen=True)
class ComparisonEntry:
    """A folder with a report.

    Attributes:
        key: Name of the folder.
        title: What lists call it.
        folder: Where the report lies.
    """

    key: str
    title: str
    folder: Path


def list_comparisons(workspace: Workspace) -> list[ComparisonEntry]:
    """Return the finished comparisons the visitor may see, the newest first, damaged ones last."""
    found = []
    for folder in workspace.experiments():
        path = folder / REPORT
        is_hidden = folder.name.startswith(".")  # being made or deleted
        if is_hidden or not is_there(path) or _is_training(folder):
            continue
        try:
            report = read_sealed(path, is_digest_needed=False)
            created = str(report["created"])
            rows = len({row["row"] for row in report["rows"]})
            title = f"{report['task']['name']}: {rows} rows · {created[:16]}".replace("T", " ")
            if folder.parent == workspace.root:
                title = f"{title} · {folder.name}"
            label = read_label(folder)
            title = f"{label.name} \N{MIDDLE DOT} {title}" if label.name else title
        except DAMAGED_REPORT:
            created, title = "", f"{folder.name}: its report is damaged"
        found.append((created, ComparisonEntry(folder.name, title, folder)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]


def open_comparison(
    workspace: Workspace, key: object
) -> tuple[Comparison, Experiment | None, Path]:
    """Return a comparison made anew from its runs, its experiment, and its folder.

    An experiment that cannot be read is None: the figures need only the runs.

    Raises:
        StoreError: no such comparison among the visitor's, its runs are gone, or it is damaged.
    """
    # Not held against the form of names: locally a folder may be called anything.
    entry = next((e for e in list_comparisons(workspace) if e.key == key), None)
    if entry is None:
        raise StoreError(
            f"comparison {str(key)[:80]!r}: not found among yours. Choose one from the list."
        )
    experiment = None
    with suppress(StoreError):
        experiment = stored_experiment(entry.folder)
    modified = (entry.folder / REPORT).lstat().st_mtime_ns
    comparison = _compared(workspace, entry.folder, modified)
    return _as_named_now(workspace, comparison, entry.folder), experiment, entry.folder


def _as_named_now(workspace: Workspace, comparison: Comparison, folder: Path) -> Comparison:
    """Return a comparison with the names that it and its runs have now: they may change."""
    roots = workspace.store.roots
    details = []
    for row, detail in zip(comparison.rows, comparison.details, strict=True):
        places = [root / row.run_id for root in roots if (root / row.run_id).is_dir()]
        details.append(replace(detail, label=read_label(places[0]) if places else NO_LABEL))
    named = replace(comparison, details=tuple(details), name=read_label(folder).name)
    return comparison if named == comparison else named


def _is_training(folder: Path) -> bool:
    """Return whether the folder is a training's, whose report has one row and the baselines."""
    try:
        return b'"kind": "train"' in (folder / "status.json").read_bytes()
    except OSError:  # the batch command writes none
        return False


@lru_cache(maxsize=_MOST_KEPT)
def _compared(workspace: Workspace, folder: Path, modified: int) -> Comparison:
    """Return the comparison of a folder; `modified` says which version of its report."""
    del modified  # only tells versions apart in the cache
    comparison = comparison_again(folder, workspace.run)
    return shown_comparison(comparison) if workspace.is_public else comparison
