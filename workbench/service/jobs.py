"""Jobs: comparisons that run in a process of their own and say in a file how far they are.

A job is a folder with an experiment. Whoever looks (a page, another page, the same page after a
restart) reads `status.json`; nobody has to stay. One job runs at a time below a root, whose turn
it is (see `job_queue`): every look and every ending job starts the next one, so no process has to
wait for it. Several pages over one root share its jobs.
"""

import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from workbench.atomic import explained
from workbench.errors import StoreError
from workbench.room import count_anew
from workbench.runs.experiment import Experiment, store_experiment
from workbench.runs.labels import Label, read_label, write_label
from workbench.service.allowance import check_allowance
from workbench.service.job_locks import (
    JOB_LOCK,
    ROOT_LOCK,
    adopt,
    hand_over,
    is_held,
    put_aside,
    release,
    take,
)
from workbench.service.job_queue import (
    Entry,
    Ledger,
    changing,
    check_places,
    entries,
    in_order,
    job_folders,
    name_running,
    name_unfinished,
    note_start,
)
from workbench.service.job_status import (
    CAN_RESUME,
    STOP,
    UNFINISHED,
    JobStatus,
    experiment_digest,
    experiment_fault,
    has_report,
    now,
    read_status,
    whole_experiment,
    write_status,
)
from workbench.service.profile import Profile
from workbench.service.workspace import Workspace, checked_name, workspace_of

LOG = "worker.log"
_LOG_BYTES = 4000  # of its end, to be shown
_NICENESS = 5  # the page stays responsive while a job computes
_MOST_KEPT = 50  # jobs of a visitor of a public page, whose page reads all of them at every look
_HAND_OVER_SECONDS = 2  # whoever looks at a job that died holds its lock for a moment

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job's folder, its experiment and where its runs go; of a broken job there is none."""

    folder: Path
    store_folder: Path
    experiment: Experiment | None
    status: JobStatus

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.status.state in UNFINISHED

    @property
    def name(self) -> str:
        """What a person called it; may be empty."""
        return read_label(self.folder).name

    @property
    def title(self) -> str:
        """What lists call it: the name it was given, if any, and what it does."""
        return f"{self.name} · {self.status.title}" if self.name else self.status.title

    @property
    def log(self) -> str:
        """The end of what its process printed."""
        with suppress(OSError):
            opened = os.open(self.folder / LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(opened, "rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_BYTES))
                return stream.read(_LOG_BYTES).decode("utf-8", errors="replace")
        return ""


def submit(
    workspace: Workspace,
    profile: Profile,
    experiment: Experiment,
    *,
    kind: Literal["train", "evaluate"],
    title: str,
    name: str = "",
    address: str = "",
) -> Job:
    """Return a new job that waits for its turn.

    On a public page the oldest ended ones go if there are too many, and it says so; their runs
    stay, and a comparison of them is made again from those without computing anything.

    Args:
        workspace: Of the visitor.
        profile: What this place allows.
        experiment: What to run.
        kind: What it is started as.
        title: What it does, for lists.
        name: What the visitor calls it; may be empty.
        address: Network address it comes from; kept as a keyed hash.

    Raises:
        ConfigError: beyond the caps, too much as a whole, or no name of the form that is allowed.
        StoreError: too many unfinished jobs, no space left, or the folder cannot be written.
    """
    profile.check(experiment)
    workspace.check_space(profile.caps.stored_bytes)
    check_allowance(workspace, profile, experiment)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or kind
    moment = datetime.now(UTC)
    job_id = f"{moment.strftime('%Y%m%d-%H%M%S-%f')}-{slug}-{secrets.token_hex(3)}"
    with changing(workspace.root) as ledger:
        place = _checked_place(workspace, profile, ledger, address)
        hidden, going = _left_hidden(workspace.jobs), _too_many(workspace)
        scratch = workspace.jobs / f".{job_id}"
        store_experiment(scratch, experiment)
        status = JobStatus(
            job_id=job_id,
            kind=kind,
            title=title,
            state="queued",
            created=moment.isoformat(timespec="seconds"),
            serial=place.ticket,
            ticket=place.ticket,
            address=place.address,
            experiment_digest=experiment_digest(scratch),
            total=sum(len(experiment.seeds_of(row)) for row in experiment.methods),
            message=_what_went(len(going)),
        )
        write_status(scratch, status)
        write_label(scratch, Label(name))
        name_unfinished(workspace.root, ledger, workspace.jobs / job_id)
        hidden += [path for folder in going for path in _hide(folder)]
        with explained(workspace.jobs / job_id):
            scratch.rename(workspace.jobs / job_id)  # whole or not at all
    _remove(hidden)
    return read_job(workspace, job_id)


def read_job(workspace: Workspace, job_id: object) -> Job:
    """Return one of the visitor's jobs as it stands.

    Raises:
        StoreError: no such job.
    """
    name = checked_name(job_id, "job")
    folder = workspace.jobs / name
    if not folder.is_dir() or folder.is_symlink():
        raise StoreError(f"job '{name}': not found among your jobs. Choose one from the list.")
    return Job(folder, workspace.folder, whole_experiment(folder), read_status(folder))


def list_jobs(workspace: Workspace) -> list[Job]:
    """Return the visitor's jobs, the newest first; broken ones are among them."""
    jobs = []
    for folder in job_folders(workspace.jobs):
        with suppress(StoreError):  # deleted meanwhile, or no folder of ours
            jobs.append(read_job(workspace, folder.name))
    return sorted(jobs, key=lambda job: (job.status.serial, job.status.job_id), reverse=True)


def stop(workspace: Workspace, job_id: object) -> Job:
    """Ask a job to stop; it writes a checkpoint first. A waiting one stops at once."""
    job = read_job(workspace, job_id)
    if job.status.state == "queued":
        with changing(workspace.root):
            job = read_job(workspace, job_id)  # it may have been started since
            if job.status.state == "queued":
                changes = {"state": "stopped", "message": "stopped before it began", "ended": now()}
                write_status(job.folder, job.status.model_copy(update=changes))
    if job.status.state in ("running", "interrupted"):  # the latter also stands between two chunks
        _ask_to_stop(job.folder)
    return read_job(workspace, job_id)


def resume(workspace: Workspace, profile: Profile, job_id: object, *, address: str = "") -> Job:
    """Let a stopped, failed or interrupted job go on where it stopped, at the end of the line.

    Raises:
        StoreError: it waits, runs, is finished or broken, its time is used up, or there are too
            many unfinished jobs.
    """
    workspace.check_space(profile.caps.stored_bytes)
    with changing(workspace.root) as ledger:
        job = read_job(workspace, job_id)
        status, minutes = job.status, profile.caps.minutes
        if status.state == "broken":
            raise StoreError(f"job '{status.job_id}': {status.message}")
        if status.state not in CAN_RESUME:
            raise StoreError(f"job '{status.job_id}': is {status.state}; nothing to resume.")
        if minutes is not None and status.seconds >= 60 * minutes:
            raise StoreError(
                f"job '{status.job_id}': its {minutes:g} minutes are used up. Start it anew: what "
                "it finished is found again, and it waits for its turn like any other."
            )
        place = _checked_place(workspace, profile, ledger, address)
        _clear(job.folder / STOP)
        name_unfinished(workspace.root, ledger, job.folder)
        changes = {
            "state": "queued",
            "message": "",
            "ended": None,
            "pid": None,
            "ticket": place.ticket,
            "address": place.address,
            "experiment_digest": status.experiment_digest or experiment_digest(job.folder),
        }
        write_status(job.folder, status.model_copy(update=changes))
    return read_job(workspace, job_id)


def delete(workspace: Workspace, job_id: object) -> None:
    """Delete a job's folder; its runs stay.

    Raises:
        StoreError: no such job, or it is still running.
    """
    with changing(workspace.root):
        job = read_job(workspace, job_id)
        hidden = _hide(job.folder)
    if not hidden:
        raise StoreError(f"job '{job.status.job_id}': is running. Stop it first.")
    _remove(hidden)


def delete_ended(workspace: Workspace) -> int:
    """Delete the folders of all jobs that wait and run no more; return how many. Runs stay.

    One that may only rest between two chunks stays as well: `delete` deletes it.

    Raises:
        StoreError: one is unfinished, and may need what is there.
    """
    with changing(workspace.root):
        found = list_jobs(workspace)
        unfinished = [job.status.job_id for job in found if job.is_unfinished]
        if unfinished:
            raise StoreError(
                f"jobs: {len(unfinished)} unfinished ({unfinished[0]}). Wait for it, or stop it "
                "first."
            )
        ended = [job.folder for job in found if not job.status.may_rest]
        hidden = [path for folder in ended for path in _hide(folder)]
    _remove(hidden)
    return len(hidden)


def start_next(root: Path) -> None:
    """Start the job whose turn it is unless one is running; safe to call at any time.

    What cannot be written is left for the log: it must keep nobody from looking.
    """
    if is_held(root / ROOT_LOCK) or not in_order(root, entries(root)):
        return  # looked at without writing anything, a disk may be read-only
    try:
        with changing(root) as ledger:
            running = take(root / ROOT_LOCK)
            if running is None:
                return
            try:
                _start_first(in_order(root, entries(root)), running, ledger)
            finally:
                hand_over(running)
    except StoreError as error:
        _log.warning("no job was started: %s", error)


def place_in_queue(root: Path, job: Job) -> int:
    """Return how many jobs, of whomever, run or wait before this one."""
    found = [one for one in entries(root) if one.folder != job.folder]
    mine = Entry(job.folder, job.status)
    running = sum(one.status.state == "running" for one in found)
    return running + in_order(root, [*found, mine]).index(mine)


@contextmanager
def running(
    folder: Path, lock: int | None = None, *, in_chunks: bool = False
) -> Iterator[JobStatus]:
    """Mark a job as running in this process for the block.

    Args:
        folder: Of the job.
        lock: The job's lock where it was handed over; else it is taken.
        in_chunks: It goes on by itself after the block.

    Raises:
        StoreError: it is running already, or is not waiting.
    """
    held = None if lock is None else adopt(folder / JOB_LOCK, lock)
    if held is None:
        held = take(folder / JOB_LOCK, seconds=_HAND_OVER_SECONDS)
    if held is None:
        raise StoreError(f"job '{folder.name}': is running in another process.")
    try:
        status = read_status(folder)  # as its own process sees it: what waits is running
        fault = experiment_fault(folder, status)
        if fault:
            raise StoreError(f"job '{status.job_id}': {fault}")
        if status.state != "running":
            raise StoreError(f"job '{status.job_id}': is {status.state}, not waiting.")
        name_running(workspace_of(folder).root, folder)
        changes = {
            "pid": os.getpid(),
            "started": status.started or now(),
            "message": "" if status.started else status.message,  # why it rested is over
            "stage": "load",
            "rows": [],
            "failures": [],
            "in_chunks": in_chunks,
        }
        status = status.model_copy(update=changes)
        write_status(folder, status)
        yield status
    finally:
        release(held)


def should_stop(folder: Path, *, deadline: float | None = None) -> Callable[[], bool]:
    """Return a function that says whether a job was asked to stop or its time (monotonic) is up."""

    def asked() -> bool:
        return (deadline is not None and time.monotonic() > deadline) or is_stop_requested(folder)

    return asked


def is_stop_requested(folder: Path) -> bool:
    """Return whether somebody asked the job to stop."""
    return os.path.lexists(folder / STOP)


@dataclass(frozen=True)
class _Place:
    ticket: int
    address: str


def _checked_place(workspace: Workspace, profile: Profile, ledger: Ledger, address: str) -> _Place:
    """Return a place at the end of the line, if there is one."""
    hashed = ledger.hashed(address)
    check_places(entries(workspace.root), profile.caps, workspace.jobs, hashed)
    return _Place(ledger.next(), hashed)


def _start_first(waiting: list[Entry], running: int, ledger: Ledger) -> None:
    """Start the first job that can be started; one that cannot holds up nobody."""
    for entry in waiting:
        try:
            held = take(entry.folder / JOB_LOCK, seconds=_HAND_OVER_SECONDS)
            if held is None:
                continue
            try:
                _start_process(entry.folder, entry.status, (running, held))
            finally:
                hand_over(held)
        except StoreError as error:
            _log.warning("job %s was not started: %s", entry.folder.name, error)
            continue
        note_start(ledger, entry)
        return


def _start_process(folder: Path, status: JobStatus, locks: tuple[int, int]) -> None:
    """Start a job's process, which outlives this one, and hand it the locks.

    From its first moment on it is the locks' holder. The status is written before, because what
    the process has to say comes after it.
    """
    path = folder / LOG
    with explained(path):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            put_aside(path)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    try:
        changes = {"state": "running", "pid": None, "stage": "start"}
        write_status(folder, status.model_copy(update=changes))
        # The shell hands the process over to init at once, so that none stays as a zombie of ours.
        worker = [sys.executable, "-m", "workbench.service.job_process", str(folder)]
        subprocess.run(  # noqa: S603  our own interpreter and folders only
            ["/bin/sh", "-c", f'nice -n {_NICENESS} "$@" &', "sh", *worker, *map(str, locks)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
            start_new_session=True,
            pass_fds=locks,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )
    finally:
        os.close(log)


def _too_many(workspace: Workspace) -> list[Path]:
    """Return ended jobs that make place for one more of a visitor; one's own disk is free.

    First go the oldest without a comparison, then the oldest with one, and at last those that may
    only rest.
    """
    folders = list(job_folders(workspace.jobs)) if workspace.is_public else []
    too_many = len(folders) + 1 - _MOST_KEPT
    if too_many <= 0:
        return []
    found = [(folder, read_status(folder)) for folder in folders]
    ended = [one for one in found if one[1].state not in UNFINISHED]
    ended.sort(key=lambda one: (one[1].may_rest, has_report(one[0]), one[1].serial))
    return [folder for folder, _ in ended[:too_many]]


def _what_went(number: int) -> str:
    if not number:
        return ""
    what = "your oldest ended job was" if number == 1 else f"your {number} oldest ended jobs were"
    return f"{what} removed, because {_MOST_KEPT} are kept here; their runs stay"


def _hide(folder: Path) -> list[Path]:
    """Rename a job's folder while the queue is held, to be removed; none if its process lives."""
    held = take(folder / JOB_LOCK)
    if held is None:
        return []
    try:
        hidden = folder.with_name(f".{folder.name}")
        with explained(folder):
            folder.rename(hidden)  # a deletion cut short leaves no half job behind
        return [hidden]
    finally:
        release(held)


def _left_hidden(jobs: Path) -> list[Path]:
    """Return what a submission or a deletion that was cut short left."""
    return [path for path in jobs.glob(".*") if path.is_dir() and not path.is_symlink()]


def _remove(hidden: Sequence[Path]) -> None:
    """Remove folders that nobody finds any more; what stays goes with the next submission."""
    for path in hidden:
        shutil.rmtree(path, ignore_errors=True)
    if hidden:
        count_anew()


def _ask_to_stop(folder: Path) -> None:
    with explained(folder / STOP):
        if not is_stop_requested(folder):
            os.close(os.open(folder / STOP, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))


def _clear(path: Path) -> None:
    """Remove a file, whatever stands in its place."""
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            put_aside(path)
        else:
            path.unlink(missing_ok=True)
