"""Runs of a store that no model made."""

from workbench.runs.store import RunRecord


def record(run_id: str, status: str = "finished") -> RunRecord:
    """Return a record of a run that ended in some way."""
    return RunRecord(
        run_id=run_id, row="x", status=status, source="s", started="2026-01-01T00:00:00+00:00"
    )
