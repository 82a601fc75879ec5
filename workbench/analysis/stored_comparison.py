"""A comparison made anew from its report and the stored runs: nothing is run again."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.analysis.answers import read_answers, read_history
from workbench.analysis.comparison import compare_runs
from workbench.analysis.results import ComparedRun, Comparison
from workbench.errors import DamagedFile, StoreError
from workbench.runs.failures import FailedRun
from workbench.runs.labels import read_label
from workbench.runs.search import read_outcome
from workbench.runs.store import RunStore, StoredRun
from workbench.sealed import is_there, read_sealed

REPORT = "report.json"
DAMAGED_REPORT = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What torn JSON leads to."""
_JOBS = "jobs"  # a job of the page keeps its runs two folders above


def comparison_in(folder: Path) -> Comparison:
    """Return the comparison of a folder that `evaluate`, `train` or a job of the page wrote.

    Raises:
        StoreError: there is no report, it is damaged, or its runs are gone.
    """
    if not is_there(folder / REPORT):
        raise StoreError(
            f"{folder}: has no {REPORT}. Give the folder of a finished comparison; it is made by: "
            "workbench evaluate"
        )
    # Reports of `workbench bases` lie in folders beside their runs.
    also = (folder.parent.parent if folder.parent.name == _JOBS else folder.parent,)
    store = RunStore(folder, also)

    def find(run_id: str) -> StoredRun:
        run = store.find(run_id)
        if run is None:
            raise StoreError(
                f"{folder}: its run {run_id} is not here. Bring it back, or make what is missing: "
                f"workbench evaluate {folder / 'experiment.json'} --out {folder} (with the same "
                "--store, if the runs were kept in one: what is there is found)."
            )
        return run

    return comparison_again(folder, find)


def comparison_again(folder: Path, find: Callable[[str], StoredRun]) -> Comparison:
    """Return the comparison of a folder's report, made anew from its runs.

    A run that cannot be read is named among those that failed; the others can still be compared.

    Args:
        folder: Where the report lies.
        find: Returns a run by its id.

    Raises:
        StoreError: the report is damaged, or none of its runs can be read.
    """
    try:
        report = read_sealed(folder / REPORT, is_digest_needed=False)
        runs, failed = _runs_of(report, find)
        reference = report["reference"]
    except DAMAGED_REPORT as error:
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
    return replace(comparison, name=read_label(folder).name)


def _runs_of(
    report: Mapping[str, Any], find: Callable[[str], StoredRun]
) -> tuple[list[ComparedRun], list[FailedRun]]:
    runs: list[ComparedRun] = []
    failed = [FailedRun(**failure) for failure in report.get("failed", ())]
    for row in report["rows"]:
        try:
            run = find(row["run_id"])
            read_answers(run)
            read_history(run)
        except DamagedFile as error:
            failed.append(FailedRun(row["row"], row["seed"], str(error)))
        else:
            runs.append(ComparedRun(row["row"], run, read_outcome(row.get("search"))))
    return runs, failed
