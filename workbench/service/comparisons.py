"""Comparisons to open in the page: finished evaluations, and those of the batch command."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workbench.analysis.answers import read_answers, read_history
from workbench.analysis.comparison import ComparedRun, Comparison, compare_runs
from workbench.errors import DamagedFile, StoreError
from workbench.runs.experiment import Experiment, stored_experiment
from workbench.runs.failures import FailedRun
from workbench.runs.search import read_outcome
from workbench.sealed import is_there, read_sealed
from workbench.service.shown import shown_comparison
from workbench.service.workspace import Workspace

_REPORT = "report.json"
_MOST_KEPT = 16  # comparisons in memory
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what torn JSON leads to


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
        path = folder / _REPORT
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
        except _DAMAGED:
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
    modified = (entry.folder / _REPORT).lstat().st_mtime_ns
    return _compared(workspace, entry.folder, modified), experiment, entry.folder


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
    try:
        report = read_sealed(folder / _REPORT, is_digest_needed=False)
        runs = []
        failed = [FailedRun(**failure) for failure in report.get("failed", ())]
        reference = report["reference"]
        for row in report["rows"]:
            try:
                run = workspace.run(row["run_id"])
                read_answers(run)
                read_history(run)
            except DamagedFile as error:  # the others can still be compared
                failed.append(FailedRun(row["row"], row["seed"], str(error)))
            else:
                runs.append(ComparedRun(row["row"], run, read_outcome(row.get("search"))))
    except _DAMAGED as error:
        raise StoreError(
            f"comparison '{folder.name}': its report is damaged. Evaluate the same again: finished "
            "runs are found, and the report is written anew."
        ) from error
    if not runs:
        raise StoreError(
            f"comparison '{folder.name}': none of its runs can be read. Evaluate the same again: "
            "they are made anew."
        )
    comparison = compare_runs(runs, reference=reference, failed=failed)
    return shown_comparison(comparison) if workspace.is_public else comparison
