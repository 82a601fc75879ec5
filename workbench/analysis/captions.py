"""Captions of what runs say together: n, seeds, base, precision, commit, and the command."""

from collections.abc import Sequence

from workbench.analysis.results import BASELINES, Comparison
from workbench.presentation.caption import Caption, each_once
from workbench.runs.store import StoredRun

REPORT_COMMAND = "workbench evaluate experiment.json"
"""Makes a report again in a folder of its own; the file lies beside the report."""


def caption_of(comparison: Comparison, command: str = REPORT_COMMAND) -> Caption:
    """Return the caption that all figures and tables of a comparison share."""
    base = comparison.base
    return Caption(
        task=comparison.task.name,
        num_items=comparison.task.num_test,
        seeds=tuple(row.seed for row in comparison.rows if not row.is_baseline),
        base=base.name,
        precision=f"{base.precision} (products in {base.compute_dtype})",
        made_by=each_once(d.provenance.text for d in comparison.details if d.provenance),
        command=command,
    )


def caption_of_runs(runs: Sequence[StoredRun], command: str) -> Caption:
    """Return the caption of finished runs on the same items, whatever else they differ in."""
    own = [run for run in runs if run.spec.method not in BASELINES] or list(runs)
    made_by = (run.record.provenance.text for run in runs if run.record.provenance)
    bases = (run.spec.base for run in own)
    return Caption(
        task=own[0].spec.task.name,
        num_items=own[0].spec.task.num_test,
        seeds=tuple(run.spec.seed for run in own),
        base=" and ".join(
            each_once(
                f"{one.name} in {one.precision} (products in {one.compute_dtype})" for one in bases
            )
        ),
        made_by=each_once(made_by),
        command=command,
    )
