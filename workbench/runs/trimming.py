"""What a run leaves on the disk: the one place that says what is thrown away, and when.

while it is made        checkpoints, to go on from
finished                adapter, path, history, predictions; no checkpoints
  on a shared server    an ensemble's members leave their adapters alone: nothing shows their paths
a trial that lost       adapter and path, to be opened; on a shared server only its figures
failed for lack of room what was asked and the reason, or it would take the others' room
a comparison            its report in five forms; on a shared server the one that pages read

A shared server is one where room is bound (`workbench/room.py`).
"""

from pathlib import Path

from workbench.room import STATE_FILES, count_anew, is_bound
from workbench.runs.folder_lock import LOCKS
from workbench.runs.run_files import REPORT_FORMS
from workbench.runs.store import RunStore, StoredRun
from workbench.sealed import remove

_CHECKPOINTS = ("checkpoint*", "*.writing", ".*.safetensors.*")
_MEMBERS = "member_*"
_LEARNED = ("adapter", "path", _MEMBERS)
_MADE_ANEW = [f"report.{form}" for form in REPORT_FORMS.values() if form != "json"]


def trim_members(folder: Path) -> None:
    """Remove on a shared server what members left, before the record seals the rest."""
    if is_bound(folder):
        _remove(folder, _MEMBERS)


def trim_finished(folder: Path) -> None:
    """Remove from a finished or trained run's folder what only an unfinished one needs."""
    for pattern in _CHECKPOINTS:
        _remove(folder, pattern, is_deep=True)


def trim_lost_trial(run: StoredRun) -> None:
    """Remove on a shared server what a trial learned that lost a search; its figures stay."""
    if run.record.status == "trained" and is_bound(run.folder):
        for pattern in _LEARNED:
            _remove(run.folder, pattern)
        RunStore(run.folder.parent).write_record(run.record)  # sealed anew, without what is gone


def trim_report(folder: Path) -> None:
    """Remove on a shared server the forms of a report that a page makes anew for a download."""
    if is_bound(folder):
        for pattern in _MADE_ANEW:
            _remove(folder, pattern)


def has_learned(run: StoredRun) -> bool:
    """Return whether a run is trained and what it learned is still there to go on with."""
    return run.record.status == "trained" and run.adapter_folder.is_dir()


def clear_for_others(folder: Path) -> None:
    """Remove all but the state files of a run that failed for lack of room."""
    for path in folder.iterdir():
        if path.name not in (*STATE_FILES, *LOCKS):
            _remove(folder, path.name)
    count_anew()


def _remove(folder: Path, pattern: str, *, is_deep: bool = False) -> None:
    """Remove what has such a name; what cannot be removed stays, and is tried again later."""
    for path in list((folder.rglob if is_deep else folder.glob)(pattern)):
        remove(path)
