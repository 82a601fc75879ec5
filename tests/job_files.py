"""What the processes of jobs leave in their folders, written by tests in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.atomic import write_json
from workbench.service.job_locks import JOB_LOCK, ROOT_LOCK, release, take
from workbench.service.job_status import write_status
from workbench.service.jobs import Job


def set_status(job: Job, **changes: Any) -> Job:
    """Write a status as a process would; a finished one has its report."""
    write_status(job.folder, job.status.model_copy(update=changes))
    if changes.get("state") == "finished":
        write_json(job.folder / "report.json", {"rows": []})
    return job


@contextmanager
def alive(job: Job, **changes: Any) -> Iterator[Job]:
    """Let this process stand for the job's: it says that it runs, and holds both locks."""
    set_status(job, state="running", **changes)
    root = job.store_folder.parent
    root = root.parent if root.name == "visitors" else root
    held = [take(root / ROOT_LOCK), take(job.folder / JOB_LOCK)]
    assert None not in held
    try:
        yield job
    finally:
        for lock in held:
            release(lock)
