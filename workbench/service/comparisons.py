"""Comparisons to open in the page: finished evaluations, and those of the batch command."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from workbench.analysis.comparison import ComparedRun, Comparison, compare_runs
from workbench.errors import StoreError, without_folders
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.failures import FailedRun
from workbench.runs.search import read_outcome
from workbench.service.workspace import Workspace

_REPORT = "report.json"
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
    """Return the finished comparisons the visitor may see, the newest first."""
    found = []
    for folder in workspace.experiments():
        path = folder / _REPORT
        with suppress(OSError, ValueError, KeyError, TypeError):
            is_shown = path.is_file() and not folder.name.startswith(".")  # being made or deleted
            if is_shown and not _is_training(folder):
                report = json.loads(path.read_text(encoding="utf-8"))
                rows = len({row["row"] for row in report["rows"]})
                title = f"{report['task']['name']}: {rows} rows · {report['created'][:16]}"
                title = title.replace("T", " ")
                if folder.parent == workspace.root:
                    title = f"{title} · {folder.name}"
                found.append((report["created"], ComparisonEntry(folder.name, title, folder)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]


def open_comparison(
    workspace: Workspace, key: object
) -> tuple[Comparison, Experiment | None, Path]:
    """Return a comparison made anew from its runs, its experiment, and its folder.

    An experiment that cannot be read is None: the figures need only the runs.

    Raises:
        StoreError: no such comparison among the visitor's, or its runs are gone.
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
    modified = (entry.folder / _REPORT).stat().st_mtime_ns
    return _compared(workspace, entry.folder, modified), experiment, entry.folder


def _is_training(folder: Path) -> bool:
    """Return whether the folder is a training's, whose report has one row and the baselines."""
    path = folder / "status.json"
    return path.is_file() and b'"kind": "train"' in path.read_bytes()


@lru_cache(maxsize=_MOST_KEPT)
def _compared(workspace: Workspace, folder: Path, modified: int) -> Comparison:
    """Return the comparison of a folder; `modified` says which version of its report."""
    del modified  # only tells versions apart in the cache
    report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    runs = [
        ComparedRun(row["row"], workspace.run(row["run_id"]), read_outcome(row.get("search")))
        for row in report["rows"]
    ]
    failed = [FailedRun(**failure) for failure in report.get("failed", ())]
    if workspace.is_public:
        failed = [replace(one, reason=without_folders(one.reason)) for one in failed]
    return compare_runs(runs, reference=report["reference"], failed=failed)
