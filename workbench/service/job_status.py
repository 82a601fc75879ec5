"""The file that says how far a job is, and what to make of one that cannot be read."""

import hashlib
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.atomic import parse_json, write_json
from workbench.errors import StoreError, without_folders
from workbench.runs.experiment import EXPERIMENT_FILE, Experiment, stored_experiment
from workbench.sealed import read_sealed
from workbench.service.job_locks import JOB_LOCK, is_held, put_aside, release, take

JobState = Literal["queued", "running", "finished", "stopped", "failed", "interrupted", "broken"]
UNFINISHED: tuple[JobState, ...] = ("queued", "running")
STOP = "stop"  # the file in a job's folder that asks it to stop
CAN_RESUME: tuple[JobState, ...] = ("stopped", "failed", "interrupted")
CAN_DELETE: tuple[JobState, ...] = (*CAN_RESUME, "broken")

_SET_ON = ("queued", "running", "interrupted")  # what a job is to a process that begins with it

_STATUS, _REPORT = "status.json", "report.json"
_MOST_KEPT = 4096  # statuses in memory
_ID = re.compile(r"(\d{8}-\d{6})-\d+-(.+)-[0-9a-f]{6}")

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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


class GoingRun(BaseModel):
    """A run that is going on.

    Attributes:
        run_id: Its folder.
        row: Its name in lists.
        number: Which run of the job it is, from 0.
        where: Name of the worker that makes it; "" for the job's own process.
        stage: What it is doing.
        done: Steps of the stage so far.
        steps: Steps of the stage in all.
    """

    model_config = ConfigDict(extra="ignore")

    run_id: str
    row: str
    number: _Count = 0
    where: str = ""
    stage: str = ""
    done: _Count = 0
    steps: _Count = 0


class JobStatus(BaseModel):
    """How far a job is.

    Attributes:
        job_id: Name of the job's folder.
        kind: What it was started as; "train" shows curves first, "evaluate" the table.
        title: What lists call it.
        state: "interrupted" is a process that died; like "stopped" it can go on. "broken" is a
            job whose experiment is lost: it can only be deleted.
        created: ISO 8601, UTC; so are `started` and `ended`. For people; nothing is decided by it.
        serial: Counts the jobs below a root in the order they were submitted.
        ticket: Counts what was submitted or resumed; the lower, the longer it has waited.
        address: Whose address submitted it, as a keyed hash; see `job_queue`.
        experiment_digest: SHA-256 of the experiment's file, so that a damaged one is not run.
        pid: Number of the process, for people.
        going_on: The runs that are being made; several where workers make them.
        number: Which run is the current one, from 0; the one that made the last step.
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
        message: Why it stopped or failed; before, what made place for it.
        seconds: Computing time so far, over all resumptions.
        in_chunks: It runs a chunk at a time; "interrupted" is then also a rest between two.
    """

    model_config = ConfigDict(extra="ignore")  # a file of another version can still be read

    job_id: str
    kind: Literal["train", "evaluate"]
    title: str
    state: JobState
    created: str
    serial: _Count = 0
    ticket: _Count = 0
    address: str = ""
    experiment_digest: str = ""
    started: str | None = None
    ended: str | None = None
    pid: int | None = None
    going_on: list[GoingRun] = []
    number: _Count = 0
    total: _Count = 0
    row: str = ""
    run_id: str = ""
    stage: str = ""
    done: _Count = 0
    steps: _Count = 0
    seconds_left: _Seconds | None = None
    figures: dict[str, float] = {}
    memory_bytes: int | None = None
    rows: list[RowResult] = []
    failures: list[RowFailure] = []
    message: str = ""
    seconds: _Seconds = 0.0
    in_chunks: bool = False

    @property
    def fraction(self) -> float:
        """How much of the job is done, from 0 to 1."""
        if self.state == "finished":
            return 1.0
        if self.going_on:
            begun = 1 + max(run.number for run in self.going_on)
            parts = sum(min(1.0, run.done / run.steps) for run in self.going_on if run.steps)
            share = begun - len(self.going_on) + parts
        else:
            share = self.number + (self.done / self.steps if self.steps else 0.0)
        return min(1.0, max(0.0, share) / max(1, self.total))

    @property
    def may_rest(self) -> bool:
        """Whether it may go on by itself although it is not unfinished."""
        return self.in_chunks and self.state == "interrupted"

    def without_folders(self) -> "JobStatus":
        """Return the status as others may read it: nothing says where things lie here."""
        failures = [
            one.model_copy(update={"reason": without_folders(one.reason)}) for one in self.failures
        ]
        changes = {"message": without_folders(self.message), "failures": failures, "address": ""}
        return self.model_copy(update=changes)


def read_status(folder: Path) -> JobStatus:
    """Return how far a job is, whatever became of its process and its files.

    Whether it runs is said by its lock alone. A status that cannot be read is made anew from what
    is there; a job whose experiment is lost is "broken".
    """
    status = _stored(folder)
    if is_held(folder / JOB_LOCK):
        status = status or _made_anew(folder)
        # What its process writes next, or the one that is starting it, says the same.
        return _changed(status, state="running") if status.state in _SET_ON else status
    if status is None:
        status = _made_anew(folder)
    elif status.state == "running":
        status = _interrupted(folder)
    fault = experiment_fault(folder, status)
    if fault:
        message = f"{fault} Delete the job; its finished runs are kept."
        return _changed(status, state="broken", message=message)
    if status.state == "finished" and not has_report(folder):
        message = f"its {_REPORT} cannot be read; resume makes it again from the finished runs"
        return _changed(status, state="interrupted", message=message)
    return status


def has_ended(folder: Path) -> bool:
    """Return whether a job's file says that it waits and runs no more, and nobody holds it.

    A file that cannot be read, which may be so for a moment only, does not say it.
    """
    status = _stored(folder)
    is_over = status is not None and status.state not in UNFINISHED
    return is_over and not is_held(folder / JOB_LOCK)


def whole_experiment(folder: Path) -> Experiment | None:
    """Return the experiment of a job, or None if it is lost or damaged."""
    with suppress(StoreError):
        if not (folder / EXPERIMENT_FILE).is_symlink():
            return stored_experiment(folder)
    return None


def experiment_digest(folder: Path) -> str:
    """Return the SHA-256 of the experiment's file."""
    return hashlib.sha256((folder / EXPERIMENT_FILE).read_bytes()).hexdigest()


def write_status(folder: Path, status: JobStatus) -> None:
    """Write a job's status in one step, whatever stands in its place.

    Raises:
        StoreError: it cannot be written.
    """
    path = folder / _STATUS
    if path.is_dir() and not path.is_symlink():
        put_aside(path)
    write_json(path, status.model_dump(mode="json"))


def now() -> str:
    """Return the time for people to read: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _stored(folder: Path) -> JobStatus | None:
    """Return what a job's file says; None if it cannot be read."""
    path = folder / _STATUS
    try:
        found = path.lstat()
        status = _parsed(path, found.st_ino, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError, RecursionError):
        return None
    return _changed(status, job_id=folder.name)  # whatever it says: the folder is the job


@lru_cache(maxsize=_MOST_KEPT)
def _parsed(path: Path, *_version: int) -> JobStatus:
    """Return what stands in a file; `_version` tells its versions apart."""
    if path.is_symlink():
        raise OSError("a link leads elsewhere")
    return JobStatus.model_validate(parse_json(path.read_text(encoding="utf-8")))


def _made_anew(folder: Path) -> JobStatus:
    """Return the status of a job whose file is lost, from its name and its experiment."""
    experiment = whole_experiment(folder)
    named = _ID.fullmatch(folder.name)
    created = ""
    if named:
        with suppress(ValueError):
            moment = datetime.strptime(named[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
            created = moment.isoformat(timespec="seconds")
    total = 0
    if experiment is not None:
        total = sum(len(experiment.seeds_of(row)) for row in experiment.methods)
    return JobStatus(
        job_id=folder.name,
        kind="evaluate",
        title=named[2].replace("-", " ") if named else folder.name,
        state="interrupted",
        created=created,
        total=total,
        message=f"its {_STATUS} cannot be read; resume makes it again from what is there",
    )


def _interrupted(folder: Path) -> JobStatus:
    """Return the status of a job that says it runs and has no process; keep it where possible."""
    held = None
    with suppress(StoreError):  # a disk that cannot be written can still be looked at
        held = take(folder / JOB_LOCK)
    try:
        status = _stored(folder) or _made_anew(folder)  # its process may have had a last word
        if status.state == "running":
            # Its process ends at once where it is asked to stop before it can listen.
            state, message = "interrupted", "its process ended without a word; resume goes on"
            if os.path.lexists(folder / STOP):
                state, message = "stopped", "stopped; resume goes on"
            changes = {"state": state, "message": message, "ended": now(), "pid": None}
            status = status.model_copy(update=changes)
            if held is not None:
                with suppress(StoreError):
                    write_status(folder, status)
        return status
    finally:
        if held is not None:
            release(held)


def experiment_fault(folder: Path, status: JobStatus) -> str:
    """Return what is wrong with a job's experiment, or nothing."""
    path = folder / EXPERIMENT_FILE
    try:
        found = path.lstat()
    except OSError:
        return f"{EXPERIMENT_FILE}: not there."
    version = (found.st_ino, found.st_mtime_ns, found.st_size)
    return _fault_of(path, status.experiment_digest, *version)


@lru_cache(maxsize=_MOST_KEPT)
def _fault_of(path: Path, digest: str, *_version: int) -> str:
    if whole_experiment(path.parent) is None:
        return f"{path}: cannot be read."
    if digest and experiment_digest(path.parent) != digest:
        return f"{path}: is damaged, it is not what was asked for."
    return ""


def has_report(folder: Path) -> bool:
    """Return whether a job has a comparison that can be read."""
    return _is_report(folder / _REPORT)


def _is_report(path: Path) -> bool:
    try:
        found = path.lstat()
        return _is_whole_report(path, found.st_ino, found.st_mtime_ns, found.st_size)
    except OSError:
        return False


@lru_cache(maxsize=_MOST_KEPT)
def _is_whole_report(path: Path, *_version: int) -> bool:
    with suppress(OSError, ValueError):
        return not path.is_symlink() and "rows" in read_sealed(path, is_digest_needed=False)
    return False


def _changed(status: JobStatus, **changes: object) -> JobStatus:
    return status.model_copy(update=changes)
