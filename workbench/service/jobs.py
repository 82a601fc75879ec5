"""Jobs: comparisons that run in a process of their own and say in a file how far they are.

A job is a folder with an experiment. Whoever looks (a page, another page, the same page after a
restart) reads `status.json`; nobody has to stay. One job runs at a time on a machine, the oldest
first: every look and every ending job starts the next one, so no process has to wait for it.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.atomic import write_json
from workbench.errors import StoreError, without_folders
from workbench.runs.experiment import Experiment, store_experiment, stored_experiment
from workbench.service.allowance import check_allowance
from workbench.service.profile import Profile
from workbench.service.workspace import Workspace, checked_name

JobState = Literal["queued", "running", "finished", "stopped", "failed", "interrupted"]
UNFINISHED: tuple[JobState, ...] = ("queued", "running")
CAN_RESUME: tuple[JobState, ...] = ("stopped", "failed", "interrupted")

_STATUS, _STOP = "status.json", "stop"
LOG = "worker.log"
_NICENESS = 5  # the page stays responsive while a job computes
_LOCK_SECONDS = 5  # others hold the queue for as long as it takes to read a few small files


class RowResult(BaseModel):
    """A finished run of a job.

    Attributes:
        row: Name of the row in the table.
        seed: Seed of the run.
        run_id: Name of the run's folder.
        accuracy: Accuracy on test; None for tasks whose answers are texts.
        found: Whether it was finished before.
        metric: What the task ranks its rows by; "accuracy" or "rouge_l".
        value: The run's figure in it; None in files from before it was kept.
    """

    model_config = ConfigDict(extra="forbid")

    row: str
    seed: int
    run_id: str
    accuracy: float | None
    found: bool
    metric: str = "accuracy"
    value: float | None = None

    @property
    def quality(self) -> float | None:
        """The figure to show: the value, or the accuracy of an older file."""
        return self.accuracy if self.value is None else self.value


class RowFailure(BaseModel):
    """A run of a job that could not be made, and why."""

    model_config = ConfigDict(extra="forbid")

    row: str
    seed: int
    reason: str


class JobStatus(BaseModel):
    """How far a job is.

    Attributes:
        job_id: Name of the job's folder.
        kind: What it was started as; "train" shows curves first, "evaluate" the table.
        title: What lists call it.
        state: "interrupted" is a process that died; like "stopped" it can go on.
        created: ISO 8601, UTC; so are `started` and `ended`.
        pid: Number of the process; with its start time, because numbers are used again.
        number: Which run is the current one, from 0.
        total: Runs of the job.
        row: Name of the current run.
        run_id: Its folder.
        stage: What it is doing: "load", "train", "predict", "report".
        done: Steps of the stage so far.
        steps: Steps of the stage in all.
        seconds_left: Time until the stage ends; None while not known.
        figures: The latest ones: loss, dev_accuracy.
        memory_bytes: Resident memory of the process.
        rows: The runs that are finished.
        failures: The runs that failed; a job with some is "failed" although it has a report.
        message: Why it stopped or failed.
        seconds: Computing time so far, over all resumptions.
    """

    model_config = ConfigDict(extra="forbid")

    job_id: str
    kind: Literal["train", "evaluate"]
    title: str
    state: JobState
    created: str
    started: str | None = None
    ended: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    number: int = 0
    total: int = 0
    row: str = ""
    run_id: str = ""
    stage: str = ""
    done: int = 0
    steps: int = 0
    seconds_left: float | None = None
    figures: dict[str, float] = {}
    memory_bytes: int | None = None
    rows: list[RowResult] = []
    failures: list[RowFailure] = []
    message: str = ""
    seconds: float = 0.0

    def without_folders(self) -> "JobStatus":
        """Return the status as others may read it: nothing says where things lie here."""
        failures = [
            one.model_copy(update={"reason": without_folders(one.reason)}) for one in self.failures
        ]
        changes = {"message": without_folders(self.message), "failures": failures}
        return self.model_copy(update=changes)


@dataclass(frozen=True)
class Job:
    """A job's folder, its experiment and where its runs go."""

    folder: Path
    store_folder: Path
    experiment: Experiment
    status: JobStatus

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.status.state in UNFINISHED

    @property
    def log(self) -> str:
        """The end of what its process printed."""
        path = self.folder / LOG
        return path.read_text(encoding="utf-8", errors="replace")[-4000:] if path.is_file() else ""


def submit(
    workspace: Workspace,
    profile: Profile,
    experiment: Experiment,
    *,
    kind: Literal["train", "evaluate"],
    title: str,
) -> Job:
    """Return a new job that waits for its turn.

    Raises:
        ConfigError: beyond the caps, or too much as a whole.
        StoreError: too many unfinished jobs, no space left, or the folder cannot be written.
    """
    profile.check(experiment)
    _check_room(workspace, profile)
    check_allowance(workspace, profile, experiment)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or kind
    now = datetime.now(UTC)
    # Ids sort by time; to the second would not tell apart what one click after another starts.
    job_id = f"{now.strftime('%Y%m%d-%H%M%S-%f')}-{slug}-{secrets.token_hex(3)}"
    folder = workspace.jobs / job_id
    store_experiment(folder, experiment)
    status = JobStatus(
        job_id=job_id,
        kind=kind,
        title=title,
        state="queued",
        created=now.isoformat(timespec="seconds"),
        total=sum(len(experiment.seeds_of(row)) for row in experiment.methods),
    )
    write_status(folder, status)
    return read_job(workspace, job_id)


def read_job(workspace: Workspace, job_id: object) -> Job:
    """Return one of the visitor's jobs as it stands.

    Raises:
        StoreError: no such job, or its files cannot be read.
    """
    name = checked_name(job_id, "job")
    folder = workspace.jobs / name
    experiment = stored_experiment(folder)
    if experiment is None:
        raise StoreError(f"job '{name}': not found among your jobs. Choose one from the list.")
    return Job(folder, workspace.folder, experiment, _read_status(folder))


def list_jobs(workspace: Workspace) -> list[Job]:
    """Return the visitor's jobs, the newest first; unreadable ones are passed over."""
    jobs = []
    for path in workspace.jobs.glob(f"*/{_STATUS}"):
        with suppress(StoreError):
            jobs.append(read_job(workspace, path.parent.name))
    return sorted(jobs, key=lambda job: job.status.job_id, reverse=True)


def stop(workspace: Workspace, job_id: object) -> Job:
    """Ask a job to stop; it writes a checkpoint first. A waiting one stops at once."""
    job = read_job(workspace, job_id)
    status = job.status
    if status.state == "queued":
        status = _end(job.folder, "queued", state="stopped", message="stopped before it began")
    if status.state in ("running", "interrupted"):  # the latter also stands between two chunks
        (job.folder / _STOP).touch()
    return read_job(workspace, job_id)


def resume(workspace: Workspace, profile: Profile, job_id: object) -> Job:
    """Let a stopped, failed or interrupted job go on where it stopped.

    Raises:
        StoreError: it waits, runs or is finished, or there are too many unfinished jobs.
    """
    job = read_job(workspace, job_id)
    if job.status.state not in CAN_RESUME:
        raise StoreError(f"job '{job.status.job_id}': is {job.status.state}; nothing to resume.")
    _check_room(workspace, profile)
    (job.folder / _STOP).unlink(missing_ok=True)
    changes = {"state": "queued", "message": "", "ended": None, "pid": None, "pid_started": None}
    write_status(job.folder, job.status.model_copy(update=changes))
    return read_job(workspace, job_id)


def delete(workspace: Workspace, job_id: object) -> None:
    """Delete a job's folder; its runs stay.

    Raises:
        StoreError: no such job, or it is still running.
    """
    job = read_job(workspace, job_id)
    if job.status.state == "running":
        raise StoreError(f"job '{job.status.job_id}': is running. Stop it first.")
    shutil.rmtree(job.folder)


def delete_ended(workspace: Workspace) -> int:
    """Delete the folders of all jobs that wait and run no more; return how many. Runs stay.

    Raises:
        StoreError: one is unfinished, and may need what is there.
    """
    found = list_jobs(workspace)
    unfinished = [job.status.job_id for job in found if job.is_unfinished]
    if unfinished:
        raise StoreError(
            f"jobs: {len(unfinished)} unfinished ({unfinished[0]}). Wait for it, or stop it first."
        )
    for job in found:
        shutil.rmtree(job.folder)
    return len(found)


def start_next(root: Path) -> None:
    """Start the oldest waiting job below a root unless one is running; safe to call at any time."""
    with suppress(Timeout), FileLock(root / ".jobs.lock", timeout=_LOCK_SECONDS):
        waiting = []
        for folder in all_jobs(root):
            status = _try_status(folder)
            if status is not None and status.state == "running":
                return
            if status is not None and status.state == "queued":
                waiting.append((status.job_id, folder))
        if waiting:
            _start_process(min(waiting)[1])


def place_in_queue(root: Path, job: Job) -> int:
    """Return how many jobs, of whomever, run or wait before this one."""
    states = [status for folder in all_jobs(root) if (status := _try_status(folder)) is not None]
    mine = job.status.job_id
    return sum(
        s.state == "running" or (s.state == "queued" and s.job_id < mine)
        for s in states
        if s.job_id != mine
    )


def all_jobs(root: Path) -> Iterator[Path]:
    """Yield the folders of all visitors' jobs."""
    for pattern in ("workspace/jobs/*", "visitors/*/jobs/*"):
        yield from (path for path in root.glob(pattern) if (path / _STATUS).is_file())


@contextmanager
def running(folder: Path) -> Iterator[JobStatus]:
    """Mark a job as running in this process for the block.

    Raises:
        StoreError: it is running already, or is not waiting.
    """
    status = _read_status(folder)
    if status.state not in ("queued", "interrupted") and status.pid != os.getpid():
        raise StoreError(f"job '{status.job_id}': is {status.state}, not waiting.")
    changes = {
        "state": "running",
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "started": status.started or _now(),
        "stage": "load",
        "rows": [],
        "failures": [],
    }
    status = status.model_copy(update=changes)
    write_status(folder, status)
    yield status


def should_stop(folder: Path, *, deadline: float | None = None) -> Callable[[], bool]:
    """Return a function that says whether a job was asked to stop or its time (monotonic) is up."""
    path = folder / _STOP

    def asked() -> bool:
        return (deadline is not None and time.monotonic() > deadline) or path.exists()

    return asked


def is_stop_requested(folder: Path) -> bool:
    """Return whether somebody asked the job to stop."""
    return (folder / _STOP).exists()


def write_status(folder: Path, status: JobStatus) -> None:
    """Write a job's status in one step."""
    write_json(folder / _STATUS, status.model_dump(mode="json"))


def _check_room(workspace: Workspace, profile: Profile) -> None:
    caps = profile.caps
    mine = sum(job.is_unfinished for job in list_jobs(workspace))
    if mine >= caps.jobs:
        raise StoreError(
            f"jobs: you have {mine} unfinished, at most {caps.jobs} are allowed. Wait for one, or "
            "stop it."
        )
    everyone = sum(
        status.state in UNFINISHED
        for folder in all_jobs(workspace.root)
        if (status := _try_status(folder)) is not None
    )
    if everyone >= caps.waiting:
        raise StoreError(
            f"jobs: the queue is full ({everyone} waiting or running). Try again in a few minutes."
        )
    workspace.check_space(caps.stored_bytes)


def _start_process(folder: Path) -> None:
    """Start a job's process; it outlives this one."""
    status = _read_status(folder)
    # The shell hands the process over to init at once, so that none stays as a zombie of ours.
    command = f'nice -n {_NICENESS} "$@" >> "$0" 2>&1 < /dev/null & echo $!'
    worker = [sys.executable, "-m", "workbench.service.job_process", str(folder)]
    started = subprocess.run(  # noqa: S603  our own interpreter and folders only
        ["/bin/sh", "-c", command, str(folder / LOG), *worker],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
    )
    pid, created = int(started.stdout), 0.0
    with suppress(psutil.NoSuchProcess):  # one that is gone already reads as interrupted
        created = psutil.Process(pid).create_time()
    changes = {"state": "running", "pid": pid, "pid_started": created, "stage": "start"}
    write_status(folder, status.model_copy(update=changes))


def _read_status(folder: Path) -> JobStatus:
    status = _stored_status(folder)
    if status.state == "running" and not _is_alive(status):
        message = "its process ended without a word; resume goes on"
        return _end(folder, "running", state="interrupted", message=message)
    return status


def _stored_status(folder: Path) -> JobStatus:
    path = folder / _STATUS
    try:
        return JobStatus.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Delete the job.") from error


def _try_status(folder: Path) -> JobStatus | None:
    with suppress(StoreError):
        return _read_status(folder)
    return None


def _is_alive(status: JobStatus) -> bool:
    if status.pid is None or status.pid_started is None:
        return False
    try:
        process = psutil.Process(status.pid)
        is_same = abs(process.create_time() - status.pid_started) < 1.0
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


def _end(folder: Path, before: JobState, *, state: JobState, message: str) -> JobStatus:
    """End a job that is still as it was seen; its process may have ended it since."""
    status = _stored_status(folder)
    if status.state != before:
        return status
    changes = {"state": state, "message": message, "ended": _now(), "pid": None}
    status = status.model_copy(update=changes)
    write_status(folder, status)
    return status


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
